"""What the engine keeps of programs besides its requests: releases, service, and parked contexts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined, kernel
from problems.serving._programs.data import TOOLS, Agents
from problems.serving._programs.views import MEAN_SERVICE_AT_START, TOOL_MEAN_AT_START, Call, Context, Server
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, MAX_RUNNING
from problems.serving._server.state import NOBODY, State

LAST_WEIGHT = 0.1  # of the moving mean of waits

CALL = np.dtype(
    (
        np.record,
        [
            ("release_s", np.float64),  # inf before all calls before it have finished
            ("admitted_s", np.float64),  # last admission
            ("served_s", np.float64),  # in the batch, up to when it last left it
            ("critical_s", np.float64),  # longest chain of service before it
            ("pinned_s", np.float64),  # of its parked context: pinned until then
            ("waits_for", np.int64),  # calls that have not finished
            ("heir", np.int64),  # call that goes on from its context, or NOBODY
            ("parked", np.int64),  # blocks of its context after its end; 0: none
            ("released", np.int64),  # 1: it has joined the queue
        ],
    )
)
PROGRAM = np.dtype(
    (
        np.record,
        [
            ("attained_s", np.float64),
            ("left", np.int64),  # calls that have not finished
            ("done", np.int64),
            ("active", np.int64),  # calls that wait or run
        ],
    )
)
TOOL = np.dtype((np.record, [("count", np.int64), ("sum_s", np.float64), ("squares_s2", np.float64)]))
FLOW = np.dtype(
    (
        np.record,
        [
            ("coming", np.int64),  # entries of the heap of releases
            ("running", np.int64),
            ("parked", np.int64),  # contexts,
            ("parked_blocks", np.int64),  # and what they hold
            ("arrived", np.int64),  # programs
            ("finished", np.int64),
            ("service_s", np.float64),  # of those that have finished
            ("wait_s", np.float64),  # moving mean
        ],
    )
)


class Flow(NamedTuple):
    """What changes during a simulation besides State."""

    call: np.ndarray  # (n,) CALL
    program: np.ndarray  # (p,) PROGRAM
    tool: np.ndarray  # (TOOLS,) TOOL
    flow: np.ndarray  # (1,) FLOW
    coming: np.ndarray  # (n,) int64, heap of calls by release and number
    running: np.ndarray  # (max_running,) int64, in order of admission
    parked: np.ndarray  # (n,) int64, finished calls whose context is there, in order of their end


@kernel
def open_flow(data: Agents) -> Flow:
    """No program has arrived; the first calls of each are in the heap."""
    calls = data.requests
    n, p = len(calls.program), len(data.arrival_s)
    flow = Flow(
        call=np.zeros(n, CALL),
        program=np.zeros(p, PROGRAM),
        tool=np.zeros(TOOLS, TOOL),
        flow=np.zeros(1, FLOW),
        coming=np.empty(n, np.int64),
        running=np.empty(data.limit[MAX_RUNNING], np.int64),
        parked=np.empty(n, np.int64),
    )
    for c in range(n):
        flow.call[c].release_s = np.inf
        flow.call[c].waits_for = calls.waits_for[c]
        flow.call[c].heir = NOBODY
        flow.program[calls.program[c]].left += 1
    for c in range(n):
        if calls.continues[c] >= 0:
            flow.call[calls.continues[c]].heir = c
        if calls.waits_for[c] == 0:
            announce(data, flow, c, data.arrival_s[calls.program[c]])
    return flow


@inlined
def _before(flow: Flow, a: int, b: int) -> bool:
    x, y = flow.call[a].release_s, flow.call[b].release_s
    return bool(x < y or (x == y and a < b))


@inlined
def announce(data: Agents, flow: Flow, c: int, ready_s: float) -> None:
    """All that a call waits for has finished at ready_s: its tool runs, and then it is released."""
    flow.call[c].release_s = ready_s + data.requests.tool_s[c]
    p = flow.flow[0].coming
    flow.flow[0].coming += 1
    while p > 0 and _before(flow, c, flow.coming[(p - 1) // 2]):
        flow.coming[p] = flow.coming[(p - 1) // 2]
        p = (p - 1) // 2
    flow.coming[p] = c


@inlined
def next_release_s(flow: Flow) -> float:
    """When the next call is released, as far as that is known to nature; inf if none is under way."""
    return flow.call[flow.coming[0]].release_s if flow.flow[0].coming > 0 else np.inf


@inlined
def take_release(flow: Flow) -> int:
    """Take the first call out of the heap."""
    top, count = flow.coming[0], flow.flow[0].coming - 1
    flow.flow[0].coming = count
    c, p = flow.coming[count], 0
    while 2 * p + 1 < count:
        child = 2 * p + 1
        if child + 1 < count and _before(flow, flow.coming[child + 1], flow.coming[child]):
            child += 1
        if not _before(flow, flow.coming[child], c):
            break
        flow.coming[p] = flow.coming[child]
        p = child
    flow.coming[p] = c
    return int(top)


@inlined
def returned(data: Agents, flow: Flow, c: int) -> None:
    """A tool has returned: its class is known better."""
    tool, seconds = flow.tool[data.requests.tool[c]], data.requests.tool_s[c]
    tool.count += 1
    tool.sum_s += seconds
    tool.squares_s2 += seconds * seconds


@inlined
def reusable(data: Agents, flow: Flow, c: int) -> int:
    """Blocks of a parked context that call c, not admitted yet, can go on from; its last token is computed anyway."""
    before = data.requests.continues[c]
    if before < 0:
        return 0
    tokens = min(data.requests.repeated_tokens[c], data.requests.prompt_tokens[c] - 1)
    return int(min(flow.call[before].parked, tokens // data.limit[BLOCK_TOKENS]))


@kernel
def describe_call(data: Agents, state: State, flow: Flow, c: int, now_s: float, running: bool) -> Call:
    """All that hooks see of call c."""
    request, call, calls = state.request[c], flow.call[c], data.requests
    program = flow.program[calls.program[c]]
    cached, pinned, served = 0, 0.0, call.served_s
    if running:
        served += now_s - call.admitted_s
    else:
        cached = reusable(data, flow, c) * data.limit[BLOCK_TOKENS]
        if cached > 0 and flow.call[calls.continues[c]].pinned_s > now_s:
            pinned = 1.0
    return Call(
        waiting=now_s - call.release_s,
        age=now_s - data.arrival_s[calls.program[c]],
        attained=program.attained_s,
        critical=call.critical_s,
        served=served,
        calls=float(program.done),
        siblings=float(program.active),
        prompt=float(calls.prompt_tokens[c]),
        prefill_left=float(request.prefill_left - cached),
        cached=float(cached),
        pinned=pinned,
        generated=float(request.generated),
        predicted_output=calls.predicted_output[c],
        predicted_calls=calls.predicted_calls[c],
        predicted_tokens=calls.predicted_tokens[c],
        preemptions=float(request.preemptions),
    )


@kernel
def describe_context(data: Agents, state: State, flow: Flow, c: int, now_s: float) -> Context:
    """All that hooks see of what call c, which has finished, left for its heir."""
    call, calls = flow.call[c], data.requests
    heir, program = call.heir, flow.program[calls.program[c]]
    tool = flow.tool[calls.tool[heir]]
    mean, deviation = TOOL_MEAN_AT_START, TOOL_MEAN_AT_START
    if tool.count > 0:
        mean = tool.sum_s / tool.count
        deviation = mean
    if tool.count > 1:
        deviation = math.sqrt(max(0.0, tool.squares_s2 / tool.count - mean * mean))
    return Context(
        tokens=float(call.parked * data.limit[BLOCK_TOKENS]),
        idle=now_s - state.request[c].finish_s,
        returned=float(flow.call[heir].released),
        tool=float(calls.tool[heir]),
        predicted_tool=calls.predicted_tool_s[heir],
        tool_mean=mean,
        tool_deviation=deviation,
        age=now_s - data.arrival_s[calls.program[c]],
        attained=program.attained_s,
        calls=float(program.done),
        predicted_calls=calls.predicted_calls[c],
        predicted_tokens=calls.predicted_tokens[c],
    )


@inlined
def pinned_blocks(flow: Flow, now_s: float) -> int:
    """Blocks of contexts that are pinned now."""
    blocks = 0
    for k in range(flow.flow[0].parked):
        call = flow.call[flow.parked[k]]
        if call.pinned_s > now_s:
            blocks += call.parked
    return blocks


@kernel
def describe_programs_server(data: Agents, cost: StepCost, state: State, flow: Flow, i: int) -> Server:
    """All that hooks see of the server."""
    server, block, totals = state.server[i], data.limit[BLOCK_TOKENS], flow.flow[0]
    service = MEAN_SERVICE_AT_START
    if totals.finished > 0:
        service = totals.service_s / totals.finished
    return Server(
        now=server.now_s,
        programs=float(totals.arrived - totals.finished),
        waiting=float(server.waiting),
        running=float(server.decoding + server.prefilling),
        prefill_left=float(server.prefill_left),
        context=float(server.context),
        free=float(server.free * block),
        parked=float(totals.parked_blocks * block),
        pinned=float(pinned_blocks(flow, server.now_s) * block),
        capacity=float(data.limit[BLOCKS] * block),
        decode_step=step_seconds(cost, 0, 0.0, server.decoding, float(server.context)),
        token_time=data.token_s[0],
        mean_wait=totals.wait_s,
        mean_service=service,
    )
