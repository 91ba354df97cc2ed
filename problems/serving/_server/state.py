"""What the engine keeps: a record per request, a record per server, lists of running requests.

Requests wait in a linked list per server, so that any number of servers shares one record per
request: 96 bytes, besides the instance's own columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined, kernel
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, MAX_OUTPUT, MAX_RUNNING, Serving, blocks_for
from problems.serving._server.views import MEAN_OUTPUT_AT_START, NO_PROMISE_S, Memory, Request, Server

NOBODY = -1

REQUEST = np.dtype(
    (
        np.record,
        [
            ("queued_s", np.float64),  # when it last joined the waiting queue
            ("first_token_s", np.float64),  # inf before
            ("last_token_s", np.float64),
            ("finish_s", np.float64),  # inf before
            ("worst_gap_s", np.float64),  # longest time between two of its tokens
            ("score", np.float64),  # given by the rule at the last look at the queue; in clusters, estimated prefill
            ("prefill_left", np.int64),  # tokens to compute before its next token comes out
            ("context", np.int64),  # tokens in KV cache, on the device or, swapped out, on the host
            ("generated", np.int64),
            ("preemptions", np.int32),
            ("previous", np.int32),  # in the waiting queue
            ("next", np.int32),
            ("place", np.int32),  # unused by one server; the server of a request where there are more
            ("tail", np.int32),  # last block that it holds of a prefix cache, or NOBODY
            ("computed", np.int32),  # prompt tokens computed in clusters, again after preemptions
        ],
    )
)

SERVER = np.dtype(
    (
        np.record,
        [
            ("now_s", np.float64),
            ("debt_s", np.float64),  # decisions and swaps, charged to the next step
            ("wait_s", np.float64),  # last wait of an idle server that has refused all; 0: none since a change
            ("free", np.int64),  # blocks
            ("first", np.int64),  # of the waiting queue
            ("last", np.int64),
            ("waiting", np.int64),
            ("waiting_tokens", np.int64),
            ("decoding", np.int64),
            ("prefilling", np.int64),
            ("prefill_left", np.int64),
            ("context", np.int64),  # of decoding requests
            ("look", np.int64),  # 1: something has changed since the last look at the queue
            ("since", np.int64),  # iterations of pure decoding since that look
            ("finished", np.int64),
            ("finished_tokens", np.int64),
            ("arrived", np.int64),  # requests that have arrived
            ("logged", np.int64),  # entries of the log
            # in clusters only:
            ("sent_first", np.int64),  # requests that are on their way to the waiting queue
            ("sent_last", np.int64),
            ("waiting_us", np.int64),  # estimated time to prefill the waiting queue
            ("waiting_output", np.int64),  # predicted output of the waiting queue
            ("begun", np.int64),  # 1: the decisions before the next step are taken
            ("role", np.int64),
            ("status", np.int64),
            ("ready_s", np.float64),  # when a server that is loading is up
        ],
    )
)


class State(NamedTuple):
    """Everything that changes during a simulation, but for the log."""

    request: np.ndarray  # (n,) REQUEST
    server: np.ndarray  # (servers,) SERVER
    decoding: np.ndarray  # (servers, max_running) int32, kept in about the order of predicted_left
    prefilling: np.ndarray  # (servers, max_running) int32, in order of admission
    queue: np.ndarray  # (n,) int32, heap of the requests that wait, by score and number; empty for several servers
    crossing: np.ndarray  # (block_tokens,) int64, decoding requests by context modulo block_tokens
    held: np.ndarray  # (max_running + 1,) int64, tokens held, in order of tokens left
    left: np.ndarray  # (max_running + 1,) int64, predicted tokens left, falling
    ended: np.ndarray  # (max_running,) int32, ring of the latest requests to finish, by the server's number of them


@kernel
def open_state(data: Serving, servers: int) -> State:
    """Nothing has arrived."""
    n, most = len(data.requests.output_tokens), data.limit[MAX_RUNNING]
    request = np.zeros(n, REQUEST)
    for r in range(n):
        request[r].first_token_s = np.inf
        request[r].finish_s = np.inf
        request[r].tail = NOBODY
        request[r].prefill_left = data.requests.prompt_tokens[r]
    server = np.zeros(servers, SERVER)
    for i in range(servers):
        server[i].free = data.limit[BLOCKS]
        server[i].first = NOBODY
        server[i].last = NOBODY
        server[i].sent_first = NOBODY
        server[i].sent_last = NOBODY
    return State(
        request=request,
        server=server,
        decoding=np.empty((servers, most), np.int32),
        prefilling=np.empty((servers, most), np.int32),
        queue=np.empty(n if servers == 1 else 0, np.int32),
        crossing=np.empty(data.limit[BLOCK_TOKENS], np.int64),
        held=np.empty(most + 1, np.int64),
        left=np.empty(most + 1, np.int64),
        ended=np.empty(most, np.int32),
    )


@inlined
def enqueue(state: State, i: int, r: int, now_s: float) -> None:
    """Put a request at the end of the waiting queue."""
    server, request = state.server[i], state.request[r]
    request.queued_s = now_s
    request.previous = server.last
    request.next = NOBODY
    if server.last >= 0:
        state.request[server.last].next = r
    else:
        server.first = r
    server.last = r
    server.wait_s = 0.0
    server.waiting += 1
    server.waiting_tokens += request.prefill_left
    server.look = 1


@inlined
def requeue(state: State, i: int, r: int, now_s: float) -> None:
    """Put a request back at the front of the waiting queue."""
    server, request = state.server[i], state.request[r]
    request.queued_s = now_s
    request.previous = NOBODY
    request.next = server.first
    if server.first >= 0:
        state.request[server.first].previous = r
    else:
        server.last = r
    server.first = r
    server.waiting += 1
    server.waiting_tokens += request.prefill_left
    server.look = 1


@inlined
def dequeue(state: State, i: int, r: int) -> None:
    """Take a request out of the waiting queue."""
    server, request = state.server[i], state.request[r]
    if request.previous >= 0:
        state.request[request.previous].next = request.next
    else:
        server.first = request.next
    if request.next >= 0:
        state.request[request.next].previous = request.previous
    else:
        server.last = request.previous
    server.waiting -= 1
    server.waiting_tokens -= request.prefill_left


@inlined
def arrive(data: Serving, state: State, i: int) -> None:
    """Queue all that has arrived by now."""
    server = state.server[i]
    while server.arrived < len(data.requests.arrival_s) and data.requests.arrival_s[server.arrived] <= server.now_s:
        r = server.arrived
        enqueue(state, i, r, data.requests.arrival_s[r])
        server.arrived += 1


@inlined
def predicted_left(data: Serving, state: State, r: int) -> float:
    """Output that is still to come if the prediction is right; at least one token."""
    return max(1.0, data.requests.predicted_output[r] - state.request[r].generated)


@inlined
def describe_request(data: Serving, state: State, r: int, now_s: float, held: int) -> Request:
    """All that hooks see of request r."""
    request, requests = state.request[r], data.requests
    due_s = requests.arrival_s[r] + requests.ttft_slo_s[r]
    if request.generated > 0:
        due_s += request.generated * requests.tpot_slo_s[r]
    return Request(
        waiting=now_s - requests.arrival_s[r],
        queued=now_s - request.queued_s,
        prompt=float(requests.prompt_tokens[r]),
        prefill_left=float(request.prefill_left),
        generated=float(request.generated),
        predicted_output=requests.predicted_output[r],
        predicted_left=predicted_left(data, state, r),
        held=float(held),
        preemptions=float(request.preemptions),
        slack=min(due_s - now_s, NO_PROMISE_S),
        tpot_slo=min(requests.tpot_slo_s[r], NO_PROMISE_S),
        priority=float(requests.priority[r]),
    )


@inlined
def describe_server(data: Serving, cost: StepCost, state: State, i: int) -> Server:
    """All that hooks see of server i."""
    server, block = state.server[i], data.limit[BLOCK_TOKENS]
    mean_output = MEAN_OUTPUT_AT_START
    if server.finished > 0:
        mean_output = server.finished_tokens / server.finished
    return Server(
        now=server.now_s,
        waiting=float(server.waiting),
        waiting_tokens=float(server.waiting_tokens),
        decoding=float(server.decoding),
        prefilling=float(server.prefilling),
        prefill_left=float(server.prefill_left),
        context=float(server.context),
        free=float(server.free * block),
        capacity=float(data.limit[BLOCKS] * block),
        decode_step=step_seconds(cost, 0, 0.0, server.decoding, float(server.context)),
        token_time=data.token_s[0],
        max_output=float(data.limit[MAX_OUTPUT]),
        mean_output=mean_output,
    )


@inlined
def _insert(state: State, filled: int, held: int, left: int) -> None:
    """Put a request into held and left, which are sorted by left, falling."""
    p = filled
    while p > 0 and state.left[p - 1] < left:
        state.left[p] = state.left[p - 1]
        state.held[p] = state.held[p - 1]
        p -= 1
    state.left[p] = left
    state.held[p] = held


@inlined
def describe_memory(data: Serving, state: State, i: int, r: int) -> Memory:
    """What admitting request r would mean for the KV cache.

    The peak is that of LightLLM's Past-Future scheduler, with predicted in place of sampled lengths: the
    requests in the order in which they are going to finish, each holding what it has when one finishes.
    """
    server, block = state.server[i], data.limit[BLOCK_TOKENS]
    used, reserved = 0, 0
    running = server.decoding + server.prefilling
    for p in range(running + 1):
        q = r
        if p < server.decoding:
            q = state.decoding[i, p]
        elif p < running:
            q = state.prefilling[i, p - server.decoding]
        held = state.request[q].context + state.request[q].prefill_left
        _insert(state, p, held, int(np.ceil(predicted_left(data, state, q))))
        used += held
        reserved += data.requests.prompt_tokens[q] + data.limit[MAX_OUTPUT]
    peak, before, total = 0, 0, 0
    for p in range(running + 1):
        before += state.held[p]
        peak = max(peak, before + (p + 1) * state.left[p])
        total += state.left[p]
    needed = state.request[r].context + state.request[r].prefill_left
    return Memory(
        needed=float(blocks_for(needed, block) * block),
        used_after=float(used),
        predicted_total=float(used + total),
        predicted_peak=float(peak),
        reserved=float(reserved),
    )
