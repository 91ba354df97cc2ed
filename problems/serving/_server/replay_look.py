"""Replay of a look at the queue where rules may preempt whom they like, and rank prompts."""

from __future__ import annotations

import numpy as np

from problems._jit import inlined
from problems.serving._server.ledger import RUNNING, WAITING, Ledger, dismiss, load, start
from problems.serving._server.log import ADMIT, EVICT, RANK, SWAP, subject
from problems.serving._server.machine import BLOCKS, MAX_RUNNING, Serving
from problems.serving._server.replay_cuts import code
from problems.serving._server.replay_steps import FINE, FULL, NO_NEED, NO_PROMPT, NOT_WAITING, kind


@inlined
def _move_back(ledger: Ledger, r: int) -> None:
    """Put a running request behind all others."""
    book, kept = ledger.book[0], 0
    for k in range(book.running):
        if ledger.running[k] != r:
            ledger.running[kept] = ledger.running[k]
            kept += 1
    ledger.running[kept] = r


@inlined
def follow_look(data: Serving, ledger: Ledger, log: np.ndarray) -> int:
    """Follow admissions, preemptions and the ranking of prompts."""
    book = ledger.book[0]
    while True:
        what, special = kind(ledger, log), code(ledger, log)
        if what != EVICT and special != SWAP and special != RANK and (what != ADMIT or book.looks != 1):
            return FINE
        r = subject(log[book.entry])
        book.request = r
        if what == ADMIT:
            if r >= len(ledger.job) or ledger.job[r].status != WAITING:
                return NOT_WAITING
            if book.running == data.limit[MAX_RUNNING]:
                return FULL
            start(data, ledger, r)
            if load(data, ledger).used > data.limit[BLOCKS]:
                return FULL
        else:
            runs = r < len(ledger.job) and ledger.job[r].status == RUNNING
            if not runs or ledger.job[r].suspended == 1:
                return NO_PROMPT if special == RANK else NO_NEED
            if special == RANK and ledger.job[r].cached >= ledger.job[r].target:
                return NO_PROMPT
            if special == RANK:
                _move_back(ledger, r)
            else:
                dismiss(data, ledger, r, special == SWAP)
        book.entry += 1
