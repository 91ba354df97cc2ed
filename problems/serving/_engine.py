"""The serving engine: continuous batching on one server, with decisions taken by hooks.

A server works in steps. Before each step, what has arrived joins the waiting queue. If something has
changed (an arrival, a completion, prefill, a preemption) or the queue has seen PATIENCE steps of pure
decoding, the rule *looks at the queue*: ``order`` ranks it, and from the front ``admit`` takes requests
into the batch, passes over them, or stops. ``chunk`` sets the prompt tokens of the step, and whether
decoding goes on beside them. Where blocks are missing, ``evict`` says which request to preempt.

Between looks, equal decode steps are done in one go (see ``leap``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._borrow import borrow_data, borrow_state
from problems.serving._engine_state import (
    State,
    arrive,
    dequeue,
    describe_memory,
    describe_request,
    describe_server,
    open_state,
)
from problems.serving._engine_step import count_crossings, leap, mixed_step, place, preempt
from problems.serving._log import ADMIT, EVICT, WAIT, about, step_entry, with_room
from problems.serving._machine import (
    BLOCK_TOKENS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    PATIENCE,
    TICK,
    Serving,
    blocks_for,
    unpack_cost,
)
from problems.serving._views import Memory, Request, Server


class Timeline(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    log: np.ndarray  # (entries,) int64, see _log.py


Order = Callable[[Request, Server, np.ndarray], float]
Admit = Callable[[Request, Server, Memory, np.ndarray], float]
Chunk = Callable[[Server, np.ndarray], float]
Evict = Callable[[Request, Server, np.ndarray], float]


@inlined
def _before(state: State, a: int, b: int) -> bool:
    """Whether request a stands before b: lower score, ties to the lower number."""
    x, y = state.request[a].score, state.request[b].score
    return x < y or (x == y and a < b)


@inlined
def _sift(state: State, p: int, count: int) -> None:
    """Restore the heap of the first count of queue, whose entry p may be too large."""
    r = state.queue[p]
    while True:
        child = 2 * p + 1
        if child >= count:
            break
        if child + 1 < count and _before(state, state.queue[child + 1], state.queue[child]):
            child += 1
        if not _before(state, state.queue[child], r):
            break
        state.queue[p] = state.queue[child]
        p = child
    state.queue[p] = r


@inlined
def _pop(state: State, count: int) -> int:
    """Take the first request out of a heap of count."""
    top = state.queue[0]
    state.queue[0] = state.queue[count - 1]
    _sift(state, 0, count - 1)
    return int(top)


@inlined
def _next_arrival_s(data: Serving, state: State, i: int) -> float:
    k = state.server[i].arrived
    return data.requests.arrival_s[k] if k < len(data.requests.arrival_s) else np.inf


@inlined
def _write(state: State, i: int, log: np.ndarray, entry: int) -> None:
    log[state.server[i].logged] = entry
    state.server[i].logged += 1


@inlined
def _idle(data: Serving, state: State, i: int, log: np.ndarray) -> bool:
    """Let time pass on an empty server; False if nothing will ever come."""
    server, next_s = state.server[i], _next_arrival_s(data, state, i)
    server.debt_s = 0.0
    if server.waiting == 0:
        server.now_s = next_s
        return bool(next_s < np.inf)
    server.now_s = min(server.now_s + data.time_s[TICK], next_s)
    server.look = 1
    _write(state, i, log, WAIT)
    return True


@kernel
def continuous_batching(
    instance: Serving, order: Order, admit: Admit, chunk: Chunk, evict: Evict, theta: np.ndarray
) -> Timeline:
    """Serve all requests, or as many as the horizon leaves time for.

    The loops over hooks are no verbs of their own: functions that pass on a hook's exception inline badly.
    """
    opened, data, i = open_state(instance, 1), borrow_data(instance), 0
    state, cost = borrow_state(opened), unpack_cost(data)
    log = np.empty(8 * len(data.requests.arrival_s) + 64, np.int64)
    server, block, most = state.server[i], data.limit[BLOCK_TOKENS], data.limit[MAX_RUNNING]
    while True:
        arrive(data, state, i)
        if server.finished == len(data.requests.arrival_s) or server.now_s >= data.time_s[HORIZON]:
            break
        log = with_room(log, server.logged, 2 * most + 2)
        if server.look == 1 or server.since >= data.limit[PATIENCE]:
            server.look, server.since = 0, 0
            running = server.decoding + server.prefilling
            if server.waiting > 0 and running < most and server.free > 0:
                server.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * server.waiting
                seen, count, r = describe_server(data, cost, state, i), 0, server.first
                while r >= 0:
                    score = order(describe_request(data, state, r, server.now_s, 0), seen, theta)
                    if not math.isfinite(score):
                        raise NonFiniteScore("order returned NaN or an infinity")
                    state.request[r].score = score
                    state.queue[count] = r
                    count += 1
                    r = state.request[r].next
                for p in range(count // 2 - 1, -1, -1):
                    _sift(state, p, count)
                while count > 0 and running < most:
                    r = _pop(state, count)
                    count -= 1
                    request = describe_request(data, state, r, server.now_s, 0)
                    verdict = admit(request, seen, describe_memory(data, state, i, r), theta)
                    if not math.isfinite(verdict):
                        raise NonFiniteScore("admit returned NaN or an infinity")
                    if verdict == 0.0:
                        continue
                    needed = blocks_for(state.request[r].context + state.request[r].prefill_left, block)
                    if verdict < 0.0 or needed > server.free:
                        break
                    dequeue(state, i, r)
                    place(data, state, i, r)
                    _write(state, i, log, about(ADMIT, r))
                    running += 1
                    seen = describe_server(data, cost, state, i)
        if server.decoding + server.prefilling == 0:
            if not _idle(data, state, i, log):
                break
            continue
        tokens, decode = 0, server.decoding > 0
        if server.prefilling > 0:
            share = chunk(describe_server(data, cost, state, i), theta)
            if not math.isfinite(share):
                raise NonFiniteScore("chunk returned NaN or an infinity")
            tokens = int(min(abs(share), float(min(data.limit[MAX_PREFILL], server.prefill_left))))
            decode = decode and (share > 0.0 or tokens == 0)
        if decode:
            count_crossings(data, state, i)
            while state.crossing[0] > server.free and server.decoding + server.prefilling > 1:
                seen, victim, highest = describe_server(data, cost, state, i), -1, -np.inf
                for p in range(server.decoding + server.prefilling):
                    r = state.prefilling[i, p - server.decoding] if p >= server.decoding else state.decoding[i, p]
                    held = blocks_for(state.request[r].context + state.request[r].prefill_left, block) * block
                    score = evict(describe_request(data, state, r, server.now_s, held), seen, theta)
                    if not math.isfinite(score):
                        raise NonFiniteScore("evict returned NaN or an infinity")
                    if score > highest or (score == highest and r > victim):
                        victim, highest = r, score
                preempt(data, state, i, victim)
                _write(state, i, log, about(EVICT, victim))
                count_crossings(data, state, i)
            decode = server.decoding > 0
            tokens = min(tokens, server.prefill_left)
        if tokens == 0 and not decode:
            tokens = min(block, server.prefill_left)
        if tokens == 0 and server.prefilling == 0:
            steps = leap(data, cost, state, i, _next_arrival_s(data, state, i))
            _write(state, i, log, step_entry(0, 1, steps))
        else:
            mixed_step(data, cost, state, i, tokens, decode)
            _write(state, i, log, step_entry(tokens, 1 if decode else 0, 1))
    first, finish, gap = np.empty(len(state.request)), np.empty(len(state.request)), np.empty(len(state.request))
    for r in range(len(opened.request)):  # not of the borrowed view: this keeps the owner alive until here
        first[r] = opened.request[r].first_token_s
        finish[r] = opened.request[r].finish_s
        gap[r] = opened.request[r].worst_gap_s
    return Timeline(first, finish, gap, log[: opened.server[i].logged].copy())
