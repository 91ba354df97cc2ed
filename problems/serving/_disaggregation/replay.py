"""Replay of a log: what its decisions lead to.

Written apart from the engine: no reports, no estimates, no running totals. From the log come the decisions; whether
they were allowed, and all that follows, is worked out again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import Infeasible
from problems.serving._cluster.data import DECIDING, DECODE, PREFILL
from problems.serving._disaggregation.books import (
    open_books,
    strike,
)
from problems.serving._disaggregation.data import TICK, Deployment
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.log import KIND_BITS, NUMBER_SHIFT, SENT, TURNED
from problems.serving._disaggregation.replay_steps import (
    ALONE,
    BROKEN,
    CAME,
    CHANGING,
    DONE,
    FINE,
    NO_INSTANCE,
    NO_ROLE,
    ROUTED,
    SAME_ROLE,
    TICKS,
    Run,
    begin,
    finish_step,
    next_choice,
    open_to,
    rest,
    rouse,
)
from problems.serving._server.machine import (
    HORIZON,
)


class Replayed(NamedTuple):
    """What a log leads to."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    moved_s: np.ndarray  # (n,) float64
    decided_s: np.ndarray  # (entries followed,) float64
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the last step ended
    broken: int  # rule that the entry behind those followed breaks


@kernel
def _tick(data: Deployment, run: Run, now_s: float) -> None:
    """Instances turn to the roles that the log says."""
    data, run = borrow(data), borrow(run)
    books, number, last = run.books, run.done[TICKS], -1
    run.done[TICKS] += 1
    while run.cursor[0] < len(run.log):
        k = run.cursor[0]
        entry = run.log[k]
        i, value = (entry >> KIND_BITS) & 255, entry >> NUMBER_SHIFT
        if entry & 3 != TURNED or value >> 2 != number:
            return
        role, at_once = value & 3, number == 0
        prompts, outputs = at_once and role != DECODE, at_once and role != PREFILL
        for j in range(len(books.book)):
            if j != i:
                prompts = prompts or open_to(books, j, DECODE)
                outputs = outputs or open_to(books, j, PREFILL)
        if i >= len(books.book):
            run.cursor[1] = NO_INSTANCE
        elif role > 2 or i <= last:
            run.cursor[1] = NO_ROLE
        elif books.book[i].switching == 1:
            run.cursor[1] = CHANGING
        elif books.book[i].role == role:
            run.cursor[1] = SAME_ROLE
        elif not (prompts and outputs):
            run.cursor[1] = ALONE
        if run.cursor[1] != FINE:
            return
        last = i
        run.decided_s[k] = now_s
        run.cursor[0] += 1
        books.book[i].wanted = role
        if at_once:
            books.book[i].role = role
        else:
            books.book[i].switching = 1
            rest(data, books, i, now_s)


@inlined
def _moved(data: Deployment, run: Run, i: int) -> None:
    """The next cache has come to instance i, and has left where it was."""
    books, book = run.books, run.books.book[i]
    r = books.handed[i, book.came]
    job = books.job[r]
    home = books.book[job.home]
    book.came += 1
    home.held = strike(books.held[job.home], home.held, r)
    home.changed = 1
    if home.waiting > 0:
        rouse(books, job.home, job.moved_s)
    rouse(books, i, job.moved_s)
    rest(data, books, job.home, job.moved_s)


@inlined
def _route(data: Deployment, run: Run, now_s: float) -> None:
    r = run.done[ROUTED]
    i = next_choice(run, SENT, r, now_s)
    if i >= 0:
        run.done[ROUTED] += 1
        run.clock_s[0] = now_s + data.cluster.router_s[DECIDING]
        run.books.job[r].home, run.books.job[r].sent_s = i, run.clock_s[0]
        run.books.book[i].on_the_way += 1


@inlined
def _come(run: Run) -> None:
    """The next request that was sent is there."""
    books, r = run.books, run.done[CAME]
    i, now_s = books.job[r].home, books.job[r].sent_s
    run.done[CAME] += 1
    books.waiting[i, books.book[i].waiting] = r
    books.book[i].waiting += 1
    books.book[i].on_the_way -= 1
    books.book[i].changed = 1
    rouse(books, i, now_s)


