"""Where rules preempt: for whom there is no room, where blocks run out, and what becomes of the cache."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._preemption.steps import Segmented
from problems.serving._preemption.views import Cache
from problems.serving._server.decisions import Order, before, find_victim, held_tokens, pop, rank_queue, running, write
from problems.serving._server.log import ADMIT, EVICT, RANK, SWAP, about, more
from problems.serving._server.machine import BLOCK_TOKENS, MAX_RUNNING, Serving, blocks_for, swap_seconds, unpack_cost
from problems.serving._server.state import State, dequeue, describe_request, describe_server, enqueue
from problems.serving._server.step import count_crossings, leave_batch, place
from problems.serving._server.views import Request, Server

Admit = Callable[[Request, Server, Cache, np.ndarray], float]
Save = Callable[[Request, Cache, np.ndarray], float]


@inlined
def _describe_cache(data: Serving, state: State, r: int) -> Cache:
    """All that hooks see of the KV cache of request r."""
    cost = unpack_cost(data)
    request = state.request[r]
    tokens = data.requests.prompt_tokens[r] + request.generated
    return Cache(
        needed=float(held_tokens(data, state, r)),
        cached=float(request.context),
        move=swap_seconds(data, blocks_for(request.context, data.limit[BLOCK_TOKENS])),
        recompute=step_seconds(cost, tokens, tokens * (0.5 * tokens), 0, 0.0),
    )


@kernel
def _dismiss(data: Serving, state: State, r: int, save: Save, theta: np.ndarray, log: np.ndarray) -> None:
    """Preempt request r, swapping it out if the rule says so."""
    i = 0
    seen = describe_request(data, state, r, state.server[i].now_s, held_tokens(data, state, r))
    verdict = save(seen, _describe_cache(data, state, r), theta)
    if not math.isfinite(verdict):
        raise NonFiniteScore("save returned NaN or an infinity")
    leave_batch(data, state, i, r, verdict > 0.0)
    enqueue(state, i, r, state.server[i].now_s)
    write(state, i, log, more(SWAP, r) if verdict > 0.0 else about(EVICT, r))


@kernel
def make_room_saving(data: Serving, state: State, order: Order, save: Save, theta: np.ndarray, log: np.ndarray) -> None:
    """Preempt those that stand last until all that decodes has a block for its next token; one stays."""
    i, cost = 0, unpack_cost(data)
    server = state.server[i]
    count_crossings(data, state, i)
    while state.crossing[0] > server.free and server.decoding + server.prefilling > 1:
        victim = find_victim(data, cost, state, i, order, theta)
        _dismiss(data, state, victim, save, theta, log)
        count_crossings(data, state, i)


@inlined
def _fits(data: Serving, state: State, step: Segmented, r: int) -> bool:
    """Whether the batch and the KV cache have room for request r."""
    i = 0
    server, aside = state.server[i], 0
    if step.book[0].suspended == 1:
        aside = step.book[0].decoding + step.book[0].prefilling
    full = server.decoding + server.prefilling + aside >= data.limit[MAX_RUNNING]
    return not full and held_tokens(data, state, r) <= server.free * data.limit[BLOCK_TOKENS]


@kernel
def _displace(
    data: Serving, state: State, step: Segmented, r: int, order: Order, save: Save, theta: np.ndarray, log: np.ndarray
) -> bool:
    """Preempt running requests behind r, the last first, until r fits; none if that would not be enough."""
    i, cost = 0, unpack_cost(data)
    server, own, behind, count = state.server[i], state.request[r].score, 0, 0
    seen = describe_server(data, cost, state, i)
    for p in range(server.decoding + server.prefilling):
        q = running(state, i, p)
        score = order(describe_request(data, state, q, server.now_s, held_tokens(data, state, q)), seen, theta)
        if not math.isfinite(score):
            raise NonFiniteScore("order returned NaN or an infinity")
        state.request[q].score = score
        if score > own:
            behind += held_tokens(data, state, q)
            count += 1
    if count == 0 or held_tokens(data, state, r) > server.free * data.limit[BLOCK_TOKENS] + behind:
        return False
    while not _fits(data, state, step, r):
        victim = -1
        for p in range(server.decoding + server.prefilling):
            q = running(state, i, p)
            if state.request[q].score <= own:
                continue
            if victim < 0 or before(state, victim, q):
                victim = q
        _dismiss(data, state, victim, save, theta, log)
    return True


@kernel
def admit_displacing(
    data: Serving,
    state: State,
    step: Segmented,
    order: Order,
    admit: Admit,
    save: Save,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """Admit from the front of the ranked queue until the rule stops it, or there is no room to be had."""
    data, state, step, log = borrow(data), borrow(state), borrow(step), borrow(log)
    i, cost = 0, unpack_cost(data)
    count = rank_queue(data, cost, state, i, order, theta)
    server, seen = state.server[i], describe_server(data, cost, state, i)
    while count > 0:
        r = pop(state, count)
        count -= 1
        request = describe_request(data, state, r, server.now_s, 0)
        verdict = admit(request, seen, _describe_cache(data, state, r), theta)
        if not math.isfinite(verdict):
            raise NonFiniteScore("admit returned NaN or an infinity")
        if verdict == 0.0:
            continue
        if verdict < 0.0:
            break
        if not _fits(data, state, step, r) and (
            verdict <= 1.0 or not _displace(data, state, step, r, order, save, theta, log)
        ):
            break
        dequeue(state, i, r)
        place(data, state, i, r)
        write(state, i, log, about(ADMIT, r))
        seen = describe_server(data, cost, state, i)


@kernel
def rank_prompts(data: Serving, state: State, order: Order, theta: np.ndarray, log: np.ndarray) -> None:
    """Sort the prompts that are being prefilled, the lowest first; equal ones stay as they stand."""
    i, cost = 0, unpack_cost(data)
    server, moved = state.server[i], False
    if server.prefilling < 2:
        return
    seen = describe_server(data, cost, state, i)
    for p in range(server.prefilling):
        r = state.prefilling[i, p]
        held = held_tokens(data, state, r)
        state.request[r].score = order(describe_request(data, state, r, server.now_s, held), seen, theta)
        if not math.isfinite(state.request[r].score):
            raise NonFiniteScore("order returned NaN or an infinity")
        k = p
        while k > 0 and state.request[state.prefilling[i, k - 1]].score > state.request[r].score:
            state.prefilling[i, k] = state.prefilling[i, k - 1]
            k -= 1
            moved = True
        state.prefilling[i, k] = r
    if moved:
        for p in range(server.prefilling):
            write(state, i, log, more(RANK, state.prefilling[i, p]))
