"""Replay of a router's log: what its decisions lead to.

Written apart from the engine: no leaps, no reports, no running totals, every server by itself and step by step. From
the log come the servers; what they then do is computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import Infeasible
from problems.serving._cluster.cache import Store, held, leave, needed, open_caches, remember, take, trim
from problems.serving._cluster.data import DECIDING, DECODE, Cluster, at_server
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.log import SERVER_BITS, sent_to
from problems.serving._prefix.store import NOBODY, length
from problems.serving._server.ledger import (
    DONE,
    RUNNING,
    WAITING,
    Ledger,
    Load,
    blocks_of,
    load,
    open_ledger,
    start,
    stop,
)
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    Serving,
    unpack_cost,
)
from problems.serving._server.replay_steps import compute


class Replayed(NamedTuple):
    """What a log leads to."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    sent_s: np.ndarray  # (n,) float64
    computed_tokens: np.ndarray  # (n,) int64
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the last server stopped


class Shared(NamedTuple):
    """What a replay keeps of the prefix caches."""

    caches: Store
    tail: np.ndarray  # (n,) int64, last block that a request holds, or NOBODY
    computed: np.ndarray  # (n,) int64


@inlined
def _free(data: Cluster, own: Serving, ledger: Ledger, shared: Shared, i: int, used: int) -> int:
    """Blocks that no running request of server i holds, if all that run would use so many without a cache."""
    free = own.limit[BLOCKS] - used
    if data.cache_tokens[0] > 0:
        free -= held(data, shared.caches, i)
        ratio = data.cache_tokens[0] // own.limit[BLOCK_TOKENS]
        for k in range(ledger.book[0].running):
            free += length(shared.caches, shared.tail[ledger.running[k]]) * ratio
    return free


@inlined
def _admissions(data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray) -> None:
    """Admit who waits longest, while there is room."""
    own, book = at_server(data, i), ledger.book[0]
    book.changed = 0
    if book.waiting == 0 or book.running == own.limit[MAX_RUNNING]:
        return
    free = _free(data, own, ledger, shared, i, load(own, ledger).used)
    if free == 0:
        return
    book.debt_s += own.time_s[DECISION] + own.time_s[CANDIDATE] * book.waiting
    k = 0
    while book.waiting > 0 and book.running < own.limit[MAX_RUNNING]:
        while ledger.job[mine[k]].status != WAITING:
            k += 1
        r = mine[k]
        job = ledger.job[r]
        blocks = needed(data, shared.caches, i, r, job.target, blocks_of(own, job.target))
        if blocks > free:
            return
        if data.cache_tokens[0] > 0:
            shared.tail[r] = take(data, shared.caches, i, r, job.target, book.now_s)
            job.cached = length(shared.caches, shared.tail[r]) * data.cache_tokens[0]
        shared.computed[r] += job.target - job.cached
        start(own, ledger, r)
        free = _free(data, own, ledger, shared, i, load(own, ledger).used)
        if data.cache_tokens[0] > 0:
            trim(data, shared.caches, i, free)


@inlined
def _preemptions(data: Cluster, ledger: Ledger, shared: Shared, i: int) -> Load:
    """Preempt the latest request while blocks are missing; what then runs."""
    own, book = at_server(data, i), ledger.book[0]
    while True:
        now = load(own, ledger)
        if book.running <= 1 or now.short <= _free(data, own, ledger, shared, i, now.used):
            return now
        r = -1
        for k in range(book.running):
            r = max(r, ledger.running[k])
        shared.computed[r] -= max(ledger.job[r].target - ledger.job[r].cached, 0)
        stop(own, ledger, r)
        leave(shared.caches, i, shared.tail[r], book.now_s)
        shared.tail[r] = NOBODY