@inlined
def _until(data: Deployment, run: Run) -> float:
    """When something happens next; inf: nothing does before the horizon, and no step is under way."""
    books, count = run.books, run.done
    at_s = count[TICKS] * data.control_s[TICK]
    if count[CAME] < count[ROUTED]:
        at_s = min(at_s, books.job[count[CAME]].sent_s)
    if count[ROUTED] < len(books.job):
        at_s = min(at_s, max(data.cluster.requests.arrival_s[count[ROUTED]], run.clock_s[0]))
    for i in range(len(books.book)):
        book = books.book[i]
        at_s = min(at_s, min(book.wake_s, book.ready_s))
        if book.came < book.granted:
            at_s = min(at_s, books.job[books.handed[i, book.came]].moved_s)
    at_s = at_s if at_s < data.cluster.time_s[HORIZON] else np.inf
    for i in range(len(books.book)):
        at_s = min(at_s, books.book[i].busy_s)
    return float(at_s)


@kernel
def _one(data: Deployment, run: Run, now_s: float) -> None:
    """The first of what happens at a time."""
    data, run = borrow(data), borrow(run)
    books, count = run.books, run.done
    for i in range(len(books.book)):
        if books.book[i].busy_s == now_s:
            finish_step(data, run, i)
            return
    for i in range(len(books.book)):
        book = books.book[i]
        if book.came < book.granted and books.job[books.handed[i, book.came]].moved_s == now_s:
            _moved(data, run, i)
            return
    for i in range(len(books.book)):
        if books.book[i].ready_s == now_s:
            books.book[i].role, books.book[i].switching, books.book[i].ready_s = books.book[i].wanted, 0, np.inf
            return
    if count[CAME] < count[ROUTED] and books.job[count[CAME]].sent_s == now_s:
        _come(run)
    elif count[TICKS] * data.control_s[TICK] == now_s:
        _tick(data, run, now_s)
    elif count[ROUTED] < len(books.job) and (
        max(data.cluster.requests.arrival_s[count[ROUTED]], run.clock_s[0]) == now_s
    ):
        _route(data, run, now_s)
    else:
        for i in range(len(books.book)):
            if books.book[i].wake_s == now_s:
                begin(data, run, i, now_s)
                return


@kernel
def replay(instance: Deployment, log: np.ndarray) -> Replayed:
    """Follow a log; what comes after the first entry that breaks a rule is not looked at."""
    data, n, kept = borrow(instance), len(instance.cluster.requests.arrival_s), open_books(instance)
    opened = Run(kept, log, np.empty(len(log)), np.zeros(4, np.int64), np.zeros(2, np.int64), np.array([-np.inf, 0.0]))
    run = borrow(opened)
    while run.done[DONE] < n and run.cursor[1] == FINE:
        now_s = _until(data, run)
        if now_s == np.inf:
            break
        _one(data, run, now_s)
    first, finish, gap, moved, generated = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        job = kept.job[r]
        first[r], finish[r], gap[r], moved[r], generated[r] = (
            job.first_s,
            job.finish_s,
            job.gap_s,
            job.moved_s,
            job.generated,
        )
    followed = opened.cursor[0]
    decided_s = opened.decided_s[:followed].copy()
    return Replayed(first, finish, gap, moved, decided_s, generated, opened.clock_s[1], opened.cursor[1])


_TIMES = ("first_token_s", "finish_s", "worst_gap_s", "moved_s")


def verify(data: Deployment, solution: Disaggregation) -> None:
    """Check that every decision was allowed when it was taken, and that all else follows from them.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    n, entries = len(data.cluster.requests.arrival_s), np.shape(solution.log)[:1]
    for name, array in solution._asdict().items():
        kind = np.int64 if name == "log" else np.float64
        shape = (n,) if name in _TIMES else entries
        if array.dtype != kind or array.shape != shape or array.ndim != 1:
            raise Infeasible(
                f"{name} must be a {np.dtype(kind)} array of shape {shape}, got {array.dtype} of shape {array.shape}"
            )
    found = replay(data, np.ascontiguousarray(solution.log))
    followed = len(found.decided_s)
    if found.broken != FINE:
        raise Infeasible(BROKEN[found.broken].format(entry=followed))
    if followed < len(solution.log):
        raise Infeasible(f"entry {followed} of the log is {solution.log[followed]}, but no such decision is due")
    for name in (*_TIMES, "decided_s"):
        given, computed = getattr(solution, name), getattr(found, name)
        for k in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} at {k} is {given[k]}, but the log leads to {computed[k]}")
