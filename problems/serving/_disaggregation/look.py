"""What rules are shown: a request, an instance as it last reported, and the whole."""

from __future__ import annotations

from typing import NamedTuple

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DECODE, PERIOD, PREFILL, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.router import scramble
from problems.serving._cluster.state import prefill_us
from problems.serving._disaggregation.data import Deployment
from problems.serving._disaggregation.state import Deployed
from problems.serving._disaggregation.views import Cluster, Instance, Request
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS
from problems.serving._server.views import NO_PROMISE_S

NO_REQUEST = -1


class Question(NamedTuple):
    """What is the same for all instances while one thing is decided."""

    kind: int  # of the log's entries
    r: int  # or NO_REQUEST
    now_s: float
    choices: int  # instances that can be chosen
    draw_1: int  # places that draws name
    draw_2: int


@inlined
def prefills(state: Deployed, i: int) -> bool:
    """Whether instance i takes new prompts."""
    return bool(state.place[i].switching == 0 and state.engine.server[i].role != DECODE)


@inlined
def decodes(state: Deployed, i: int) -> bool:
    """Whether instance i takes requests to decode from others."""
    return bool(state.place[i].switching == 0 and state.engine.server[i].role != PREFILL)


@inlined
def question(kind: int, r: int, turn: int, now_s: float, choices: int) -> Question:
    """Draw two of so many places for the turn-th decision of a kind."""
    key = scramble(4 * turn + kind)
    draw_1 = key % choices
    draw_2 = (draw_1 + 1 + scramble(key) % (choices - 1)) % choices if choices > 1 else draw_1
    return Question(kind, r, now_s, choices, draw_1, draw_2)


@inlined
def describe_request(data: Deployment, r: int, turn: int, now_s: float) -> Request:
    """All that rules see of request r."""
    requests = data.cluster.requests
    return Request(
        turn=float(turn),
        now=now_s,
        waited=now_s - requests.arrival_s[r],
        prompt=float(requests.prompt_tokens[r]),
        predicted_output=requests.predicted_output[r],
        ttft_slo=min(requests.ttft_slo_s[r], NO_PROMISE_S),
        tpot_slo=min(requests.tpot_slo_s[r], NO_PROMISE_S),
        priority=float(requests.priority[r]),
    )


@inlined
def describe_role(role: int) -> float:
    """A role as a number between -1 and 1."""
    return 1.0 if role == PREFILL else -1.0 if role == DECODE else 0.0


@kernel
def describe_instance(data: Deployment, state: Deployed, i: int, place: int, asked: Question) -> Instance:
    """All that rules see of instance i, the place-th that can be chosen."""
    data, state = borrow(data), borrow(state)
    own, at, known = at_server(data.cluster, i), state.place[i], state.controller[0].known
    told, prefill_s, transfer_s = state.report[known % 2, i], 0.0, 0.0
    if asked.r >= 0:
        tokens = data.cluster.requests.prompt_tokens[asked.r]
        prefill_s = 1e-6 * prefill_us(own, tokens, 0)
        if asked.kind == 1:
            transfer_s = move_seconds(data, state.home[asked.r], i, tokens)
    return Instance(
        place=float(place),
        instances=float(asked.choices),
        role=describe_role(state.engine.server[i].role),
        age=asked.now_s - known * data.cluster.router_s[PERIOD],
        waiting=float(told.waiting),
        prefilling=float(told.prefilling),
        queue_time=1e-6 * told.queue_us,
        prefill_time=prefill_s,
        decoding=float(told.decoding),
        context=float(told.context),
        decode_step=told.decode_step_s,
        output_left=float(told.output_left),
        heavy=float(told.heavy),
        pending=float(told.pending),
        pending_tokens=float(told.pending_tokens),
        held=float(told.held),
        free=float(told.free),
        capacity=float(own.limit[BLOCKS] * own.limit[BLOCK_TOKENS]),
        transfer_time=transfer_s,
        prompt_time=at.prompt_s,
        output_time=at.output_s,
        token_time=own.token_s[0],
        draw_1=float((place - asked.draw_1) % asked.choices),
        draw_2=float((place - asked.draw_2) % asked.choices),
    )


@kernel
def describe_cluster(state: Deployed, now_s: float) -> Cluster:
    """All that rules see of the whole."""
    seen, prefill, decode, switching, queue_us, pending, free = state.controller[0], 0, 0, 0, 0, 0, 0
    for i in range(len(state.place)):
        told, at = state.report[seen.known % 2, i], state.place[i]
        prefill += 1 if at.target == PREFILL else 0
        decode += 1 if at.target == DECODE else 0
        switching += at.switching
        queue_us += told.queue_us
        pending += told.pending_tokens
        free += told.free if state.engine.server[i].role != PREFILL else 0
    return Cluster(
        now=now_s,
        instances=float(len(state.place)),
        prefill=float(prefill),
        decode=float(decode),
        switching=float(switching),
        arrival_rate=seen.rate,
        mean_prompt=seen.prompt,
        mean_output=seen.output,
        queue_time=1e-6 * queue_us,
        pending_tokens=float(pending),
        free=float(free),
        late_first=seen.late_first,
        late_output=seen.late_output,
    )
