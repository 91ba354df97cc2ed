"""The decisions: where a prompt is computed, where it is decoded, what an instance does; and what follows at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._cluster.data import DECIDING, DECODE, MIXED, PREFILL, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.state import output_left, prefill_us
from problems.serving._disaggregation.data import SWITCH, Deployment
from problems.serving._disaggregation.log import HANDED, SENT, TURNED, entry
from problems.serving._disaggregation.look import (
    NO_REQUEST,
    decodes,
    describe_cluster,
    describe_instance,
    describe_request,
    prefills,
    question,
)
from problems.serving._disaggregation.state import IDLE, Deployed, heavy, learn, write
from problems.serving._disaggregation.step import batch_of, wake
from problems.serving._disaggregation.views import Cluster, Instance, Request
from problems.serving._server.machine import BLOCK_TOKENS, MAX_RUNNING, blocks_for
from problems.serving._server.state import NOBODY, enqueue

Choose = Callable[[Request, Instance, np.ndarray], float]
Turn = Callable[[Instance, Cluster, np.ndarray], float]


# Numbers of kinds are made np.int64 where they enter a kernel, or numba would compile it once for each of them.


@kernel
def _lowest(data: Deployment, state: Deployed, kind: int, r: int, now_s: float, rule: Choose, theta: np.ndarray) -> int:
    """The instance with the lowest score among those that can be chosen for a request; the first of equals."""
    data, state = borrow(data), borrow(state)
    count, turn = 0, state.controller[0].routed if kind == SENT else state.controller[0].handed
    for i in range(len(state.place)):
        count += 1 if (prefills(state, i) if kind == SENT else decodes(state, i)) else 0
    asked, request = question(kind, r, turn, now_s, count), describe_request(data, r, turn, now_s)
    best, lowest, place = -1, np.inf, 0
    for i in range(len(state.place)):
        if not (prefills(state, i) if kind == SENT else decodes(state, i)):
            continue
        score = rule(request, describe_instance(data, state, i, place, asked), theta)
        if not math.isfinite(score):
            raise NonFiniteScore("prefill or decode returned NaN or an infinity")
        if best < 0 or score < lowest:
            best, lowest = i, score
        place += 1
    return best


@kernel
def send(data: Deployment, state: Deployed, now_s: float, prefill: Choose, theta: np.ndarray) -> None:
    """Send the next request to an instance that prefills it."""
    data, state = borrow(data), borrow(state)
    seen, requests = state.controller[0], data.cluster.requests
    r = seen.routed
    i = _lowest(data, state, np.int64(SENT), r, now_s, prefill, theta)
    write(state, entry(SENT, i, r), now_s)
    work_us = prefill_us(at_server(data.cluster, i), requests.prompt_tokens[r], 0)
    for slot in range(2):  # the report under way does not know of it either
        state.report[slot, i].waiting += 1
        state.report[slot, i].queue_us += work_us
    state.home[r] = i
    state.engine.request[r].score = work_us
    state.place[i].sent += 1
    state.place[i].sent_us += work_us
    seen.routed += 1
    seen.arrivals += 1
    seen.prompts += requests.prompt_tokens[r]
    seen.router_s = now_s + data.cluster.router_s[DECIDING]
    state.sent_s[r] = seen.router_s


@inlined
def come(data: Deployment, state: Deployed, now_s: float) -> None:
    """The next request that the router has sent joins the queue of its instance."""
    r = state.controller[0].come
    i = state.home[r]
    at, server, work_us = state.place[i], state.engine.server[i], int(state.engine.request[r].score)
    state.controller[0].come += 1
    at.sent -= 1
    at.sent_us -= work_us
    enqueue(state.engine, i, r, now_s)
    server.waiting_us += work_us
    server.waiting_output += output_left(at_server(data.cluster, i), state.engine, r)
    wake(state, i, now_s)


@kernel
def grant(data: Deployment, state: Deployed, i: int, now_s: float) -> None:
    """Let the caches of requests handed to instance i come, in order, while it has room; preempted ones go first."""
    data, state = borrow(data), borrow(state)
    own, engine, at = at_server(data.cluster, i), state.engine, state.place[i]
    server = engine.server[i]
    while at.pending >= 0 and batch_of(state, i) < own.limit[MAX_RUNNING]:
        r = at.pending
        request, home = engine.request[r], state.place[state.home[r]]
        blocks = blocks_for(request.context, own.limit[BLOCK_TOKENS])
        if blocks > server.free or (server.first >= 0 and engine.request[server.first].generated > 0):
            break
        server.free -= blocks
        start_s = max(max(now_s, state.decided_s[r]), max(home.out_s, at.in_s))
        state.moved_s[r] = start_s + move_seconds(data, state.home[r], i, request.context)
        home.out_s, at.in_s = state.moved_s[r], state.moved_s[r]
        at.incoming += 1
        at.pending = request.next


@kernel
def hand(data: Deployment, state: Deployed, r: int, now_s: float, decode: Choose, theta: np.ndarray) -> None:
    """Choose where request r is decoded, whose prompt is done."""
    data, state = borrow(data), borrow(state)
    engine, seen = state.engine, state.controller[0]
    i = _lowest(data, state, np.int64(HANDED), r, now_s, decode, theta)
    write(state, entry(HANDED, i, r), now_s)
    seen.handed += 1
    for slot in range(2):
        told = state.report[slot, i]
        told.pending += 1
        told.pending_tokens += engine.request[r].context
        told.output_left += output_left(at_server(data.cluster, i), engine, r)
        told.heavy += heavy(data, r)
    state.decided_s[r] = now_s + data.cluster.router_s[DECIDING]
    at = state.place[i]
    engine.request[r].next = NOBODY
    if at.last >= 0:
        engine.request[at.last].next = r
    else:
        at.first = r
    at.last = r
    at.moving = r if at.moving < 0 else at.moving
    at.pending = r if at.pending < 0 else at.pending
    grant(data, state, i, now_s)


@inlined
def arrive(data: Deployment, state: Deployed, i: int) -> None:
    """The cache that was moving to instance i is there, and its old place is free."""
    engine, at = state.engine, state.place[i]
    r = at.moving
    now_s, home = state.moved_s[r], state.home[r]
    context = engine.request[r].context
    at.moving = engine.request[r].next
    state.place[home].held -= context
    server = engine.server[home]
    server.free += blocks_for(context, data.cluster.limit[0, BLOCK_TOKENS])
    server.look = 1
    if server.waiting > 0:
        wake(state, home, now_s)
    wake(state, i, now_s)


@inlined
def settle(data: Deployment, state: Deployed, i: int, now_s: float) -> None:
    """An instance that changes its role begins to do so when it has nothing left to do."""
    at, server = state.place[i], state.engine.server[i]
    if at.switching == 0 or at.ready_s < np.inf or at.phase != IDLE:
        return
    if at.sent + server.waiting + server.decoding + server.prefilling + at.held == 0 and at.first < 0:
        at.ready_s = now_s + data.control_s[SWITCH]


@inlined
def turn_to(state: Deployed, i: int) -> None:
    """Instance i has its new role."""
    at = state.place[i]
    state.engine.server[i].role = at.target
    at.switching, at.ready_s = 0, np.inf


@inlined
def _may_turn(state: Deployed, i: int, role: int, at_once: bool) -> bool:
    """Whether some instance takes prompts, and some instance takes requests to decode, while instance i changes."""
    prompts, outputs = at_once and role != DECODE, at_once and role != PREFILL
    for j in range(len(state.place)):
        if j != i:
            prompts = prompts or prefills(state, j)
            outputs = outputs or decodes(state, j)
    return bool(prompts and outputs)


@kernel
def tick(data: Deployment, state: Deployed, now_s: float, role: Turn, theta: np.ndarray) -> None:
    """Ask for the role of each instance that is not changing it, in order of number."""
    data, state = borrow(data), borrow(state)
    seen, count = state.controller[0], len(state.place)
    learn(data, state)
    asked = question(np.int64(TURNED), np.int64(NO_REQUEST), seen.ticks, now_s, count)
    for i in range(count):
        at = state.place[i]
        if at.switching == 1:
            continue
        value = role(describe_instance(data, state, i, i, asked), describe_cluster(state, now_s), theta)
        if not math.isfinite(value):
            raise NonFiniteScore("role returned NaN or an infinity")
        wanted = PREFILL if value > 0.5 else DECODE if value < -0.5 else MIXED
        if wanted == at.target or not _may_turn(state, i, wanted, seen.ticks == 0):
            continue
        write(state, entry(TURNED, i, 4 * seen.ticks + wanted), now_s)
        at.target = wanted
        if seen.ticks == 0:
            turn_to(state, i)
        else:
            at.switching = 1
            settle(data, state, i, now_s)
    seen.ticks += 1
