"""The serving engine under programs: calls come when those before them have finished and the tool has returned.

Batches, memory and steps are those of the engine (``_server/engine.py``), under vLLM v1's admission and chunks: blocks
for the whole prompt, one percent kept free, 2048 tokens a step. New are the calls' releases, and contexts that
stay in the KV cache after a call. Such a context is *parked*: it gives way when blocks are needed, the one
with the highest ``evict`` first, unless it is pinned; how long, ``keep`` has said when the call finished. A pin
that holds when the tool returns holds until the call is admitted. Pins hold as long as
two calls run at least.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._programs.data import Agents
from problems.serving._programs.state import (
    LAST_WEIGHT,
    Flow,
    announce,
    describe_call,
    describe_context,
    describe_programs_server,
    next_release_s,
    open_flow,
    pinned_blocks,
    returned,
    reusable,
    take_release,
)
from problems.serving._programs.views import Call, Context, Server
from problems.serving._server.decisions import pop, sift, write
from problems.serving._server.engine import Timeline, timeline
from problems.serving._server.log import ADMIT, EVICT, about, keep_entry, step_entry, with_room
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    PATIENCE,
    blocks_for,
    unpack_cost,
)
from problems.serving._server.state import NOBODY, State, dequeue, enqueue, open_state
from problems.serving._server.step import count_crossings, leap, mixed_step, place, preempt

Order = Callable[[Call, Server, np.ndarray], float]
OfContext = Callable[[Context, Server, np.ndarray], float]

LONGEST_PIN_MS = 2**36  # two years


@kernel
def release(data: Agents, state: State, flow: Flow) -> None:
    """Queue all calls that have been released by now, and count the programs that have arrived."""
    data, state, flow = borrow(data), borrow(state), borrow(flow)
    server, totals = state.server[0], flow.flow[0]
    while totals.arrived < len(data.arrival_s) and data.arrival_s[totals.arrived] <= server.now_s:
        totals.arrived += 1
    while next_release_s(flow) <= server.now_s:
        c = take_release(flow)
        call, before = flow.call[c], data.requests.continues[c]
        returned(data, flow, c)
        call.released = 1
        flow.program[data.requests.program[c]].active += 1
        enqueue(state, 0, c, call.release_s)
        if before >= 0 and flow.call[before].parked > 0 and flow.call[before].pinned_s > call.release_s:
            flow.call[before].pinned_s = np.inf


@inlined
def _next_change_s(data: Agents, flow: Flow) -> float:
    """When the next call is released, or the next program arrives: its first call may begin with a tool."""
    arrived = flow.flow[0].arrived
    if arrived < len(data.arrival_s):
        return float(min(next_release_s(flow), data.arrival_s[arrived]))
    return next_release_s(flow)


@inlined
def pins_hold(flow: Flow) -> bool:
    """Whether pins count: no longer where they leave less than two calls room to run."""
    return bool(flow.flow[0].running > 1)


@inlined
def unpark(state: State, flow: Flow, c: int) -> None:
    """Give back the blocks of a parked context."""
    totals, call = flow.flow[0], flow.call[c]
    state.server[0].free += call.parked
    totals.parked_blocks -= call.parked
    call.parked = 0
    found = False
    for k in range(totals.parked):
        if found:
            flow.parked[k - 1] = flow.parked[k]
        elif flow.parked[k] == c:
            found = True
    totals.parked -= 1


@kernel
def drop(
    data: Agents,
    cost: StepCost,
    state: State,
    flow: Flow,
    evict: OfContext,
    theta: np.ndarray,
    log: np.ndarray,
    spared: int,
) -> bool:
    """Evict the parked context with the highest score, ties to the higher call; whether there was one.

    The context of call ``spared`` stays, and so do those that are pinned, if pins hold.
    """
    data, state, flow, log = borrow(data), borrow(state), borrow(flow), borrow(log)
    now_s, victim, highest = state.server[0].now_s, -1, -np.inf
    seen, pins = describe_programs_server(data, cost, state, flow, 0), pins_hold(flow)
    for k in range(flow.flow[0].parked):
        c = flow.parked[k]
        if c == spared or (pins and flow.call[c].pinned_s > now_s):
            continue
        score = evict(describe_context(data, state, flow, c, now_s), seen, theta)
        if not math.isfinite(score):
            raise NonFiniteScore("evict returned NaN or an infinity")
        if score > highest or (score == highest and c > victim):
            victim, highest = c, score
    if victim < 0:
        return False
    unpark(state, flow, victim)
    write(state, 0, log, about(EVICT, victim))
    return True


@inlined
def _score(order: Order, call: Call, seen: Server, theta: np.ndarray) -> float:
    score = order(call, seen, theta)
    if not math.isfinite(score):
        raise NonFiniteScore("order returned NaN or an infinity")
    return score


@kernel
def rank(data: Agents, cost: StepCost, state: State, flow: Flow, order: Order, theta: np.ndarray) -> int:
    """Score all that waits and charge for it; how many there are in the heap."""
    data, state, flow = borrow(data), borrow(state), borrow(flow)
    server = state.server[0]
    server.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * server.waiting
    seen, count, c = describe_programs_server(data, cost, state, flow, 0), 0, server.first
    while c >= 0:
        call = describe_call(data, state, flow, c, server.now_s, False)
        state.request[c].score = _score(order, call, seen, theta)
        state.queue[count] = c
        count += 1
        c = state.request[c].next
    for p in range(count // 2 - 1, -1, -1):
        sift(state, p, count)
    return count


@inlined
def _start(data: Agents, state: State, flow: Flow, c: int, log: np.ndarray) -> None:
    """Move a call into the batch, with what is left of the context that it goes on from."""
    server, request, call, totals = state.server[0], state.request[c], flow.call[c], flow.flow[0]
    tokens, before = reusable(data, flow, c) * data.limit[BLOCK_TOKENS], data.requests.continues[c]
    if before >= 0 and flow.call[before].parked > 0:
        unpark(state, flow, before)
    dequeue(state, 0, c)
    place(data, state, 0, c)
    request.context += tokens
    request.prefill_left -= tokens
    server.prefill_left -= tokens
    if request.preemptions == 0:
        totals.wait_s += LAST_WEIGHT * (server.now_s - call.release_s - totals.wait_s)
    call.admitted_s = server.now_s
    flow.running[totals.running] = c
    totals.running += 1
    write(state, 0, log, about(ADMIT, c))


@kernel
def admit_calls(
    data: Agents,
    cost: StepCost,
    state: State,
    flow: Flow,
    evict: OfContext,
    theta: np.ndarray,
    log: np.ndarray,
    count: int,
) -> None:
    """Admit from the front of the ranked queue until the batch or the memory is full."""
    data, state, flow, log = borrow(data), borrow(state), borrow(flow), borrow(log)
    server, totals = state.server[0], flow.flow[0]
    while count > 0 and totals.running < data.limit[MAX_RUNNING]:
        c = pop(state, count)
        count -= 1
        own, pins = data.requests.continues[c], pins_hold(flow)
        needed = blocks_for(state.request[c].prefill_left, data.limit[BLOCK_TOKENS])
        needed += data.limit[BLOCKS] // 100 if totals.running > 0 else 0
        yields = totals.parked_blocks - (pinned_blocks(flow, server.now_s) if pins else 0)
        if own >= 0 and flow.call[own].parked > 0:
            needed -= flow.call[own].parked
            if not pins or flow.call[own].pinned_s <= server.now_s:
                yields -= flow.call[own].parked
        if needed > server.free + yields:
            break
        while needed > server.free:
            drop(data, cost, state, flow, evict, theta, log, own)
        _start(data, state, flow, c, log)


@inlined
def _leave(flow: Flow, program: int, c: int, now_s: float) -> None:
    """A call leaves the batch: what it was served counts for its program."""
    totals, call, kept = flow.flow[0], flow.call[c], 0
    for k in range(totals.running):
        if flow.running[k] != c:
            flow.running[kept] = flow.running[k]
            kept += 1
    totals.running = kept
    call.served_s += now_s - call.admitted_s
    flow.program[program].attained_s += now_s - call.admitted_s


@kernel
def make_space(
    data: Agents,
    cost: StepCost,
    state: State,
    flow: Flow,
    order: Order,
    evict: OfContext,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """Evict contexts, then preempt the last in order, until all that decodes has a block for its next token."""
    data, state, flow, log = borrow(data), borrow(state), borrow(flow), borrow(log)
    server, totals = state.server[0], flow.flow[0]
    count_crossings(data, state, 0)
    while state.crossing[0] > server.free:
        if drop(data, cost, state, flow, evict, theta, log, NOBODY):
            continue
        seen, victim, highest = describe_programs_server(data, cost, state, flow, 0), -1, -np.inf
        for k in range(totals.running):
            c = flow.running[k]
            score = _score(order, describe_call(data, state, flow, c, server.now_s, True), seen, theta)
            if score > highest or (score == highest and c > victim):
                victim, highest = c, score
        preempt(data, state, 0, victim)
        _leave(flow, data.requests.program[victim], victim, server.now_s)
        write(state, 0, log, about(EVICT, victim))
        count_crossings(data, state, 0)


@kernel
def _end(
    data: Agents,
    cost: StepCost,
    state: State,
    flow: Flow,
    keep: OfContext,
    theta: np.ndarray,
    log: np.ndarray,
    c: int,
) -> None:
    """A call has finished: its program goes on, and its context is parked if another call goes on from it."""
    data, state, flow, log = borrow(data), borrow(state), borrow(flow), borrow(log)
    server, totals, call, calls = state.server[0], flow.flow[0], flow.call[c], data.requests
    _leave(flow, calls.program[c], c, server.now_s)
    program = flow.program[calls.program[c]]
    program.left -= 1
    program.done += 1
    program.active -= 1
    if program.left == 0:
        totals.finished += 1
        totals.service_s += program.attained_s
    for k in range(calls.next_start[c], calls.next_start[c + 1]):
        after = flow.call[calls.next_call[k]]
        after.critical_s = max(after.critical_s, call.critical_s + call.served_s)
        after.waits_for -= 1
        if after.waits_for == 0:
            announce(data, flow, calls.next_call[k], server.now_s)
    call.parked = state.request[c].context // data.limit[BLOCK_TOKENS]
    if call.heir < 0 or call.parked == 0:
        call.parked = 0
        return
    server.free -= call.parked
    totals.parked_blocks += call.parked
    flow.parked[totals.parked] = c
    totals.parked += 1
    context = describe_context(data, state, flow, c, server.now_s)
    seconds = keep(context, describe_programs_server(data, cost, state, flow, 0), theta)
    if not math.isfinite(seconds):
        raise NonFiniteScore("keep returned NaN or an infinity")
    milliseconds = int(min(max(1e3 * seconds, 0.0), float(LONGEST_PIN_MS)))
    call.pinned_s = server.now_s + 1e-3 * milliseconds
    if milliseconds > 0:
        write(state, 0, log, keep_entry(c, milliseconds))


@kernel
def agent_programs(instance: Agents, order: Order, keep: OfContext, evict: OfContext, theta: np.ndarray) -> Timeline:
    """Serve all programs, or as much as the horizon leaves time for."""
    opened, followed, data = open_state(instance, 1), open_flow(instance), borrow(instance)
    state, flow, cost = borrow(opened), borrow(followed), unpack_cost(data)
    n, most, server, totals = len(data.requests.program), data.limit[MAX_RUNNING], state.server[0], flow.flow[0]
    log = np.empty(8 * n + 64, np.int64)
    while True:
        release(data, state, flow)
        if server.finished == n or server.now_s >= data.time_s[HORIZON]:
            break
        log = with_room(log, server.logged, totals.parked + 3 * most + 2)
        if server.look == 1 or server.since >= data.limit[PATIENCE]:
            server.look, server.since = 0, 0
            if server.waiting > 0 and totals.running < most:
                count = rank(data, cost, state, flow, order, theta)
                admit_calls(data, cost, state, flow, evict, theta, log, count)
        if totals.running == 0:
            server.now_s, server.debt_s = next_release_s(flow), 0.0
            continue
        if server.decoding > 0:
            make_space(data, cost, state, flow, order, evict, theta, log)
        finished, decode = server.finished, server.decoding > 0
        if server.prefilling == 0:
            steps = leap(data, cost, state, 0, _next_change_s(data, flow), np.inf)
            write(state, 0, log, step_entry(0, 1, steps))
        else:
            budget = max(data.limit[MAX_PREFILL] - server.decoding, data.limit[BLOCK_TOKENS])
            tokens = min(budget, server.prefill_left)
            mixed_step(data, cost, state, 0, tokens, decode)
            write(state, 0, log, step_entry(tokens, 1 if decode else 0, 1))
        k = 0
        while finished < server.finished:
            c = flow.running[k]
            if state.request[c].finish_s < np.inf:
                _end(data, cost, state, flow, keep, theta, log, c)
                finished += 1
            else:
                k += 1
    # Of what was opened, not of the borrowed views: this keeps the owners alive until here.
    used = log[: n * len(followed.call) + len(log)]
    return timeline(opened, used)
