"""What a fleet keeps besides the state of its cluster: places, the router's queue, and what was sent when."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import trim
from problems.serving._cluster.data import DOWN, LOADING, UP, at_server
from problems.serving._cluster.state import ClusterState, open_cluster, take_report
from problems.serving._fleet.data import Elastic
from problems.serving._fleet.log import START, move
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, MAX_RUNNING, Serving, unpack_cost
from problems.serving._server.state import NOBODY

DRAINING = 3  # besides UP, LOADING and DOWN
NEVER_S = 1e6

PLACE = np.dtype(
    (
        np.record,
        [
            ("begun_s", np.float64),  # when its instance was started,
            ("stopped_s", np.float64),  # and when it began to drain
            ("paid_s", np.float64),  # time paid for instances that are gone
        ],
    )
)

POOL = np.dtype(
    (
        np.record,
        [
            ("wanted", np.int64),
            ("started_s", np.float64),
            ("stopped_s", np.float64),
            # Of what was sent to it in the windows:
            ("sent_long", np.int64),
            ("work_short", np.int64),  # us of a full instance
            ("work_long", np.int64),
        ],
    )
)

DESK = np.dtype(
    (
        np.record,
        [
            ("now_s", np.float64),  # when something last happened
            ("free_s", np.float64),  # when the router is free
            ("report_s", np.float64),  # the reports that it knows
            ("tick", np.int64),  # the next one
            ("failed", np.int64),  # failures so far
            ("arrived", np.int64),  # requests that the router has taken as they arrived
            ("first", np.int64),  # of the queue of requests that failures have sent back
            ("queued", np.int64),
            ("sends", np.int64),
            ("moves", np.int64),
            # The first within the long window, of arrivals and of what was sent.
            ("arrival_long", np.int64),
            ("send_long", np.int64),
        ],
    )
)


class FleetState(NamedTuple):
    """Everything that changes during a simulation."""

    cluster: ClusterState
    place: np.ndarray  # (places,) PLACE
    pool: np.ndarray  # (pools,) POOL
    desk: np.ndarray  # (1,) DESK
    back: np.ndarray  # (n,) int64, ring: requests that failures have sent back
    back_s: np.ndarray  # (n,) float64, and when


class Record(NamedTuple):
    """What was sent and moved so far; as long as room was made for."""

    log: np.ndarray  # int64, see _cluster/log.py
    sent_s: np.ndarray  # float64, when it left the router
    pool: np.ndarray  # int64, where to
    work_us: np.ndarray  # int64
    moves: np.ndarray  # int64, see _fleet/log.py


@kernel
def open_fleet(data: Elastic) -> FleetState:
    """Nothing has arrived; the first instances of each pool are up."""
    places, pools, n = len(data.cluster.kind), len(data.least), len(data.cluster.requests.arrival_s)
    state = FleetState(
        open_cluster(data.cluster),
        np.zeros(places, PLACE),
        np.zeros(pools, POOL),
        np.zeros(1, DESK),
        np.empty(n, np.int64),
        np.empty(n),
    )
    for r in range(n):
        state.cluster.engine.request[r].place = NOBODY
    for k in range(pools):
        state.pool[k].wanted = data.first[k]
        state.pool[k].started_s = -NEVER_S
        state.pool[k].stopped_s = -NEVER_S
    state.desk[0].tick = 1
    state.desk[0].report_s = -1.0
    return state


@inlined
def open_record(data: Elastic, state: FleetState) -> Record:
    """Empty, but for the instances that are up at first."""
    n, places = len(data.cluster.requests.arrival_s), len(data.cluster.kind)
    record = Record(
        np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(places, np.int64)
    )
    low = 0
    for i in range(places):
        if i > 0 and data.cluster.kind[i] != data.cluster.kind[i - 1]:
            low = i
        if i - low < data.first[data.cluster.kind[i]]:
            record.moves[state.desk[0].moves] = move(START, i, 0)
            state.desk[0].moves += 1
        else:
            state.cluster.engine.server[i].status = DOWN
    return record


@inlined
def requests_of(state: FleetState, i: int) -> int:
    """Requests of an instance, as far as the router knows."""
    told = state.cluster.report[i]
    return int(told.waiting + told.decoding + told.prefilling + told.sent)


@inlined
def is_empty(state: FleetState, i: int) -> bool:
    """Whether an instance has nothing to do, and nothing on its way to it."""
    server = state.cluster.engine.server[i]
    return bool(server.waiting + server.decoding + server.prefilling == 0 and server.sent_first < 0)


@inlined
def report(data: Elastic, state: FleetState, i: int) -> None:
    """Tell the router of instance i."""
    take_report(at_server(data.cluster, i), state.cluster.engine, state.cluster.report, i, state.desk[0].report_s)


@kernel
def wake(data: Elastic, state: FleetState, now_s: float) -> None:
    """Something happens: instances that have loaded by now are up."""
    state.desk[0].now_s = now_s
    for i in range(len(state.place)):
        server = state.cluster.engine.server[i]
        if server.status == LOADING and server.ready_s <= now_s:
            server.status = UP
            report(data, state, i)


@inlined
def clear(data: Elastic, state: FleetState, i: int) -> None:
    """Instance i runs nothing and remembers nothing."""
    server = state.cluster.engine.server[i]
    server.debt_s, server.free = 0.0, data.cluster.limit[data.cluster.kind[i], BLOCKS]
    server.first, server.last, server.sent_first, server.sent_last = NOBODY, NOBODY, NOBODY, NOBODY
    server.waiting, server.waiting_tokens, server.waiting_us, server.waiting_output = 0, 0, 0, 0
    server.decoding, server.prefilling, server.prefill_left, server.context = 0, 0, 0, 0
    server.look, server.since, server.begun = 0, 0, 0
    if data.cluster.cache_tokens[0] > 0:
        trim(data.cluster, state.cluster.caches, i, 0)


@inlined
def shut(data: Elastic, state: FleetState, i: int, end_s: float) -> None:
    """Instance i is gone, and paid for until then; nothing was running there any more."""
    state.place[i].paid_s += end_s - state.place[i].begun_s
    state.cluster.engine.server[i].status = DOWN
    clear(data, state, i)


@inlined
def work_us(own: Serving, prefill: int, prompt: int, predicted: float) -> int:
    """Estimated time that a request takes of an instance that is full of its like, in whole microseconds."""
    tokens = prompt + math.ceil(predicted)
    batch = max(1, min(own.limit[MAX_RUNNING], own.limit[BLOCKS] * own.limit[BLOCK_TOKENS] // tokens))
    step_s = step_seconds(unpack_cost(own), 0, 0.0, batch, batch * (prompt + 0.5 * predicted))
    return prefill + math.ceil(1e6 * (predicted * (step_s / batch)))
