"""Replay of a log of programs: releases, contexts and pins, written apart from the engine.

Steps are those of ``_server/replay_steps.py``; which calls are released, what is parked, and whether it may be evicted
is found again from the log.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import Infeasible
from problems.serving._programs.data import Agents
from problems.serving._server.engine import Timeline
from problems.serving._server.ledger import (
    DONE,
    RUNNING,
    TO_COME,
    WAITING,
    Ledger,
    held,
    load,
    open_ledger,
    start,
    stop,
)
from problems.serving._server.log import ADMIT, EVICT, KEEP, KIND_BITS, NUMBER_BITS
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_RUNNING,
    PATIENCE,
    unpack_cost,
)
from problems.serving._server.replay import check_columns, check_times
from problems.serving._server.replay_steps import (
    AFTER,
    FINE,
    FULL,
    IDLE,
    NO_LOOK,
    NO_NEED,
    NOT_WAITING,
    PINNED,
    kind,
    steps,
)


class Threads(NamedTuple):
    """What a replay keeps of programs besides its ledger."""

    release_s: np.ndarray  # (n,) float64, inf before all calls before it have finished
    waits_for: np.ndarray  # (n,) int64
    heir: np.ndarray  # (n,) int64, the call that goes on from a call, or -1
    parked: np.ndarray  # (n,) int64, blocks
    pinned_s: np.ndarray  # (n,) float64
    reused: np.ndarray  # (n,) int64, prompt tokens that were in the KV cache at admission
    batch: np.ndarray  # (max_running,) int64, what ran before a step


class ProgramReplay(NamedTuple):
    """What a log leads to."""

    broken: int  # index of BROKEN
    entry: int
    request: int
    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    release_s: np.ndarray  # (n,) float64, inf where a call before it has not finished
    generated: np.ndarray  # (n,) int64, tokens put out
    preemptions: np.ndarray  # (n,) int64
    reused: np.ndarray  # (n,) int64, prompt tokens that were in the KV cache at the first admission
    now_s: float  # when the replay ended


@inlined
def _open(data: Agents) -> Threads:
    calls, n = data.requests, len(data.requests.program)
    threads = Threads(
        release_s=np.full(n, np.inf),
        waits_for=calls.waits_for.copy(),
        heir=np.full(n, -1),
        parked=np.zeros(n, np.int64),
        pinned_s=np.zeros(n),
        reused=np.zeros(n, np.int64),
        batch=np.empty(data.limit[MAX_RUNNING], np.int64),
    )
    for c in range(n):
        if calls.continues[c] >= 0:
            threads.heir[calls.continues[c]] = c
        if calls.waits_for[c] == 0:
            threads.release_s[c] = data.arrival_s[calls.program[c]] + calls.tool_s[c]
    return threads


@inlined
def _release(data: Agents, ledger: Ledger, threads: Threads) -> None:
    """Queue what has been released, and see whether the server looks at its queue now."""
    book = ledger.book[0]
    book.next_s = np.inf
    for c in range(len(ledger.job)):
        if ledger.job[c].status != TO_COME:
            continue
        if threads.release_s[c] > book.now_s:
            book.next_s = min(book.next_s, threads.release_s[c])
            continue
        ledger.job[c].status = WAITING
        book.waiting += 1
        book.changed = 1
        before = data.requests.continues[c]
        if before >= 0 and threads.pinned_s[before] > threads.release_s[c]:
            threads.pinned_s[before] = np.inf
    book.looks = 0
    if book.changed == 1 or book.pure >= data.limit[PATIENCE]:
        book.changed, book.pure = 0, 0
        if book.waiting > 0 and book.running < data.limit[MAX_RUNNING]:
            book.looks = 1
            book.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * book.waiting


@inlined
def _admission(data: Agents, ledger: Ledger, threads: Threads, c: int) -> int:
    """Follow one admission."""
    book, before, reused = ledger.book[0], data.requests.continues[c], 0
    if book.looks == 0:
        return NO_LOOK
    if ledger.job[c].status != WAITING:
        return NOT_WAITING
    if before >= 0:
        block = data.limit[BLOCK_TOKENS]
        reused = min(
            data.requests.repeated_tokens[c], data.requests.prompt_tokens[c] - 1, threads.parked[before] * block
        )
        reused -= reused % block
        book.parked -= threads.parked[before]
        threads.parked[before] = 0
    if book.running == data.limit[MAX_RUNNING] or load(data, ledger).used + held(data, ledger, c) > data.limit[BLOCKS]:
        return FULL
    if ledger.job[c].preemptions == 0:
        threads.reused[c] = reused
    ledger.job[c].cached = reused
    start(data, ledger, c)
    return FINE


@inlined
def _eviction(data: Agents, ledger: Ledger, threads: Threads, c: int) -> int:
    """Follow the eviction of a parked context, or a preemption: after one the queue is not looked at."""
    book = ledger.book[0]
    if threads.parked[c] > 0:
        if threads.pinned_s[c] > book.now_s and book.running > 1:
            return PINNED
        book.parked -= threads.parked[c]
        threads.parked[c] = 0
        return FINE
    now = load(data, ledger)
    if ledger.job[c].status != RUNNING or book.running < 2 or now.used + now.short <= data.limit[BLOCKS]:
        return NO_NEED
    stop(data, ledger, c)
    book.looks = 0
    return FINE


@inlined
def _decisions(data: Agents, ledger: Ledger, threads: Threads, log: np.ndarray) -> int:
    """Follow all admissions, evictions and preemptions before a step."""
    book, broken = ledger.book[0], FINE
    while broken == FINE and (kind(ledger, log) == ADMIT or kind(ledger, log) == EVICT):
        c = log[book.entry] >> KIND_BITS
        book.request = c
        if c >= len(ledger.job):
            return NOT_WAITING
        if kind(ledger, log) == ADMIT:
            broken = _admission(data, ledger, threads, c)
        else:
            broken = _eviction(data, ledger, threads, c)
        if broken == FINE:
            book.entry += 1
    return broken


@inlined
def _end(data: Agents, ledger: Ledger, threads: Threads, log: np.ndarray, c: int) -> None:
    """A call has finished: those after it may be released, and its context is parked."""
    book, calls = ledger.book[0], data.requests
    for k in range(calls.next_start[c], calls.next_start[c + 1]):
        after = calls.next_call[k]
        threads.waits_for[after] -= 1
        if threads.waits_for[after] == 0:
            threads.release_s[after] = book.now_s + calls.tool_s[after]
    if threads.heir[c] < 0:
        return
    threads.parked[c] = ledger.job[c].cached // data.limit[BLOCK_TOKENS]
    book.parked += threads.parked[c]
    if threads.parked[c] > 0 and kind(ledger, log) == KEEP:
        entry = log[book.entry]
        if (entry >> KIND_BITS) & ((1 << NUMBER_BITS) - 1) == c:
            threads.pinned_s[c] = book.now_s + 1e-3 * (entry >> (KIND_BITS + NUMBER_BITS))
            book.entry += 1


@inlined
def _follow(data: Agents, cost: StepCost, ledger: Ledger, threads: Threads, log: np.ndarray) -> int:
    """Follow a log to its end; the first broken rule."""
    book, broken = ledger.book[0], FINE
    while broken == FINE:
        _release(data, ledger, threads)
        if book.done == len(ledger.job) or book.now_s >= data.time_s[HORIZON]:
            return FINE if book.entry == len(log) else AFTER
        if book.running == 0 and book.waiting == 0:
            book.now_s, book.debt_s = book.next_s, 0.0
            continue
        broken = _decisions(data, ledger, threads, log)
        if broken != FINE:
            return broken
        if book.running == 0:
            return IDLE
        count = book.running
        threads.batch[:count] = ledger.running[:count]
        broken = steps(data, cost, ledger, log)
        for k in range(count):
            if ledger.job[threads.batch[k]].status == DONE:
                _end(data, ledger, threads, log, threads.batch[k])
    return broken


@kernel
def replay(instance: Agents, log: np.ndarray) -> ProgramReplay:
    """Follow a log; the first broken rule ends it."""
    opened, began, data = open_ledger(instance, False), _open(instance), borrow(instance)
    broken = _follow(data, unpack_cost(data), borrow(opened), borrow(began), log)
    n = len(opened.job)
    first, finish, gap = np.empty(n), np.empty(n), np.empty(n)
    generated, preemptions = np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n):
        job = opened.job[c]
        first[c], finish[c], gap[c] = job.first_s, job.finish_s, job.gap_s
        generated[c], preemptions[c] = job.generated, job.preemptions
    book, known = opened.book[0], (began.release_s, generated, preemptions, began.reused)
    return ProgramReplay(broken, book.entry, book.request, first, finish, gap, *known, book.now_s)


def verify(data: Agents, solution: Timeline) -> None:
    """Check that the log is one of this server, and that its times are those of the solution.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the call, and the rule.
    """
    check_columns(len(data.requests.program), solution)
    for p in np.flatnonzero(solution.log < 0)[:1]:
        raise Infeasible(f"log entry {p} is no entry of a log: {solution.log[p]}")
    check_times(solution, replay(data, np.ascontiguousarray(solution.log)))
