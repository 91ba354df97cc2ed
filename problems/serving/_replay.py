"""Replay of a log: what the decisions of a simulation lead to, and whether the server could take them.

Written apart from the engine: no leaps, no running totals of blocks, every step one by one. What a rule
decided is taken from the log; times, memory and tokens are computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined, kernel
from problems.problem import Infeasible
from problems.serving._engine import Timeline
from problems.serving._ledger import (
    DONE,
    RUNNING,
    WAITING,
    Ledger,
    emit,
    held,
    load,
    open_ledger,
    start,
    stop,
)
from problems.serving._log import ADMIT, EVICT, KIND_BITS, PREFILL_SHIFT, REPEAT_BITS, REPEAT_SHIFT, STEP, WAIT
from problems.serving._machine import (
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    LONGEST_WAIT,
    MAX_PREFILL,
    MAX_RUNNING,
    PATIENCE,
    TICK,
    Serving,
    unpack_cost,
)

_FINE, _NONSENSE, _NOT_WAITING, _NO_LOOK, _FULL, _NO_NEED, _EMPTY, _SHORT, _CHANGED, _NO_WAIT, _AFTER, _EARLY = range(
    12
)
_BROKEN = (
    "",
    "entry {entry} is no entry of a log",
    "entry {entry} admits request {request}, which is not waiting then",
    "entry {entry} admits a request when the server does not look at its queue",
    "entry {entry} admits request {request}, but the batch or the KV cache is full",
    "entry {entry} preempts request {request}, which is not running or for which there is no need",
    "entry {entry} runs a step that computes nothing or too much",
    "entry {entry} decodes without the blocks for it",
    "entry {entry} goes on with a step when something has changed",
    "entry {entry} waits though a request runs, or none waits",
    "entry {entry} comes after the end",
    "the log ends before entry {entry}, and before the simulation does",
)


class Replay(NamedTuple):
    """What a log leads to."""

    broken: int  # index of _BROKEN
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


@inlined
def _kind(ledger: Ledger, log: np.ndarray) -> int:
    """Kind of the entry at hand; -1 after the last."""
    p = ledger.book[0].entry
    return log[p] & 3 if p < len(log) else -1


@inlined
def _arrive(data: Serving, ledger: Ledger) -> None:
    """Queue what has come, and see whether the server looks at its queue now."""
    book, arrival_s = ledger.book[0], data.requests.arrival_s
    while book.come < len(arrival_s) and arrival_s[book.come] <= book.now_s:
        ledger.job[book.come].status = WAITING
        book.waiting += 1
        book.wait_s = 0.0
        book.come += 1
        book.changed = 1
    book.looks = 0
    if book.changed == 1 or book.pure >= data.limit[PATIENCE]:
        book.changed, book.pure = 0, 0
        room = load(data, ledger).used < data.limit[BLOCKS] and book.running < data.limit[MAX_RUNNING]
        if book.waiting > 0 and room:
            book.looks = 1


@inlined
def _admissions(data: Serving, ledger: Ledger, log: np.ndarray) -> int:
    """Follow all admissions of a look."""
    book = ledger.book[0]
    if book.looks == 0:
        return _FINE
    book.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * book.waiting
    used = load(data, ledger).used
    while _kind(ledger, log) == ADMIT:
        book.request = log[book.entry] >> KIND_BITS
        if book.request >= len(ledger.job) or ledger.job[book.request].status != WAITING:
            return _NOT_WAITING
        used += held(data, ledger, book.request)
        if book.running == data.limit[MAX_RUNNING] or used > data.limit[BLOCKS]:
            return _FULL
        start(data, ledger, book.request)
        book.entry += 1
    return _FINE


@inlined
def _preemptions(data: Serving, ledger: Ledger, log: np.ndarray) -> int:
    """Follow all preemptions before a step."""
    book = ledger.book[0]
    while _kind(ledger, log) == EVICT:
        book.request = log[book.entry] >> KIND_BITS
        if book.request >= len(ledger.job) or ledger.job[book.request].status != RUNNING or book.running < 2:
            return _NO_NEED
        now = load(data, ledger)
        if now.used + now.short <= data.limit[BLOCKS]:
            return _NO_NEED
        stop(data, ledger, book.request)
        book.entry += 1
    return _FINE


@inlined
def compute(data: Serving, cost: StepCost, ledger: Ledger, tokens: int, decoding: int, context: int) -> None:
    """One step: tokens of prompts in order of admission, and one token for each decoding request, if any."""
    book, pairs, budget, pure = ledger.book[0], 0.0, tokens, True
    for k in range(book.running):
        job = ledger.job[ledger.running[k]]
        left = job.target - job.cached
        job.emits = 0
        if left > 0:
            chunk = min(budget, left)
            pairs += chunk * (job.cached + 0.5 * chunk)
            budget -= chunk
            job.cached += chunk
            job.emits = 1 if chunk == left else 0
            pure = False
        elif decoding > 0:
            job.cached += 1
            job.emits = 1
    book.now_s += step_seconds(cost, tokens, pairs, decoding, float(context)) + book.debt_s
    book.debt_s = 0.0
    kept = 0
    for k in range(book.running):
        r = ledger.running[k]
        if ledger.job[r].emits == 1:
            emit(data, ledger, r)
        if ledger.job[r].status != DONE:
            ledger.running[kept] = r
            kept += 1
    book.running = kept
    if pure:
        book.pure += 1
    else:
        book.changed = 1


@inlined
def _must_stop(data: Serving, ledger: Ledger) -> bool:
    """Whether equal steps may not go on: something has changed, or is due."""
    book, arrival_s = ledger.book[0], data.requests.arrival_s
    if book.changed == 1 or book.now_s >= data.time_s[HORIZON]:
        return True
    if book.come < len(arrival_s) and book.now_s >= arrival_s[book.come]:
        return True
    return bool(book.waiting > 0 and book.pure >= data.limit[PATIENCE])


@inlined
def _steps(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray) -> int:
    """Follow an entry of one step or more."""
    book = ledger.book[0]
    if _kind(ledger, log) != STEP:
        return _EARLY if _kind(ledger, log) < 0 else _NO_LOOK if _kind(ledger, log) == ADMIT else _NONSENSE
    entry = log[book.entry]
    decode, repeats = (entry >> KIND_BITS) & 1, (entry >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
    tokens = entry >> PREFILL_SHIFT
    for step in range(max(repeats, 1)):
        now = load(data, ledger)
        empty = (decode == 1 and now.decoding == 0) or (decode == 0 and tokens == 0)
        if empty or repeats < 1 or tokens > min(now.to_prefill, data.limit[MAX_PREFILL]):
            return _EMPTY
        if decode == 1 and now.used + now.short > data.limit[BLOCKS]:
            return _SHORT
        if repeats > 1 and (now.to_prefill > 0 or (step > 0 and _must_stop(data, ledger))):
            return _CHANGED
        if decode == 1:
            compute(data, cost, ledger, tokens, now.decoding, now.context)
        else:
            compute(data, cost, ledger, tokens, 0, 0)
    book.entry += 1
    return _FINE


@inlined
def _wait(data: Serving, ledger: Ledger) -> int:
    """Follow a wait of an idle server."""
    book, arrival_s = ledger.book[0], data.requests.arrival_s
    if book.running > 0 or book.waiting == 0:
        return _NO_WAIT
    until_s = arrival_s[book.come] if book.come < len(arrival_s) else np.inf
    book.wait_s = min(book.wait_s + data.time_s[TICK], LONGEST_WAIT * data.time_s[TICK])
    book.now_s = min(book.now_s + book.wait_s, until_s)
    book.debt_s = 0.0
    book.changed = 1
    book.entry += 1
    return _FINE


@inlined
def _follow(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray) -> int:
    """Follow a log to its end; the first broken rule."""
    book, broken = ledger.book[0], _FINE
    while broken == _FINE:
        _arrive(data, ledger)
        if book.done == len(ledger.job) or book.now_s >= data.time_s[HORIZON]:
            return _FINE if book.entry == len(log) else _AFTER
        broken = _admissions(data, ledger, log)
        if broken == _FINE:
            if book.running == 0 and book.waiting == 0:
                book.now_s, book.debt_s = data.requests.arrival_s[book.come], 0.0
            elif _kind(ledger, log) == WAIT:
                broken = _wait(data, ledger)
            else:
                broken = _preemptions(data, ledger, log)
                if broken == _FINE:
                    broken = _steps(data, cost, ledger, log)
    return broken


@kernel
def replay(instance: Serving, log: np.ndarray, keep_gaps: bool) -> Replay:
    """Follow a log; the first broken rule ends it."""
    opened, data = open_ledger(instance, keep_gaps), borrow(instance)
    ledger = borrow(opened)
    broken = _follow(data, unpack_cost(data), ledger, log)
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
    times = (first, finish, gap)
    return Replay(broken, book.entry, book.request, *times, preemptions, gaps, generated, book.now_s, book.come)


def verify(data: Serving, solution: Timeline) -> None:
    """Check that the log is one of this server, and that its times are those of the solution.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    n = len(data.requests.arrival_s)
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        array = getattr(solution, name)
        if array.dtype != np.float64 or array.shape != (n,):
            raise Infeasible(
                f"{name} must be a float64 array of shape ({n},), got {array.dtype} of shape {array.shape}"
            )
    if solution.log.dtype != np.int64 or solution.log.ndim != 1:
        raise Infeasible(f"log must be a list of int64, got {solution.log.dtype} of shape {solution.log.shape}")
    for p in np.flatnonzero((solution.log < 0) | ((solution.log & 3 == WAIT) & (solution.log != WAIT)))[:1]:
        raise Infeasible(f"log entry {p} is no entry of a log: {solution.log[p]}")
    found = replay(data, np.ascontiguousarray(solution.log), False)
    if found.broken != _FINE:
        raise Infeasible(_BROKEN[found.broken].format(entry=found.entry, request=found.request))
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        given, computed = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} of request {r} is {given[r]}, but the log leads to {computed[r]}")
