"""Replay of one instance from its start to its end: step by step, with the requests that it got."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import leave, trim
from problems.serving._cluster.data import Cluster, at_server
from problems.serving._cluster.replay import Shared, _admissions, _free, _step
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import DONE, RUNNING, TO_COME, WAITING, Ledger, Load, load, stop
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    BLOCKS,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    Serving,
    unpack_cost,
)


@inlined
def _preemptions(data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray) -> Load:
    """Preempt the latest request while blocks are missing, first to be admitted again; what then runs."""
    own, book = at_server(data, i), ledger.book[0]
    while True:
        now = load(own, ledger)
        free = own.limit[BLOCKS] - now.used
        if data.cache_tokens[0] > 0 and now.short > free:  # what is shared counts once
            free = _free(data, own, ledger, shared, i, now.used)
        if book.running <= 1 or now.short <= free:
            return now
        r = -1
        for k in range(book.running):
            r = max(r, ledger.running[k])
        shared.computed[r] -= max(ledger.job[r].target - ledger.job[r].cached, 0)
        stop(own, ledger, r)
        leave(shared.caches, i, shared.tail[r], book.now_s)
        shared.tail[r] = NOBODY
        k = 0
        while mine[k] != r:
            k += 1
        mine[1 : k + 1] = mine[:k].copy()
        mine[0] = r


@inlined
def _step_end_s(own: Serving, ledger: Ledger) -> float:
    """When the next step would end."""
    book, now, pairs = ledger.book[0], load(own, ledger), 0.0
    tokens = min(max(own.limit[MAX_PREFILL] - now.decoding, own.limit[BLOCK_TOKENS]), now.to_prefill)
    budget = tokens
    for k in range(book.running):
        job = ledger.job[ledger.running[k]]
        chunk = min(budget, max(job.target - job.cached, 0))
        pairs += chunk * (job.cached + 0.5 * chunk)
        budget -= chunk
    seconds = step_seconds(unpack_cost(own), tokens, pairs, now.decoding, float(now.context))
    return float(book.now_s + (seconds + book.debt_s))


@inlined
def _run(
    data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray, at_s: np.ndarray, fails_s: float
) -> float:
    """The steps of place i that end before it fails; when the last one has."""
    own, book, come, last_s = at_server(data, i), ledger.book[0], 0, ledger.book[0].now_s
    before = np.empty(own.limit[MAX_RUNNING], np.int64)
    while book.done < len(mine):
        if book.waiting + book.running == 0:
            if at_s[mine[come]] >= own.time_s[HORIZON]:
                break
            book.now_s = max(book.now_s, at_s[mine[come]])
        while come < len(mine) and at_s[mine[come]] <= book.now_s:
            ledger.job[mine[come]].status = WAITING
            book.waiting += 1
            book.changed = 1
            come += 1
        if book.now_s >= own.time_s[HORIZON]:
            break
        if book.changed == 1:
            _admissions(data, ledger, shared, i, mine)
        now = _preemptions(data, ledger, shared, i, mine)
        if fails_s < np.inf and _step_end_s(own, ledger) > fails_s:
            break
        _step(data, ledger, shared, i, now, before)
        last_s = book.now_s
    return float(last_s)


@kernel
def serve(
    data: Cluster,
    ledger: Ledger,
    shared: Shared,
    i: int,
    mine: np.ndarray,
    at_s: np.ndarray,
    life_s: tuple[float, float],
) -> float:
    """All that happens at place i to some requests, in the order in which they are sent to it.

    It is up from the first time of ``life_s`` on, and fails at the second. Requests that are not done then keep
    what they have put out, and nothing else. Changes the order of ``mine``; returns when the last step has ended.
    """
    book = ledger.book[0]
    book.now_s, book.debt_s, book.waiting, book.running, book.changed, book.done = life_s[0], 0.0, 0, 0, 0, 0
    last_s = _run(data, ledger, shared, i, mine, at_s, life_s[1])
    for k in range(len(mine)):
        r = mine[k]
        job = ledger.job[r]
        if job.status == DONE or not np.isfinite(life_s[1]):  # at the horizon all stays as it is
            continue
        if job.status == RUNNING:
            shared.computed[r] -= max(job.target - job.cached, 0)
            leave(shared.caches, i, shared.tail[r], last_s)
            shared.tail[r] = NOBODY
        job.status, job.cached, job.target = TO_COME, 0, data.requests.prompt_tokens[r] + job.generated
    if data.cache_tokens[0] > 0:
        trim(data, shared.caches, i, 0)
    return last_s
