"""Steps that can be cut: a step is a row of equal segments, and between two of them others may go before.

A step that is cut keeps all that it has computed and all blocks it has taken. Its requests stand aside until
it goes on; there is one such step at a time, and steps that run meanwhile are not cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._preemption.views import Step
from problems.serving._server.decisions import held_tokens, running, write
from problems.serving._server.engine import next_arrival_s
from problems.serving._server.log import CUT, RESUME, more, step_entry
from problems.serving._server.machine import CUT as CUT_COST
from problems.serving._server.machine import MAX_RUNNING, SEGMENTS, Serving, unpack_cost
from problems.serving._server.state import State, arrive, describe_request
from problems.serving._server.step import begin_mixed, end_mixed, join
from problems.serving._server.views import NO_PROMISE_S, Request

Cut = Callable[[Request, Step, np.ndarray], float]

BOOK = np.dtype(
    (
        np.record,
        [
            ("suspended", np.int64),  # 1: it was cut, and is not done
            ("decode", np.int64),  # 1: it decodes
            ("decoding", np.int64),  # requests of it that decode,
            ("prefilling", np.int64),  # and that prefill
            ("context", np.int64),  # of those that decode, while suspended
            ("prefill_left", np.int64),  # of those that prefill, after it
            ("segments", np.int64),  # that are left
            ("segment_s", np.float64),
            ("done_s", np.float64),
            ("left_s", np.float64),
        ],
    )
)


class Segmented(NamedTuple):
    """The step that runs, or was cut."""

    book: np.ndarray  # (1,) BOOK
    decoding: np.ndarray  # (max_running,) int32
    prefilling: np.ndarray  # (max_running,) int32


@kernel
def open_step(data: Serving) -> Segmented:
    """No step."""
    most = data.limit[MAX_RUNNING]
    return Segmented(np.zeros(1, BOOK), np.empty(most, np.int32), np.empty(most, np.int32))


@kernel
def _describe_step(data: Serving, state: State, step: Segmented, now_s: float, ran_s: float) -> Step:
    """All that hooks see of a step that has run for so long since it was last begun."""
    book, slack, priority = step.book[0], NO_PROMISE_S, np.inf
    for p in range(book.prefilling):
        seen = describe_request(data, state, step.prefilling[p], now_s, 0)
        slack, priority = min(slack, seen.slack), min(priority, seen.priority)
    return Step(
        done=book.done_s + ran_s,
        left=book.left_s - ran_s,
        cost=2.0 * data.time_s[CUT_COST],
        slack=slack,
        priority=priority,
        prompts=float(book.prefilling),
        decoding=float(book.decoding),
        token_time=data.token_s[0],
    )


@inlined
def _goes_before(
    data: Serving, state: State, r: int, held: int, now_s: float, seen: Step, cut: Cut, theta: np.ndarray
) -> bool:
    verdict = cut(describe_request(data, state, r, now_s, held), seen, theta)
    if not math.isfinite(verdict):
        raise NonFiniteScore("cut returned NaN or an infinity")
    return bool(verdict > 0.0)


@kernel
def precedes(data: Serving, state: State, step: Segmented, cut: Cut, theta: np.ndarray) -> bool:
    """Whether a request that runs goes before the step that was cut."""
    i = 0
    server = state.server[i]
    seen = _describe_step(data, state, step, server.now_s, 0.0)
    for p in range(server.decoding + server.prefilling):
        r = running(state, i, p)
        if _goes_before(data, state, r, held_tokens(data, state, r), server.now_s, seen, cut, theta):
            return True
    return False


@inlined
def _boundary(start_s: float, lead_s: float, segment_s: float, until_s: float) -> int:
    """The first end of a segment that is no earlier than a time."""
    k = max(1, math.ceil((until_s - (start_s + lead_s)) / segment_s))
    while start_s + (lead_s + k * segment_s) < until_s:
        k += 1
    return int(k)


@kernel
def _run(data: Serving, state: State, step: Segmented, cut: Cut, theta: np.ndarray, log: np.ndarray) -> bool:
    """Let time pass until the step ends, or is cut for someone who has arrived; whether it has ended."""
    data, state, step, log = borrow(data), borrow(state), borrow(step), borrow(log)
    i = 0
    server, book = state.server[i], step.book[0]
    start_s, lead_s = server.now_s, server.debt_s
    end_s = start_s + (book.left_s + lead_s)
    server.debt_s = 0.0
    while next_arrival_s(data, state, i) < end_s:
        k = _boundary(start_s, lead_s, book.segment_s, next_arrival_s(data, state, i))
        boundary_s = start_s + (lead_s + k * book.segment_s)
        if k >= book.segments or boundary_s >= end_s:
            break
        server.now_s, first, goes_before = boundary_s, server.arrived, False
        arrive(data, state, i)
        seen = _describe_step(data, state, step, boundary_s, boundary_s - start_s)
        for r in range(first, server.arrived):
            goes_before = goes_before or _goes_before(data, state, r, 0, boundary_s, seen, cut, theta)
        if goes_before:
            book.done_s += boundary_s - start_s
            book.left_s = end_s - boundary_s
            book.segments -= k
            server.now_s = boundary_s + data.time_s[CUT_COST]
            write(state, i, log, more(CUT, k))
            return False
    server.now_s = end_s
    return True


@inlined
def _note(state: State, step: Segmented, tokens: int, decode: bool) -> None:
    """Note who is in the step to come."""
    i = 0
    server, book = state.server[i], step.book[0]
    book.decode, book.decoding, book.prefilling = 0, 0, 0
    if decode:
        book.decode, book.decoding = 1, server.decoding
        step.decoding[: server.decoding] = state.decoding[i, : server.decoding]
    while tokens > 0:
        r = state.prefilling[i, book.prefilling]
        step.prefilling[book.prefilling] = r
        tokens -= state.request[r].prefill_left
        book.prefilling += 1


@inlined
def _suspend(state: State, step: Segmented) -> None:
    """Take the requests of the step aside."""
    i = 0
    server, book = state.server[i], step.book[0]
    book.suspended, book.context, book.prefill_left = 1, 0, 0
    if book.decode == 1:
        book.context, server.context, server.decoding = server.context, 0, 0
    for p in range(book.prefilling):
        book.prefill_left += state.request[step.prefilling[p]].prefill_left
    server.prefill_left -= book.prefill_left
    server.prefilling -= book.prefilling
    for p in range(server.prefilling):
        state.prefilling[i, p] = state.prefilling[i, p + book.prefilling]


@kernel
def segmented_step(
    data: Serving,
    state: State,
    step: Segmented,
    tokens: int,
    decode: bool,
    cut: Cut,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """Run a step that prefills, and may be cut."""
    data, state, step, log = borrow(data), borrow(state), borrow(step), borrow(log)
    i, book = 0, step.book[0]
    _note(state, step, tokens, decode)
    book.left_s, book.done_s = begin_mixed(data, unpack_cost(data), state, i, tokens, decode), 0.0
    book.segments = data.limit[SEGMENTS]
    book.segment_s = book.left_s / book.segments
    write(state, i, log, step_entry(tokens, 1 if decode else 0, 1))
    if _run(data, state, step, cut, theta, log):
        end_mixed(data, state, i, decode)
    else:
        _suspend(state, step)


@kernel
def _change_places(state: State, step: Segmented) -> None:
    """Those who stood aside are the batch, and the batch stands aside."""
    i = 0
    server, book = state.server[i], step.book[0]
    for p in range(max(server.decoding, book.decoding)):
        state.decoding[i, p], step.decoding[p] = step.decoding[p], state.decoding[i, p]
    for p in range(max(server.prefilling, book.prefilling)):
        state.prefilling[i, p], step.prefilling[p] = step.prefilling[p], state.prefilling[i, p]
    server.decoding, book.decoding = book.decoding, server.decoding
    server.prefilling, book.prefilling = book.prefilling, server.prefilling
    server.context, book.context = book.context, server.context
    server.prefill_left, book.prefill_left = book.prefill_left, server.prefill_left


@kernel
def resume(data: Serving, state: State, step: Segmented, cut: Cut, theta: np.ndarray, log: np.ndarray) -> None:
    """Go on with the step that was cut; when it ends, its requests stand before those that ran meanwhile."""
    i = 0
    server, book = state.server[i], step.book[0]
    write(state, i, log, more(RESUME, 0))
    server.debt_s += data.time_s[CUT_COST]
    if not _run(data, state, step, cut, theta, log):
        return
    _change_places(state, step)
    end_mixed(data, state, i, book.decode == 1)
    for p in range(book.decoding):
        join(data, state, i, step.decoding[p])
    for p in range(book.prefilling):
        state.prefilling[i, server.prefilling + p] = step.prefilling[p]
    server.prefilling += book.prefilling
    server.prefill_left += book.prefill_left
    book.suspended = 0
