"""Replay of one server of a cluster: step by step, with the requests that it got."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import inlined
from problems.serving._cluster.cache import Store, held, leave, needed, remember, take, trim
from problems.serving._cluster.data import Cluster, at_server
from problems.serving._prefix.store import NOBODY, length
from problems.serving._server.ledger import DONE, RUNNING, WAITING, Ledger, Load, blocks_of, load, start, stop
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


class Shared(NamedTuple):
    """What a replay keeps of the prefix caches."""

    caches: Store
    tail: np.ndarray  # (n,) int64, last block that a request holds, or NOBODY
    computed: np.ndarray  # (n,) int64


@inlined
def free_blocks(data: Cluster, own: Serving, ledger: Ledger, shared: Shared, i: int, used: int) -> int:
    """Blocks that no running request of server i holds, if all that run would use so many without a cache."""
    free = own.limit[BLOCKS] - used
    if data.cache_tokens[0] > 0:
        free -= held(data, shared.caches, i)
        ratio = data.cache_tokens[0] // own.limit[BLOCK_TOKENS]
        for k in range(ledger.book[0].running):
            free += length(shared.caches, shared.tail[ledger.running[k]]) * ratio
    return free


@inlined
def admissions(data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray) -> None:
    """Admit who waits longest, while there is room."""
    own, book = at_server(data, i), ledger.book[0]
    book.changed = 0
    if book.waiting == 0 or book.running == own.limit[MAX_RUNNING]:
        return
    free = free_blocks(data, own, ledger, shared, i, load(own, ledger).used)
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
        free = free_blocks(data, own, ledger, shared, i, load(own, ledger).used)
        if data.cache_tokens[0] > 0:
            trim(data, shared.caches, i, free)


@inlined
def preemptions(data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray) -> Load:
    """Preempt the latest request while blocks are missing, first to be admitted again; what then runs."""
    own, book = at_server(data, i), ledger.book[0]
    while True:
        now = load(own, ledger)
        free = own.limit[BLOCKS] - now.used
        if data.cache_tokens[0] > 0 and now.short > free:  # what is shared counts once
            free = free_blocks(data, own, ledger, shared, i, now.used)
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
def step(data: Cluster, ledger: Ledger, shared: Shared, i: int, now: Load, before: np.ndarray) -> None:
    """Run a step; what is done enters the cache: prompts in order of admission, then requests by number."""
    own, book, running = at_server(data, i), ledger.book[0], ledger.book[0].running
    for k in range(running):
        r = ledger.running[k]
        before[k] = 2 * r + (1 if ledger.job[r].cached < ledger.job[r].target else 0)
    tokens = min(max(own.limit[MAX_PREFILL] - now.decoding, own.limit[BLOCK_TOKENS]), now.to_prefill)
    compute(own, unpack_cost(own), ledger, tokens, now.decoding, now.context)
    if data.cache_tokens[0] == 0:
        return
    free = free_blocks(data, own, ledger, shared, i, load(own, ledger).used)
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
def begin(ledger: Ledger, now_s: float) -> None:
    """Start with nobody there."""
    book = ledger.book[0]
    book.now_s, book.debt_s, book.waiting, book.running, book.changed, book.done = now_s, 0.0, 0, 0, 0, 0


@inlined
def step_end_s(own: Serving, ledger: Ledger) -> float:
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
def serve_until(
    data: Cluster, ledger: Ledger, shared: Shared, i: int, mine: np.ndarray, at_s: np.ndarray, fails_s: float
) -> float:
    """What server i does with some requests, in the order in which they are sent to it; when its last step ends.

    It takes them up from ``at_s`` on, and steps that would end after it fails do not begin. Changes the order of
    ``mine``: who was preempted is first to be admitted again.
    """
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
            admissions(data, ledger, shared, i, mine)
        now = preemptions(data, ledger, shared, i, mine)
        if fails_s < np.inf and step_end_s(own, ledger) > fails_s:
            break
        step(data, ledger, shared, i, now, before)
        last_s = book.now_s
    return float(last_s)
