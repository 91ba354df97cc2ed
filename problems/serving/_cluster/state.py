"""What a cluster keeps besides the state of its servers: what they reported, and what is on its way to them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import Store, open_caches
from problems.serving._cluster.data import UP, Cluster, at_server
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, Serving, unpack_cost
from problems.serving._server.state import NOBODY, State, enqueue, open_state

REPORT = np.dtype(
    (
        np.record,
        [
            ("waiting", np.int64),
            ("decoding", np.int64),
            ("prefilling", np.int64),
            ("context", np.int64),
            ("free", np.int64),  # tokens
            ("capacity", np.int64),  # tokens
            ("decode_step_s", np.float64),
            # The router adds to these what it sends.
            ("sent", np.int64),
            ("queue_us", np.int64),  # estimated prefill
            ("output_left", np.int64),  # predicted tokens
            # Of the request at hand.
            ("cached", np.int64),
            ("prefill_us", np.int64),
        ],
    )
)


class ClusterState(NamedTuple):
    """Everything that changes during a simulation."""

    engine: State
    caches: Store
    report: np.ndarray  # (servers,) REPORT
    log: np.ndarray  # (n,) int64, see _cluster/log.py


@kernel
def open_cluster(data: Cluster) -> ClusterState:
    """Nothing has arrived, all servers are up."""
    engine, n = open_state(at_server(data, 0), len(data.kind)), len(data.requests.arrival_s)
    report = np.zeros(len(data.kind), REPORT)
    for i in range(len(data.kind)):
        engine.server[i].free = data.limit[data.kind[i], BLOCKS]
        engine.server[i].role = data.role[i]
        engine.server[i].status = UP
    return ClusterState(engine, open_caches(data), report, np.empty(n, np.int64))


@inlined
def prefill_us(data: Serving, tokens: int, context: int) -> int:
    """Estimated time to prefill so many tokens behind others, in whole microseconds: sums are then exact."""
    seconds = data.token_s[0] * tokens + data.cost[0] * (tokens * (context + 0.5 * tokens))
    return math.ceil(1e6 * seconds)


@inlined
def output_left(data: Serving, state: State, r: int) -> int:
    """Predicted output still to come, in whole tokens, at least one."""
    return max(1, math.ceil(data.requests.predicted_output[r]) - state.request[r].generated)


@inlined
def send(state: State, i: int, r: int, at_s: float, work_us: int) -> None:
    """Put a request on its way to server i, where it comes after all that were sent there before."""
    server, request = state.server[i], state.request[r]
    request.place = i
    request.queued_s = at_s
    request.score = work_us
    request.next = NOBODY
    if server.sent_last >= 0:
        state.request[server.sent_last].next = r
    else:
        server.sent_first = r
    server.sent_last = r


@inlined
def receive(data: Serving, state: State, i: int) -> None:
    """Queue all that has come to server i by now."""
    server = state.server[i]
    while server.sent_first >= 0 and state.request[server.sent_first].queued_s <= server.now_s:
        r = server.sent_first
        request = state.request[r]
        server.sent_first = request.next
        if server.sent_first < 0:
            server.sent_last = NOBODY
        enqueue(state, i, r, request.queued_s)
        server.waiting_us += int(request.score)
        server.waiting_output += output_left(data, state, r)


@inlined
def take_report(data: Serving, state: State, report: np.ndarray, i: int, report_s: float) -> None:
    """Server i as it is after its last step that has ended; what left the router later counts as sent since."""
    server, told, cost = state.server[i], report[i], unpack_cost(data)
    told.waiting, told.sent = server.waiting, 0
    told.queue_us, told.output_left = server.waiting_us, server.waiting_output
    told.decoding, told.prefilling, told.context = server.decoding, server.prefilling, server.context
    told.free = server.free * data.limit[BLOCK_TOKENS]
    told.capacity = data.limit[BLOCKS] * data.limit[BLOCK_TOKENS]
    told.decode_step_s = step_seconds(cost, 0, 0.0, max(server.decoding, 1), float(server.context))
    r = server.sent_first
    while r >= 0:
        if state.request[r].queued_s <= report_s:
            told.waiting += 1
        else:
            told.sent += 1
        told.queue_us += int(state.request[r].score)
        told.output_left += output_left(data, state, r)
        r = state.request[r].next
    for p in range(server.prefilling):
        r = state.prefilling[i, p]
        told.queue_us += prefill_us(data, state.request[r].prefill_left, state.request[r].context)
        told.output_left += output_left(data, state, r)
    for p in range(server.decoding):
        told.output_left += output_left(data, state, state.decoding[i, p])
