"""Where rules decide: the order of the queue, admissions, and preemptions. Every answer must be finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._hardware.step_cost import StepCost
from problems._jit import inlined
from problems.problem import NonFiniteScore
from problems.serving._server.log import ADMIT, EVICT, about
from problems.serving._server.machine import BLOCK_TOKENS, CANDIDATE, DECISION, MAX_RUNNING, Serving, blocks_for
from problems.serving._server.state import (
    State,
    dequeue,
    describe_memory,
    describe_request,
    describe_server,
)
from problems.serving._server.step import count_crossings, place, preempt
from problems.serving._server.views import Memory, Request, Server

Order = Callable[[Request, Server, np.ndarray], float]
Admit = Callable[[Request, Server, Memory, np.ndarray], float]
Chunk = Callable[[Server, np.ndarray], float]
Evict = Callable[[Request, Server, np.ndarray], float]


@inlined
def write(state: State, i: int, log: np.ndarray, entry: int) -> None:
    """Append an entry to a log that has room for it."""
    log[state.server[i].logged] = entry
    state.server[i].logged += 1


@inlined
def before(state: State, a: int, b: int) -> bool:
    """Whether request a stands before b: lower score, ties to the lower number."""
    x, y = state.request[a].score, state.request[b].score
    return bool(x < y or (x == y and a < b))


@inlined
def sift(state: State, p: int, count: int) -> None:
    """Restore the heap of the first count of queue, whose entry p may be too large."""
    r = state.queue[p]
    while True:
        child = 2 * p + 1
        if child >= count:
            break
        if child + 1 < count and before(state, state.queue[child + 1], state.queue[child]):
            child += 1
        if not before(state, state.queue[child], r):
            break
        state.queue[p] = state.queue[child]
        p = child
    state.queue[p] = r


@inlined
def pop(state: State, count: int) -> int:
    """Take the first request out of a heap of count."""
    top = state.queue[0]
    state.queue[0] = state.queue[count - 1]
    sift(state, 0, count - 1)
    return int(top)


@inlined
def rank_queue(data: Serving, cost: StepCost, state: State, i: int, order: Order, theta: np.ndarray) -> int:
    """Score all that waits and charge for it; how many there are in the heap."""
    server = state.server[i]
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
        sift(state, p, count)
    return count


@inlined
def admit_ranked(
    data: Serving, cost: StepCost, state: State, i: int, admit: Admit, theta: np.ndarray, log: np.ndarray, count: int
) -> None:
    """Admit from the front of the ranked queue until the rule, the batch or the memory stops it."""
    server = state.server[i]
    seen = describe_server(data, cost, state, i)
    while count > 0 and server.decoding + server.prefilling < data.limit[MAX_RUNNING]:
        r = pop(state, count)
        count -= 1
        request = describe_request(data, state, r, server.now_s, 0)
        verdict = admit(request, seen, describe_memory(data, state, i, r), theta)
        if not math.isfinite(verdict):
            raise NonFiniteScore("admit returned NaN or an infinity")
        if verdict == 0.0:
            continue
        tokens = state.request[r].context + state.request[r].prefill_left
        if verdict < 0.0 or blocks_for(tokens, data.limit[BLOCK_TOKENS]) > server.free:
            break
        dequeue(state, i, r)
        place(data, state, i, r)
        write(state, i, log, about(ADMIT, r))
        seen = describe_server(data, cost, state, i)


@inlined
def running(state: State, i: int, p: int) -> int:
    """The p-th running request: those that decode, then those that prefill."""
    count = state.server[i].decoding
    return int(state.prefilling[i, p - count] if p >= count else state.decoding[i, p])


@inlined
def held_tokens(data: Serving, state: State, r: int) -> int:
    """KV cache of a running request, in whole blocks."""
    block = data.limit[BLOCK_TOKENS]
    return blocks_for(state.request[r].context + state.request[r].prefill_left, block) * block


@inlined
def find_victim(data: Serving, cost: StepCost, state: State, i: int, evict: Evict, theta: np.ndarray) -> int:
    """The running request with the highest value; ties go to the one that came last."""
    server, seen, victim, highest = state.server[i], describe_server(data, cost, state, i), -1, -np.inf
    for p in range(server.decoding + server.prefilling):
        r = running(state, i, p)
        score = evict(describe_request(data, state, r, server.now_s, held_tokens(data, state, r)), seen, theta)
        if not math.isfinite(score):
            raise NonFiniteScore("evict, or what ranks running requests, returned NaN or an infinity")
        if score > highest or (score == highest and r > victim):
            victim, highest = r, score
    return victim


@inlined
def make_room(
    data: Serving, cost: StepCost, state: State, i: int, evict: Evict, theta: np.ndarray, log: np.ndarray
) -> None:
    """Preempt until all that decodes has a block for its next token; the last request stays."""
    server = state.server[i]
    count_crossings(data, state, i)
    while state.crossing[0] > server.free and server.decoding + server.prefilling > 1:
        victim = find_victim(data, cost, state, i, evict, theta)
        preempt(data, state, i, victim)
        write(state, i, log, about(EVICT, victim))
        count_crossings(data, state, i)