@inlined
def _step(data: Cluster, ledger: Ledger, shared: Shared, i: int, now: Load, before: np.ndarray) -> None:
    """Run a step; what is done enters the cache: prompts in order of admission, then requests by number."""
    own, book, running = at_server(data, i), ledger.book[0], ledger.book[0].running
    for k in range(running):
        r = ledger.running[k]
        before[k] = 2 * r + (1 if ledger.job[r].cached < ledger.job[r].target else 0)
    tokens = min(max(own.limit[MAX_PREFILL] - now.decoding, own.limit[BLOCK_TOKENS]), now.to_prefill)
    compute(own, unpack_cost(own), ledger, tokens, now.decoding, now.context)
    if data.cache_tokens[0] == 0:
        return
    free = _free(data, own, ledger, shared, i, load(own, ledger).used)
    for k in range(running):
        job, r = ledger.job[before[k] >> 1], before[k] >> 1
        if job.status == DONE:
            shared_tokens = length(shared.caches, shared.tail[r]) * data.cache_tokens[0]
            free -= blocks_of(own, job.cached) - blocks_of(own, shared_tokens)
    trim(data, shared.caches, i, free)
    for k in range(running):
        r = before[k] >> 1
        job = ledger.job[r]
        if before[k] & 1 == 1 and job.cached == job.target and job.status == RUNNING:
            shared.tail[r] = remember(data, shared.caches, i, r, shared.tail[r], job.cached, book.now_s)
    for _ in range(running):
        r = -1
        for k in range(running):
            other = before[k] >> 1
            if before[k] >= 0 and ledger.job[other].status == DONE and (r < 0 or other < r):
                r = other
        if r < 0:
            break
        tail = remember(data, shared.caches, i, r, shared.tail[r], ledger.job[r].cached, book.now_s)
        leave(shared.caches, i, tail, book.now_s)
        shared.tail[r] = NOBODY
        for k in range(running):
            if before[k] >> 1 == r:
                before[k] = -1


@inlined
def _serve(data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray, sent_s: np.ndarray) -> None:
    """All that happens at server i, which gets some requests in order."""
    own, book, come = at_server(data, i), ledger.book[0], 0
    before = np.empty(own.limit[MAX_RUNNING], np.int64)
    book.now_s, book.debt_s, book.waiting, book.running, book.changed, book.done = 0.0, 0.0, 0, 0, 0, 0
    while book.done < len(mine):
        if book.waiting + book.running == 0:
            if sent_s[mine[come]] >= own.time_s[HORIZON]:
                break
            book.now_s = max(book.now_s, sent_s[mine[come]])
        while come < len(mine) and sent_s[mine[come]] <= book.now_s:
            ledger.job[mine[come]].status = WAITING
            book.waiting += 1
            book.changed = 1
            come += 1
        if book.now_s >= own.time_s[HORIZON]:
            break
        if book.changed == 1:
            _admissions(data, ledger, shared, i, mine)
        now = _preemptions(data, ledger, shared, i)
        _step(data, ledger, shared, i, now, before)


@kernel
def replay(instance: Cluster, log: np.ndarray) -> Replayed:
    """Follow a log of valid entries."""
    data, n = borrow(instance), len(instance.requests.arrival_s)
    opened = open_ledger(at_server(instance, 0), False)
    kept = Shared(open_caches(instance), np.full(n, NOBODY), np.zeros(n, np.int64))
    ledger, shared = borrow(opened), borrow(kept)
    sent_s, free_s, now_s = np.empty(n), 0.0, 0.0
    for r in range(n):
        sent_s[r] = max(data.requests.arrival_s[r], free_s) + data.router_s[DECIDING]
        free_s = sent_s[r]
    server = log & ((1 << SERVER_BITS) - 1)
    for i in range(len(data.kind)):
        _serve(data, ledger, shared, i, np.flatnonzero(server == i), sent_s)
        now_s = max(now_s, ledger.book[0].now_s)
    first, finish, gap, generated = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        first[r] = opened.job[r].first_s
        finish[r] = opened.job[r].finish_s
        gap[r] = opened.job[r].gap_s
        generated[r] = opened.job[r].generated
    return Replayed(first, finish, gap, sent_s, kept.computed.copy(), generated, now_s)


_TIMES = ("first_token_s", "finish_s", "worst_gap_s", "sent_s")


def verify(data: Cluster, solution: Routing) -> None:
    """Check that each request went to a server that takes it, and that all else follows from that.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    n = len(data.requests.arrival_s)
    for name, array in solution._asdict().items():
        kind = np.float64 if name in _TIMES else np.int64
        if array.dtype != kind or array.shape != (n,):
            raise Infeasible(
                f"{name} must be a {np.dtype(kind)} array of shape ({n},), got {array.dtype} of shape {array.shape}"
            )
    server = solution.log & ((1 << SERVER_BITS) - 1)
    for r in np.flatnonzero(solution.log != sent_to(np.arange(n), server))[:1]:
        raise Infeasible(f"log entry {r} must be about request {r}, got {solution.log[r]}")
    for r in np.flatnonzero(server >= len(data.kind))[:1]:
        raise Infeasible(f"request {r} goes to server {server[r]}, but there are {len(data.kind)}")
    for r in np.flatnonzero(data.role[server] == DECODE)[:1]:
        raise Infeasible(f"request {r} goes to server {server[r]}, which only decodes")
    found = replay(data, np.ascontiguousarray(solution.log))
    for name in (*_TIMES, "computed_tokens"):
        given, computed = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} of request {r} is {given[r]}, but the log leads to {computed[r]}")
