"""How a server of a cluster works: first come, first served, chunked prefill beside decoding in a token budget.

This is the scheduler of vLLM v1, with blocks for the whole prompt at admission. Nothing is decided by a rule.
"""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined
from problems.serving._cluster_state import output_left, prefill_us, receive
from problems.serving._engine_state import State, dequeue, requeue
from problems.serving._engine_step import count_crossings, leap, mixed_step, place, take_out
from problems.serving._machine import (
    BLOCK_TOKENS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    Serving,
    blocks_for,
    unpack_cost,
)


@inlined
def _admit(data: Serving, state: State, i: int) -> None:
    """Look at the queue, and admit from its front what the batch and the memory hold."""
    server, most = state.server[i], data.limit[MAX_RUNNING]
    server.look = 0
    if server.waiting == 0 or server.decoding + server.prefilling == most or server.free == 0:
        return
    server.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * server.waiting
    while server.waiting > 0 and server.decoding + server.prefilling < most:
        r = server.first
        request = state.request[r]
        if blocks_for(request.prefill_left, data.limit[BLOCK_TOKENS]) > server.free:
            break
        dequeue(state, i, r)
        server.waiting_us -= int(request.score)
        server.waiting_output -= output_left(data, state, r)
        request.computed += request.prefill_left
        place(data, state, i, r)


@inlined
def _make_room(data: Serving, state: State, i: int) -> None:
    """Preempt the latest request until all that decodes has a block for its next token; the last one stays."""
    server = state.server[i]
    count_crossings(data, state, i)
    while state.crossing[0] > server.free and server.decoding + server.prefilling > 1:
        victim = -1
        for p in range(server.decoding):
            victim = max(victim, state.decoding[i, p])
        for p in range(server.prefilling):
            victim = max(victim, state.prefilling[i, p])
        request = state.request[victim]
        request.computed -= request.prefill_left
        take_out(data, state, i, victim)
        requeue(state, i, victim, server.now_s)
        request.score = prefill_us(data, request.prefill_left, 0)
        server.waiting_us += int(request.score)
        server.waiting_output += output_left(data, state, victim)
        count_crossings(data, state, i)


@inlined
def _mixed_end_s(data: Serving, cost: StepCost, state: State, i: int, tokens: int, decode: bool) -> float:
    """When a step would end that prefills so many tokens."""
    server, pairs, budget = state.server[i], 0.0, tokens
    for p in range(server.prefilling):
        request = state.request[state.prefilling[i, p]]
        chunk = min(budget, request.prefill_left)
        pairs += chunk * (request.context + 0.5 * chunk)
        budget -= chunk
        if budget == 0:
            break
    count, context = (server.decoding, server.context) if decode else (0, 0)
    return server.now_s + (step_seconds(cost, tokens, pairs, count, float(context)) + server.debt_s)


@inlined
def _step(data: Serving, cost: StepCost, state: State, i: int, until_s: float, end_by_s: float) -> bool:
    """Run the next step, or several of pure decoding; False if it would end too late and has not begun."""
    server = state.server[i]
    if server.decoding > 0:
        _make_room(data, state, i)
    if server.prefilling == 0:
        return leap(data, cost, state, i, until_s, end_by_s) > 0
    share = max(data.limit[MAX_PREFILL] - server.decoding, data.limit[BLOCK_TOKENS])
    tokens, decode = min(share, server.prefill_left), server.decoding > 0
    if _mixed_end_s(data, cost, state, i, tokens, decode) > end_by_s:
        return False
    mixed_step(data, cost, state, i, tokens, decode)
    return True


@inlined
def advance(data: Serving, state: State, i: int, before_s: float, end_by_s: float) -> None:
    """Run the steps of server i that start before a time and end by another.

    All requests must have been sent that leave the router before ``before_s``. A step that would end too late
    is left for the next call, and comes out the same then.
    """
    cost, server = unpack_cost(data), state.server[i]
    before_s = min(before_s, data.time_s[HORIZON])
    while True:
        receive(data, state, i)
        if server.waiting + server.decoding + server.prefilling == 0:
            if server.sent_first < 0 or state.request[server.sent_first].queued_s >= before_s:
                break
            server.now_s = state.request[server.sent_first].queued_s
            continue
        if server.now_s >= before_s:
            break
        if server.look == 1 and server.begun == 0:
            _admit(data, state, i)
        next_s = state.request[server.sent_first].queued_s if server.sent_first >= 0 else np.inf
        done = _step(data, cost, state, i, min(next_s, before_s), end_by_s)
        # Looked and preempted for this step already: not once more, when it is tried again.
        server.begun = 0 if done else 1
        if not done:
            break
