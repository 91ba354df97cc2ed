"""What a deployment keeps besides the state of its servers: links, requests between instances, reports, the load."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.data import PREFILL, at_server
from problems.serving._cluster.state import output_left, prefill_us
from problems.serving._disaggregation.data import OUTPUT, PROMPT, RATE, SMOOTHING, TICK, Deployment
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, HORIZON, MAX_RUNNING, unpack_cost
from problems.serving._server.state import NOBODY, State, open_state

HEAVY_TOKENS = 128.0  # a longer predicted output makes a request heavy to decode, as in TetriInfer

# Phases of an instance
IDLE, DUE, IN_STEP = 0, 1, 2

PLACE = np.dtype(
    (
        np.record,
        [
            ("next_s", np.float64),  # when its step ends, or is due to begin; inf: it is idle
            ("phase", np.int64),
            ("tokens", np.int64),  # prompt tokens of the step under way,
            ("decode", np.int64),  # and whether it decodes besides
            ("target", np.int64),  # the role that it has or is changing to
            ("switching", np.int64),
            ("ready_s", np.float64),  # when it has the new role; inf before it has nothing left to do
            ("out_s", np.float64),  # when its link is free to send,
            ("in_s", np.float64),  # and to receive
            # Requests handed to it, in order: those whose cache has come, is moving, and is not yet granted a place.
            ("first", np.int64),
            ("moving", np.int64),
            ("pending", np.int64),
            ("last", np.int64),
            ("incoming", np.int64),  # of them, those with blocks here
            ("held", np.int64),  # tokens of prompts done here that have not left
            ("sent", np.int64),  # requests on their way from the router
            ("sent_us", np.int64),  # estimated time to prefill them
            ("prompt_s", np.float64),  # to prefill a mean prompt
            ("output_s", np.float64),  # to decode a mean output in a full batch, per request
        ],
    )
)
REPORT = np.dtype(
    (
        np.record,
        [
            ("waiting", np.int64),
            ("prefilling", np.int64),
            ("queue_us", np.int64),
            ("decoding", np.int64),
            ("context", np.int64),
            ("decode_step_s", np.float64),
            ("output_left", np.int64),
            ("heavy", np.int64),
            ("pending", np.int64),
            ("pending_tokens", np.int64),
            ("held", np.int64),
            ("free", np.int64),
        ],
    )
)
CONTROLLER = np.dtype(
    (
        np.record,
        [
            ("routed", np.int64),  # requests that the router has sent
            ("come", np.int64),  # and that have come to their instances
            ("handed", np.int64),
            ("finished", np.int64),
            ("ticks", np.int64),
            ("reports", np.int64),
            ("known", np.int64),  # reports that have come
            ("router_s", np.float64),  # when the router is free
            ("logged", np.int64),
            # Means of the last seconds.
            ("rate", np.float64),
            ("prompt", np.float64),
            ("output", np.float64),
            ("late_first", np.float64),
            ("late_output", np.float64),
            # Since the last tick.
            ("arrivals", np.int64),
            ("prompts", np.int64),  # tokens
            ("firsts", np.int64),
            ("late_firsts", np.int64),
            ("ends", np.int64),
            ("outputs", np.int64),  # tokens
            ("late_ends", np.int64),
        ],
    )
)


class Deployed(NamedTuple):
    """Everything that changes during a simulation."""

    engine: State
    place: np.ndarray  # (instances,) PLACE
    report: np.ndarray  # (2, instances) REPORT, the latest that is known and the one that is under way
    controller: np.ndarray  # (1,) CONTROLLER
    home: np.ndarray  # (n,) int64, where a request is sent
    sent_s: np.ndarray  # (n,) float64, when it leaves the router
    decided_s: np.ndarray  # (n,) float64, when it is known where it is decoded
    moved_s: np.ndarray  # (n,) float64, when its cache is there, inf before that is known
    log: np.ndarray  # int64, see log.py
    logged_s: np.ndarray  # float64, when each of its entries was decided


@kernel
def open_deployment(data: Deployment) -> Deployed:
    """Nothing has arrived; instances have the roles of the data."""
    cluster, n = data.cluster, len(data.cluster.requests.arrival_s)
    count = len(cluster.kind)
    engine, place = open_state(at_server(cluster, 0), count), np.zeros(count, PLACE)
    for i in range(count):
        engine.server[i].free = cluster.limit[cluster.kind[i], BLOCKS]
        engine.server[i].role = cluster.role[i]
        place[i].target = cluster.role[i]
        place[i].next_s, place[i].ready_s = np.inf, np.inf
        place[i].first, place[i].moving, place[i].pending, place[i].last = NOBODY, NOBODY, NOBODY, NOBODY
    controller = np.zeros(1, CONTROLLER)
    controller[0].rate = data.plan[RATE]
    controller[0].prompt = data.plan[PROMPT]
    controller[0].output = data.plan[OUTPUT]
    most = 2 * n + count * (2 + int(cluster.time_s[HORIZON] / data.control_s[TICK]))
    return Deployed(
        engine=engine,
        place=place,
        report=np.zeros((2, count), REPORT),
        controller=controller,
        home=np.zeros(n, np.int64),
        sent_s=np.full(n, np.inf),
        decided_s=np.full(n, np.inf),
        moved_s=np.full(n, np.inf),
        log=np.empty(most, np.int64),
        logged_s=np.empty(most),
    )


@inlined
def write(state: Deployed, entry: int, now_s: float) -> None:
    """Put a decision into the log."""
    state.logged_s[state.controller[0].logged] = now_s
    state.log[state.controller[0].logged] = entry
    state.controller[0].logged += 1


@inlined
def heavy(data: Deployment, r: int) -> int:
    """1 if a long output is predicted for request r, else 0."""
    return 1 if data.cluster.requests.predicted_output[r] > HEAVY_TOKENS else 0


@inlined
def _take_report(data: Deployment, state: Deployed, slot: int, i: int) -> None:
    """Instance i as it is after its last step that has ended."""
    own, engine = at_server(data.cluster, i), state.engine
    server, place, told = engine.server[i], state.place[i], state.report[slot, i]
    told.waiting, told.prefilling, told.decoding = server.waiting + place.sent, server.prefilling, server.decoding
    told.context, told.held, told.free = server.context, place.held, server.free * own.limit[BLOCK_TOKENS]
    told.decode_step_s = step_seconds(unpack_cost(own), 0, 0.0, max(server.decoding, 1), float(server.context))
    told.queue_us, told.output_left = server.waiting_us + place.sent_us, 0
    told.heavy, told.pending, told.pending_tokens = 0, 0, 0
    for p in range(server.prefilling):
        r = engine.prefilling[i, p]
        told.queue_us += prefill_us(own, engine.request[r].prefill_left, engine.request[r].context)
        if server.role != PREFILL:
            told.output_left += output_left(own, engine, r)
    if server.role != PREFILL:
        told.output_left += server.waiting_output
    for p in range(server.decoding):
        r = engine.decoding[i, p]
        told.output_left += output_left(own, engine, r)
        told.heavy += heavy(data, r)
    r, moving = place.first, False
    while r >= 0:
        told.output_left += output_left(own, engine, r)
        told.heavy += heavy(data, r)
        moving = moving or r == place.moving
        if moving:
            told.pending += 1
            told.pending_tokens += engine.request[r].context
        r = engine.request[r].next


@kernel
def take_reports(data: Deployment, state: Deployed, slot: int) -> None:
    """All instances as they are after their last steps that have ended."""
    for i in range(len(state.place)):
        _take_report(data, state, slot, i)


@inlined
def estimate_work(data: Deployment, state: Deployed, i: int) -> None:
    """What a mean request costs instance i: its prompt by itself, its output in the largest batch that fits."""
    own, controller, place = at_server(data.cluster, i), state.controller[0], state.place[i]
    prompt, output = controller.prompt, controller.output
    place.prompt_s = own.token_s[0] * prompt + own.cost[0] * (0.5 * prompt * prompt)
    fits = int(own.limit[BLOCKS] * own.limit[BLOCK_TOKENS] / (prompt + output))
    batch = max(1, min(fits, own.limit[MAX_RUNNING]))
    step_s = step_seconds(unpack_cost(own), 0, 0.0, batch, batch * (prompt + 0.5 * output))
    place.output_s = output * step_s / batch


@inlined
def _toward(mean: float, total: float, count: int) -> float:
    """A running mean after a tick with so many more."""
    return mean + SMOOTHING * (total / count - mean) if count > 0 else mean


@inlined
def learn(data: Deployment, state: Deployed) -> None:
    """Take what has been seen since the last tick into the running means."""
    now = state.controller[0]
    if now.ticks > 0:
        now.rate += SMOOTHING * (now.arrivals / data.control_s[TICK] - now.rate)
        now.prompt = _toward(now.prompt, now.prompts, now.arrivals)
        now.output = _toward(now.output, now.outputs, now.ends)
        now.late_first = _toward(now.late_first, now.late_firsts, now.firsts)
        now.late_output = _toward(now.late_output, now.late_ends, now.ends)
    now.arrivals, now.prompts, now.firsts, now.late_firsts = 0, 0, 0, 0
    now.ends, now.outputs, now.late_ends = 0, 0, 0
    for i in range(len(state.place)):
        estimate_work(data, state, i)
