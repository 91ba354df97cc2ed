"""Replay of a log: what the decisions of a simulation lead to, and whether the server could take them.

Written apart from the engine: no leaps, no running totals of blocks, every step one by one. What a rule
decided is taken from the log; times, memory and tokens are computed again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import Infeasible
from problems.serving._server.engine import Timeline
from problems.serving._server.ledger import (
    RUNNING,
    WAITING,
    Ledger,
    dismiss,
    held,
    load,
    open_ledger,
    start,
)
from problems.serving._server.log import ADMIT, CODE_MASK, EVICT, KIND_BITS, RESUME, SWAP, WAIT, subject
from problems.serving._server.machine import (
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    LONGEST_WAIT,
    MAX_RUNNING,
    PATIENCE,
    POOL,
    SEGMENTS,
    SWAP_BLOCK,
    TICK,
    Serving,
    unpack_cost,
)
from problems.serving._server.replay_cuts import code, follow_resume, follow_steps, join_queue
from problems.serving._server.replay_look import follow_look
from problems.serving._server.replay_service import (
    GAP,
    HITS,
    Service,
    compare,
    count_output,
    count_waiting,
    find_prefix,
    open_service,
)
from problems.serving._server.replay_steps import (
    AFTER,
    BROKEN,
    FINE,
    FULL,
    NO_NEED,
    NO_WAIT,
    NOT_WAITING,
    kind,
    steps,
)


class Replay(NamedTuple):
    """What a log leads to."""

    broken: int  # index of BROKEN
    entry: int
    request: int
    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    preemptions: np.ndarray  # (n,) int64
    gap_s: np.ndarray  # float64, times between tokens, of all requests, if they are kept
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the replay ended,
    arrived: int  # and how many requests had arrived
    service_gap: float  # tokens, see _server/replay_service.py
    hits: float  # prompt tokens that were cached


@inlined
def _arrive(data: Serving, ledger: Ledger, service: Service) -> None:
    """Queue what has come, and see whether the server looks at its queue now."""
    book, before = ledger.book[0], ledger.book[0].come
    join_queue(data, ledger)
    for r in range(before, book.come):
        count_waiting(data, service, r, 1)
    count_output(data, ledger, service)
    compare(service)
    book.looks = 0
    if book.changed == 1 or book.pure >= data.limit[PATIENCE]:
        book.changed, book.pure = 0, 0
        room = load(data, ledger).used < data.limit[BLOCKS] and book.running < data.limit[MAX_RUNNING]
        if data.limit[SEGMENTS] > 0:  # rules may make room, and rank prompts
            book.looks = 1 if book.waiting > 0 else 2
        elif book.waiting > 0 and room:
            book.looks = 1


@inlined
def _admissions(data: Serving, ledger: Ledger, service: Service, log: np.ndarray) -> int:
    """Follow all admissions of a look."""
    book = ledger.book[0]
    if book.looks == 0:
        return FINE
    if book.looks == 1:
        book.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * book.waiting
    if data.limit[SEGMENTS] > 0:
        return follow_look(data, ledger, log)
    used = load(data, ledger).used
    while kind(ledger, log) == ADMIT:
        book.request = log[book.entry] >> KIND_BITS
        if book.request >= len(ledger.job) or ledger.job[book.request].status != WAITING:
            return NOT_WAITING
        used += held(data, ledger, book.request)
        if book.running == data.limit[MAX_RUNNING] or used > data.limit[BLOCKS]:
            return FULL
        start(data, ledger, book.request)
        if data.limit[POOL] >= 0:
            _begin_behind_prefix(data, ledger, service, book.request)
        book.entry += 1
    count_output(data, ledger, service)
    return FINE


@inlined
def _begin_behind_prefix(data: Serving, ledger: Ledger, service: Service, r: int) -> None:
    """An admitted request finds some of its prompt cached; the rest counts as service, but only once."""
    job = ledger.job[r]
    count_waiting(data, service, r, -1)
    job.cached = find_prefix(data, service, r)
    service.total[HITS] += job.cached
    if job.preemptions == 0:
        service.given[data.requests.tenant[r]] += job.target - job.cached
    compare(service)


@inlined
def _preemptions(data: Serving, ledger: Ledger, service: Service, log: np.ndarray) -> int:
    """Follow all preemptions before a step."""
    book = ledger.book[0]
    while kind(ledger, log) == EVICT or code(ledger, log) == SWAP:
        swap = kind(ledger, log) == WAIT or (data.limit[SEGMENTS] == 0 and data.time_s[SWAP_BLOCK] >= 0.0)
        book.request = subject(log[book.entry])
        if book.request >= len(ledger.job) or ledger.job[book.request].status != RUNNING:
            return NO_NEED
        if ledger.job[book.request].suspended == 1 or book.running - book.suspended < 2:
            return NO_NEED
        now = load(data, ledger)
        if now.used + now.short <= data.limit[BLOCKS]:
            return NO_NEED
        dismiss(data, ledger, book.request, swap)
        count_waiting(data, service, book.request, 1)
        book.entry += 1
    return FINE


@inlined
def _wait(data: Serving, ledger: Ledger) -> int:
    """Follow a wait of an idle server."""
    book = ledger.book[0]
    if book.running > 0 or book.waiting == 0:
        return NO_WAIT
    book.wait_s = min(book.wait_s + data.time_s[TICK], LONGEST_WAIT * data.time_s[TICK])
    book.now_s = min(book.now_s + book.wait_s, book.next_s)
    book.debt_s = 0.0
    book.changed = 1
    book.entry += 1
    return FINE


@inlined
def _follow(data: Serving, cost: StepCost, ledger: Ledger, service: Service, log: np.ndarray) -> int:
    """Follow a log to its end; the first broken rule."""
    book, broken = ledger.book[0], FINE
    while broken == FINE:
        _arrive(data, ledger, service)
        if book.done == len(ledger.job) or book.now_s >= data.time_s[HORIZON]:
            return FINE if book.entry == len(log) else AFTER
        broken = _admissions(data, ledger, service, log)
        if broken == FINE:
            if book.running == 0 and book.waiting == 0:
                book.now_s, book.debt_s = data.requests.arrival_s[book.come], 0.0
            elif code(ledger, log) == 0:
                broken = _wait(data, ledger)
            elif code(ledger, log) == RESUME:
                broken = follow_resume(data, ledger, log)
            else:
                broken = _preemptions(data, ledger, service, log)
                if broken == FINE and data.limit[SEGMENTS] > 0:
                    broken = follow_steps(data, cost, ledger, log)
                elif broken == FINE:
                    broken = steps(data, cost, ledger, log)
    return broken


@kernel
def replay(instance: Serving, log: np.ndarray, keep_gaps: bool) -> Replay:
    """Follow a log; the first broken rule ends it."""
    opened, given, data = open_ledger(instance, keep_gaps), open_service(instance), borrow(instance)
    ledger, service = borrow(opened), borrow(given)
    broken = _follow(data, unpack_cost(data), ledger, service, log)
    n = len(opened.job)
    first, finish, gap = np.empty(n), np.empty(n), np.empty(n)
    preemptions, generated = np.empty(n, np.int64), np.empty(n, np.int64)
    for r in range(n):
        first[r] = opened.job[r].first_s
        finish[r] = opened.job[r].finish_s
        gap[r] = opened.job[r].gap_s
        preemptions[r] = opened.job[r].preemptions
        generated[r] = opened.job[r].generated
    book, gaps = opened.book[0], opened.gap_s[: opened.book[0].gaps].copy()
    times, shares = (first, finish, gap), (given.total[GAP], given.total[HITS])
    return Replay(
        broken, book.entry, book.request, *times, preemptions, gaps, generated, book.now_s, book.come, *shares
    )


def verify(data: Serving, solution: Timeline) -> None:
    """Check that the log is one of this server, and that its times are those of the solution.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    check_columns(len(data.requests.arrival_s), solution)
    known = solution.log == WAIT
    if data.limit[SEGMENTS] > 0:
        known = (solution.log >> KIND_BITS) & CODE_MASK <= RESUME
    for p in np.flatnonzero((solution.log < 0) | ((solution.log & 3 == WAIT) & ~known))[:1]:
        raise Infeasible(f"log entry {p} is no entry of a log: {solution.log[p]}")
    check_times(solution, replay(data, np.ascontiguousarray(solution.log), False))


TIMES = ("first_token_s", "finish_s", "worst_gap_s")


def check_columns(n: int, solution: Timeline) -> None:
    """Raise Infeasible where a solution for n requests has another form."""
    for name in TIMES:
        array = getattr(solution, name)
        if array.dtype != np.float64 or array.shape != (n,):
            raise Infeasible(
                f"{name} must be a float64 array of shape ({n},), got {array.dtype} of shape {array.shape}"
            )
    if solution.log.dtype != np.int64 or solution.log.ndim != 1:
        raise Infeasible(f"log must be a list of int64, got {solution.log.dtype} of shape {solution.log.shape}")


def check_times(solution: Timeline, found: Any) -> None:
    """Raise Infeasible where a replay broke a rule, or led to other times than those of the solution."""
    if found.broken != FINE:
        raise Infeasible(BROKEN[found.broken].format(entry=found.entry, request=found.request))
    for name in TIMES:
        given, computed = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} of request {r} is {given[r]}, but the log leads to {computed[r]}")
