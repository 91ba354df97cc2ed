"""The router: what it sees of requests and servers, and whom it asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._jit import inlined
from problems.problem import NonFiniteScore
from problems.serving._cluster.cache import cached_tokens
from problems.serving._cluster.data import DECIDING, DECODE, PERIOD, UP, Cluster, at_server
from problems.serving._cluster.log import sent_to
from problems.serving._cluster.state import ClusterState, prefill_us, send
from problems.serving._cluster.views import Instance, Request
from problems.serving._server.views import NO_PROMISE_S

Route = Callable[[Request, Instance, np.ndarray], float]

_MASK = 0xFFFFFFFF


class Choice(NamedTuple):
    """What is the same for all servers while one request is routed."""

    now_s: float
    report_s: float
    eligible: int  # servers that can be chosen
    hash_1: int  # servers that hashes and draws name
    hash_2: int
    draw_1: int
    draw_2: int


@inlined
def scramble(x: int) -> int:
    """A hash of a number, 32 bits; products stay below 2**63."""
    x = (x ^ (x >> 16)) & _MASK
    x = (x * 0x45D9F3B) & _MASK
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & _MASK
    return x ^ (x >> 16)


@inlined
def prefix_key(data: Cluster, r: int) -> int:
    """Equal for requests with the same system prompt; without one, the request's own."""
    prefix = data.requests.prefix[r]
    return scramble(4 * prefix + 1) if prefix >= 0 else scramble(4 * r + 2)


@inlined
def session_key(data: Cluster, r: int) -> int:
    """Equal for requests of one conversation; without one, as the system prompt's."""
    session = data.requests.session[r]
    return scramble(4 * session + 3) if session >= 0 else prefix_key(data, r)


@inlined
def _other(x: int, first: int, servers: int) -> int:
    """A server by a number, but not the first one, if there is another."""
    return (first + 1 + x % (servers - 1)) % servers if servers > 1 else first


@inlined
def eligible(state: ClusterState, i: int) -> bool:
    """Whether server i takes new requests."""
    return bool(state.engine.server[i].status == UP and state.engine.server[i].role != DECODE)


@inlined
def _look_around(data: Cluster, state: ClusterState, r: int, now_s: float, report_s: float) -> Choice:
    """What a request would find at each server, as far as the router knows."""
    count, servers = 0, len(data.kind)
    for i in range(servers):
        told, prompt = state.report[i], data.requests.prompt_tokens[r]
        told.cached = cached_tokens(data, state.caches, i, r, prompt - 1)
        told.prefill_us = prefill_us(at_server(data, i), prompt - told.cached, told.cached)
        count += 1 if eligible(state, i) else 0
    key, draw = session_key(data, r), scramble(4 * r)
    hash_1, draw_1 = key % servers, draw % servers
    hash_2, draw_2 = _other(scramble(key), hash_1, servers), _other(scramble(draw), draw_1, servers)
    return Choice(now_s, report_s, count, hash_1, hash_2, draw_1, draw_2)


@inlined
def describe_request(data: Cluster, state: ClusterState, r: int, choice: Choice) -> Request:
    """All that the rule sees of request r."""
    requests, cached, least_us, most_us, fastest_us = data.requests, 0, 2**62, 0, 2**62
    for i in range(len(data.kind)):
        if eligible(state, i):
            told = state.report[i]
            cached = max(cached, told.cached)
            least_us, most_us = min(least_us, told.queue_us), max(most_us, told.queue_us)
            fastest_us = min(fastest_us, told.prefill_us)
    return Request(
        number=float(r),
        now=choice.now_s,
        prompt=float(requests.prompt_tokens[r]),
        predicted_output=requests.predicted_output[r],
        ttft_slo=min(requests.ttft_slo_s[r], NO_PROMISE_S),
        tpot_slo=min(requests.tpot_slo_s[r], NO_PROMISE_S),
        priority=float(requests.priority[r]),
        prefix_hash=float(prefix_key(data, r)),
        session_hash=float(session_key(data, r)),
        longest_cached=float(cached),
        shortest_queue=1e-6 * least_us,
        longest_queue=1e-6 * most_us,
        fastest_prefill=1e-6 * fastest_us,
    )


@inlined
def describe_instance(data: Cluster, state: ClusterState, i: int, choice: Choice) -> Instance:
    """All that the rule sees of server i."""
    told, servers = state.report[i], len(data.kind)
    return Instance(
        number=float(i),
        instances=float(choice.eligible),
        age=choice.now_s - choice.report_s,
        waiting=float(told.waiting),
        decoding=float(told.decoding),
        prefilling=float(told.prefilling),
        sent=float(told.sent),
        context=float(told.context),
        free=float(told.free),
        capacity=float(told.capacity),
        output_left=float(told.output_left),
        queue_time=1e-6 * told.queue_us,
        prefill_time=1e-6 * told.prefill_us,
        decode_step=told.decode_step_s,
        token_time=data.token_s[data.kind[i], 0],
        cached_tokens=float(told.cached),
        hash_1=float((i - choice.hash_1) % servers),
        hash_2=float((i - choice.hash_2) % servers),
        draw_1=float((i - choice.draw_1) % servers),
        draw_2=float((i - choice.draw_2) % servers),
    )


@inlined
def route_request(
    data: Cluster, state: ClusterState, r: int, now_s: float, report_s: float, route: Route, theta: np.ndarray
) -> None:
    """Ask the rule about each server, and send the request to the one with the lowest score."""
    choice = _look_around(data, state, r, now_s, report_s)
    request, best, lowest = describe_request(data, state, r, choice), -1, np.inf
    for i in range(len(data.kind)):
        if not eligible(state, i):
            continue
        score = route(request, describe_instance(data, state, i, choice), theta)
        if not math.isfinite(score):
            raise NonFiniteScore("route returned NaN or an infinity")
        if best < 0 or score < lowest:
            best, lowest = i, score
    told = state.report[best]
    told.sent += 1
    told.queue_us += told.prefill_us
    told.output_left += math.ceil(data.requests.predicted_output[r])
    state.log[r] = sent_to(r, best)
    send(state.engine, best, r, now_s + data.router_s[DECIDING], told.prefill_us)


@inlined
def last_report_s(data: Cluster, known_s: float) -> float:
    """The last report that was sent by a time."""
    period_s = data.router_s[PERIOD]
    number = math.floor(known_s / period_s)
    if (number + 1) * period_s <= known_s:  # the division was rounded
        number += 1
    if number * period_s > known_s:
        number -= 1
    return float(max(number, 0) * period_s)
