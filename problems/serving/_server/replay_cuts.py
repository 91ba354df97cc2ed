"""Replay of steps that can be cut: what they compute, where they are cut, and how they go on."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import StepCost
from problems._jit import inlined
from problems.serving._server.ledger import WAITING, Ledger, load
from problems.serving._server.log import CODE_MASK, CUT, KIND_BITS, WAIT, subject
from problems.serving._server.machine import CUT as CUT_COST
from problems.serving._server.machine import SEGMENTS, Serving
from problems.serving._server.replay_steps import (
    FINE,
    NO_CUT,
    NOT_CUT,
    Entry,
    begin,
    end,
    fault,
    kind,
    no_step,
    note,
    unpacked,
)


@inlined
def code(ledger: Ledger, log: np.ndarray) -> int:
    """Code of the entry at hand if it is a wait, 0 for a wait as such; -1 for all others."""
    return (log[ledger.book[0].entry] >> KIND_BITS) & CODE_MASK if kind(ledger, log) == WAIT else -1


@inlined
def join_queue(data: Serving, ledger: Ledger) -> None:
    """Queue what has come by now."""
    book, arrival_s = ledger.book[0], data.requests.arrival_s
    while book.come < len(arrival_s) and arrival_s[book.come] <= book.now_s:
        ledger.job[book.come].status = WAITING
        book.waiting += 1
        book.wait_s = 0.0
        book.come += 1
        book.changed = 1
    book.next_s = arrival_s[book.come] if book.come < len(arrival_s) else np.inf


@inlined
def _run(data: Serving, ledger: Ledger, log: np.ndarray, lead_s: float, segments: int) -> tuple[int, bool]:
    """Let time pass for a step that has book.left_s to run; broken rule, and whether the log cuts it."""
    book, arrival_s = ledger.book[0], data.requests.arrival_s
    end_s = book.now_s + (book.left_s + lead_s)
    if code(ledger, log) != CUT:
        book.now_s = end_s
        return FINE, False
    k = subject(log[book.entry])
    cut_s = book.now_s + (lead_s + k * book.segment_s)
    before_s = book.now_s + (lead_s + (k - 1) * book.segment_s) if k > 1 else book.now_s
    late = book.come
    while late < len(arrival_s) and arrival_s[late] <= before_s:
        late += 1
    if not 0 < k < segments or cut_s >= end_s or late == len(arrival_s) or arrival_s[late] > cut_s:
        return NO_CUT, False
    book.left_s, book.segments = end_s - cut_s, segments - k
    book.now_s = cut_s
    join_queue(data, ledger)
    book.now_s = cut_s + data.time_s[CUT_COST]
    book.entry += 1
    return FINE, True


@inlined
def _suspend(ledger: Ledger) -> None:
    """Keep those aside whose step has been cut."""
    book = ledger.book[0]
    for k in range(book.running):
        job = ledger.job[ledger.running[k]]
        if job.in_step == 1:
            job.suspended = 1
            book.suspended += 1


@inlined
def follow_resume(data: Serving, ledger: Ledger, log: np.ndarray) -> int:
    """Follow a step that goes on after a cut."""
    book = ledger.book[0]
    if book.suspended == 0:
        return NOT_CUT
    book.entry += 1
    lead_s = book.debt_s + data.time_s[CUT_COST]
    book.debt_s = 0.0
    broken, cut = _run(data, ledger, log, lead_s, book.segments)
    if broken == FINE and not cut:
        end(data, ledger, 1)
        book.suspended, book.changed = 0, 1
    return broken


@inlined
def _one_step(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray, entry: Entry) -> int:
    """Follow one step; only if it is the last of its entry can it be cut."""
    book, now = ledger.book[0], load(data, ledger)
    decoding, context = (now.decoding, now.context) if entry.decode == 1 else (0, 0)
    work_s, pure = begin(cost, ledger, entry.tokens, decoding, context)
    lead_s, book.debt_s = book.debt_s, 0.0
    if entry.repeats == 1 and entry.tokens > 0 and book.suspended == 0 and data.limit[SEGMENTS] > 0:
        book.left_s, book.segment_s = work_s, work_s / data.limit[SEGMENTS]
        broken, cut = _run(data, ledger, log, lead_s, data.limit[SEGMENTS])
        if cut:
            _suspend(ledger)
        if broken != FINE or cut:
            return broken
    else:
        book.now_s += work_s + lead_s
    end(data, ledger, 0)
    note(ledger, pure)
    return FINE


@inlined
def follow_steps(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray) -> int:
    """Follow an entry of one step or more."""
    book, broken = ledger.book[0], no_step(ledger, log)
    if broken != FINE:
        return broken
    entry = unpacked(log[book.entry])
    book.entry += 1
    for step in range(max(entry.repeats, 1)):
        broken = fault(data, ledger, load(data, ledger), entry, step)
        if broken == FINE:
            broken = _one_step(data, cost, ledger, log, entry)
        if broken != FINE:
            if broken != NO_CUT:  # the entry itself, not the one behind it
                book.entry -= 1
            return broken
    return FINE
