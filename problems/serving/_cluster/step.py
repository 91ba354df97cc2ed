"""How a server of a cluster works: first come, first served, chunked prefill beside decoding in a token budget.

This is the scheduler of vLLM v1, with blocks for the whole prompt at admission. Nothing is decided by a rule.
What happens seldom is compiled by itself: all in one takes three times as long to compile.
"""

from __future__ import annotations

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import held, leave, length, needed, remember, take, trim
from problems.serving._cluster.data import Cluster, at_server
from problems.serving._cluster.state import ClusterState, output_left, prefill_us, receive
from problems.serving._server.machine import (
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
from problems.serving._server.state import NOBODY, dequeue, requeue
from problems.serving._server.step import count_crossings, leap, mixed_step, place, take_out


@inlined
def _start(data: Cluster, own: Serving, state: ClusterState, i: int, r: int) -> None:
    """The first of the queue joins the batch, with what is cached of its prompt."""
    engine, caches = state.engine, state.caches
    server, request = engine.server[i], engine.request[r]
    dequeue(engine, i, r)
    server.waiting_us -= int(request.score)
    server.waiting_output -= output_left(own, engine, r)
    if data.cache_tokens[0] > 0:
        before = held(data, caches, i)
        request.tail = take(data, caches, i, r, request.prefill_left, server.now_s)
        blocks = length(caches, request.tail)
        request.context = blocks * data.cache_tokens[0]
        request.prefill_left -= request.context
        # What it holds in the cache is counted there, once for all that hold it.
        server.free += blocks_for(request.context, own.limit[BLOCK_TOKENS]) - (held(data, caches, i) - before)
    request.computed += request.prefill_left
    place(own, engine, i, r)
    if data.cache_tokens[0] > 0:
        trim(data, caches, i, server.free)


@kernel
def admit(data: Cluster, state: ClusterState, i: int) -> None:
    """Look at the queue, and admit from its front what the batch and the memory hold."""
    data, state = borrow(data), borrow(state)
    own = at_server(data, i)
    server, most = state.engine.server[i], own.limit[MAX_RUNNING]
    server.look = 0
    if server.waiting == 0 or server.decoding + server.prefilling == most or server.free == 0:
        return
    server.debt_s += own.time_s[DECISION] + own.time_s[CANDIDATE] * server.waiting
    while server.waiting > 0 and server.decoding + server.prefilling < most:
        tokens = state.engine.request[server.first].prefill_left
        blocks = blocks_for(tokens, own.limit[BLOCK_TOKENS])
        if blocks > server.free and needed(data, state.caches, i, server.first, tokens, blocks) > server.free:
            break
        _start(data, own, state, i, server.first)


@inlined
def _settle(data: Cluster, own: Serving, state: ClusterState, i: int, r: int, tail: int, before: int) -> None:
    """Request r, which held a prefix up to tail, holds another one; so much of the cache was held before."""
    server, request, caches = state.engine.server[i], state.engine.request[r], state.caches
    more = (length(caches, tail) - length(caches, request.tail)) * data.cache_tokens[0]
    server.free += blocks_for(more, own.limit[BLOCK_TOKENS]) - (held(data, caches, i) - before)
    request.tail = tail


@inlined
def forget(data: Cluster, own: Serving, state: ClusterState, i: int, r: int) -> None:
    """Request r runs no longer."""
    if data.cache_tokens[0] > 0:
        before = held(data, state.caches, i)
        leave(state.caches, i, state.engine.request[r].tail, state.engine.server[i].now_s)
        _settle(data, own, state, i, r, NOBODY, before)


@inlined
def _keep(data: Cluster, own: Serving, state: ClusterState, i: int, r: int) -> None:
    """All that request r has in memory enters the cache."""
    request, before = state.engine.request[r], held(data, state.caches, i)
    tail = remember(data, state.caches, i, r, request.tail, request.context, state.engine.server[i].now_s)
    _settle(data, own, state, i, r, tail, before)


@kernel
def _make_room(data: Cluster, state: ClusterState, i: int) -> None:
    """Preempt the latest request until all that decodes has a block for its next token; the last one stays."""
    own, engine, server = at_server(data, i), state.engine, state.engine.server[i]
    while engine.crossing[0] > server.free and server.decoding + server.prefilling > 1:
        victim = -1
        for p in range(server.decoding):
            victim = max(victim, engine.decoding[i, p])
        for p in range(server.prefilling):
            victim = max(victim, engine.prefilling[i, p])
        request = engine.request[victim]
        request.computed -= request.prefill_left
        take_out(own, engine, i, victim)
        forget(data, own, state, i, victim)
        requeue(engine, i, victim, server.now_s)
        request.score = prefill_us(own, request.prefill_left, 0)
        server.waiting_us += int(request.score)
        server.waiting_output += output_left(own, engine, victim)
        count_crossings(own, engine, i)


@inlined
def _mixed_end_s(own: Serving, cost: StepCost, state: ClusterState, i: int, tokens: int, decode: bool) -> float:
    """When a step would end that prefills so many tokens."""
    engine, server, pairs, budget = state.engine, state.engine.server[i], 0.0, tokens
    for p in range(server.prefilling):
        request = engine.request[engine.prefilling[i, p]]
        chunk = min(budget, request.prefill_left)
        pairs += chunk * (request.context + 0.5 * chunk)
        budget -= chunk
        if budget == 0:
            break
    count, context = (server.decoding, server.context) if decode else (0, 0)
    return server.now_s + (step_seconds(cost, tokens, pairs, count, float(context)) + server.debt_s)


@inlined
def _done_prompts(state: ClusterState, i: int, tokens: int) -> int:
    """Number of prompts that so many tokens complete; they are noted down."""
    engine, done = state.engine, 0
    while done < engine.server[i].prefilling:
        r = engine.prefilling[i, done]
        tokens -= engine.request[r].prefill_left
        if tokens < 0:
            break
        engine.left[done] = r
        done += 1
    return done


@kernel
def _share(data: Cluster, state: ClusterState, i: int, prompts: int, finished: int) -> None:
    """After a step: what is done enters the cache, prompts in order of admission, then requests by number."""
    data, state = borrow(data), borrow(state)
    own, engine, server = at_server(data, i), state.engine, state.engine.server[i]
    free = server.free
    for p in range(finished, server.finished):
        # What a request has just given back, the cache holds in part.
        free -= blocks_for(engine.request[engine.ended[p % len(engine.ended)]].context, own.limit[BLOCK_TOKENS])
    trim(data, state.caches, i, free)
    for p in range(prompts):
        if not np.isfinite(engine.request[engine.left[p]].finish_s):
            _keep(data, own, state, i, engine.left[p])
    last = -1
    for _ in range(server.finished - finished):
        r = 2**31
        for p in range(finished, server.finished):
            other = engine.ended[p % len(engine.ended)]
            if last < other < r:
                r = other
        _keep(data, own, state, i, r)
        forget(data, own, state, i, r)
        last = r


@inlined
def step(data: Cluster, own: Serving, state: ClusterState, i: int, until_s: float, end_by_s: float) -> bool:
    """Run the next step, or several of pure decoding; False if it would end too late and has not begun."""
    engine, server, cost = state.engine, state.engine.server[i], unpack_cost(own)
    if server.decoding > 0:
        count_crossings(own, engine, i)
        if engine.crossing[0] > server.free:
            _make_room(data, state, i)
    finished, prompts = server.finished, 0
    if server.prefilling == 0:
        done = leap(own, cost, engine, i, until_s, end_by_s) > 0
    else:
        share = max(own.limit[MAX_PREFILL] - server.decoding, own.limit[BLOCK_TOKENS])
        tokens, decode = min(share, server.prefill_left), server.decoding > 0
        done = _mixed_end_s(own, cost, state, i, tokens, decode) <= end_by_s
        if done:
            prompts = _done_prompts(state, i, tokens)
            mixed_step(own, cost, engine, i, tokens, decode)
    if done and data.cache_tokens[0] > 0:
        if prompts > 0 or server.finished > finished:
            _share(data, state, i, prompts, finished)
        else:
            trim(data, state.caches, i, server.free)
    return done


@inlined
def advance(data: Cluster, state: ClusterState, i: int, until_s: float) -> None:
    """Run the steps of server i that start before a time and end by it.

    All requests must have been sent that leave the router before then. A step that would end too late is left for
    the next call, and comes out the same then.
    """
    own, engine, server = at_server(data, i), state.engine, state.engine.server[i]
    before_s = min(until_s, own.time_s[HORIZON])
    while True:
        receive(own, engine, i)
        if server.waiting + server.decoding + server.prefilling == 0:
            if server.sent_first < 0 or engine.request[server.sent_first].queued_s >= before_s:
                break
            server.now_s = engine.request[server.sent_first].queued_s
            continue
        if server.now_s >= before_s:
            break
        if server.look == 1 and server.begun == 0:
            admit(data, state, i)
        next_s = engine.request[server.sent_first].queued_s if server.sent_first >= 0 else np.inf
        done = step(data, own, state, i, min(next_s, before_s), until_s)
        # Looked and preempted for this step already: not once more, when it is tried again.
        server.begun = 0 if done else 1
        if not done:
            break
