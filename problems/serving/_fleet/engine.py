"""The fleet engine: the cluster's router and servers, which come, go and fail while requests are served.

Failures, ticks and decisions of the router happen one by one, in order of time (of equal times, in this order). In
between each server runs by itself, as in the cluster engine, up to the latest report that the next of them knows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import leave
from problems.serving._cluster.data import DECIDING, DELAY, DOWN, LOADING, UP, at_server
from problems.serving._cluster.log import SERVER_BITS
from problems.serving._cluster.router import Route, last_report_s, route_request
from problems.serving._fleet.control import Scale, decide
from problems.serving._fleet.data import TICK, Elastic
from problems.serving._fleet.run import ALL, run_to
from problems.serving._fleet.state import (
    DRAINING,
    FleetState,
    Record,
    is_empty,
    open_fleet,
    open_record,
    report,
    shut,
    wake,
    work_us,
)
from problems.serving._server.machine import HORIZON
from problems.serving._server.state import NOBODY


class Scaling(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    computed_tokens: np.ndarray  # (n,) int64, prefilled for it, on all instances that it came to
    sent_s: np.ndarray  # (sends,) float64, when the router had decided; requests of failed instances are sent again
    log: np.ndarray  # (sends,) int64, see _cluster/log.py
    moves: np.ndarray  # (moves,) int64, see _fleet/log.py
    paid_s: np.ndarray  # (places,) float64, time paid for each place


@inlined
def _end_s(state: FleetState, i: int) -> float:
    """When a stopped instance that has nothing left was done."""
    return float(max(state.place[i].stopped_s, state.cluster.engine.server[i].now_s))


@inlined
def _look(data: Elastic, state: FleetState, known_s: float) -> None:
    """Take the latest reports that are known by a time, if they are newer; what has drained is gone."""
    report_s, desk = last_report_s(data.cluster, known_s - data.cluster.router_s[DELAY]), state.desk[0]
    if report_s <= desk.report_s:
        return
    desk.report_s = report_s
    run_to(data.cluster, state.cluster, report_s, ALL)
    for i in range(len(state.place)):
        status = state.cluster.engine.server[i].status
        if status == UP:
            report(data, state, i)
        elif status == DRAINING and is_empty(state, i):
            shut(data, state, i, _end_s(state, i))


@kernel
def _next_request(data: Elastic, state: FleetState) -> tuple[int, float]:
    """Who is next at the router, and when it is sent: not before an instance is up; never, if none will be."""
    arrival_s, desk, r, joined_s = data.cluster.requests.arrival_s, state.desk[0], NOBODY, np.inf
    if desk.queued > 0:
        r, joined_s = state.back[desk.first], state.back_s[desk.first]
    if desk.arrived < len(arrival_s) and arrival_s[desk.arrived] < joined_s:
        r, joined_s = desk.arrived, arrival_s[desk.arrived]
    open_s = np.inf
    for i in range(len(state.place)):
        server = state.cluster.engine.server[i]
        if server.status == UP:
            open_s = 0.0
            break
        if server.status == LOADING:
            open_s = min(open_s, server.ready_s)
    return r, max(joined_s, desk.free_s, open_s, desk.now_s)


@inlined
def _forget(data: Elastic, state: FleetState, i: int, r: int, now_s: float) -> None:
    """What request r has computed at instance i is lost."""
    request = state.cluster.engine.request[r]
    if data.cluster.cache_tokens[0] > 0:
        leave(state.cluster.caches, i, request.tail, now_s)
        request.tail = NOBODY
    request.computed -= request.prefill_left
    request.context = 0
    request.prefill_left = data.cluster.requests.prompt_tokens[r] + request.generated


@inlined
def _send_back(data: Elastic, state: FleetState, i: int, now_s: float) -> None:
    """All requests of instance i go back to the router, in order of arrival; what they have put out stays."""
    engine, desk = state.cluster.engine, state.desk[0]
    for p in range(engine.server[i].decoding):
        _forget(data, state, i, engine.decoding[i, p], now_s)
    for p in range(engine.server[i].prefilling):
        _forget(data, state, i, engine.prefilling[i, p], now_s)
    for r in range(desk.arrived):
        if engine.request[r].place == i and not np.isfinite(engine.request[r].finish_s):
            engine.request[r].place = NOBODY
            k = (desk.first + desk.queued) % len(state.back)
            state.back[k], state.back_s[k] = r, now_s
            desk.queued += 1


@kernel
def _fail(data: Elastic, state: FleetState, i: int, now_s: float) -> None:
    """What is at place i fails."""
    wake(data, state, now_s)
    status = state.cluster.engine.server[i].status
    if status == LOADING:
        shut(data, state, i, now_s)
    elif status != DOWN:
        run_to(data.cluster, state.cluster, now_s, i)
        if status == DRAINING and is_empty(state, i):
            shut(data, state, i, _end_s(state, i))
        else:
            _send_back(data, state, i, now_s)
            shut(data, state, i, now_s)


@inlined
def _longer(array: np.ndarray, used: int) -> np.ndarray:
    """The array itself, or a copy of twice its length, with room for another entry."""
    if used < len(array):
        return array
    longer = np.empty(2 * len(array), array.dtype)
    longer[:used] = array
    return longer


@inlined
def _with_room(state: FleetState, record: Record) -> Record:
    """The record, with room for one more request that is sent, and for a move of each place."""
    sends, moves = state.desk[0].sends, record.moves
    if state.desk[0].moves + 2 * len(state.place) > len(moves):
        moves = np.empty(2 * len(record.moves) + 2 * len(state.place), np.int64)
        moves[: state.desk[0].moves] = record.moves[: state.desk[0].moves]
    return Record(
        _longer(record.log, sends),
        _longer(record.sent_s, sends),
        _longer(record.pool, sends),
        _longer(record.work_us, sends),
        moves,
    )


@inlined
def _note(data: Elastic, state: FleetState, record: Record, r: int, sent_s: float) -> None:
    """Request r has been sent: it leaves the router's queue."""
    desk, requests = state.desk[0], data.cluster.requests
    request, k = state.cluster.engine.request[r], desk.sends
    i = state.cluster.log[r] & ((1 << SERVER_BITS) - 1)
    own = at_server(data.cluster, i)
    record.log[k], record.sent_s[k], record.pool[k] = state.cluster.log[r], sent_s, data.cluster.kind[i]
    record.work_us[k] = work_us(own, int(request.score), requests.prompt_tokens[r], requests.predicted_output[r])
    desk.sends += 1
    desk.free_s = sent_s
    if r == desk.arrived:
        desk.arrived += 1
    else:
        desk.first = (desk.first + 1) % len(state.back)
        desk.queued -= 1


@inlined
def _scaling(data: Elastic, state: FleetState, record: Record) -> Scaling:
    """Close the books."""
    n, horizon_s, desk = len(state.back), data.cluster.time_s[HORIZON], state.desk[0]
    first, finish, gap, computed = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        request = state.cluster.engine.request[r]
        first[r], finish[r], gap[r] = request.first_token_s, request.finish_s, request.worst_gap_s
        computed[r] = request.computed
    paid_s = np.empty(len(state.place))
    for i in range(len(state.place)):
        server, place, end_s = state.cluster.engine.server[i], state.place[i], horizon_s
        if server.status == UP:
            end_s = max(horizon_s, server.now_s)
        elif server.status == DRAINING:
            end_s = _end_s(state, i)
        paid_s[i] = place.paid_s + (end_s - place.begun_s if server.status != DOWN else 0.0)
    sent_s, log, moves = record.sent_s[: desk.sends], record.log[: desk.sends], record.moves[: desk.moves]
    return Scaling(first, finish, gap, computed, sent_s.copy(), log.copy(), moves.copy(), paid_s)


@kernel
def fleet_scaling(instance: Elastic, scale: Scale, route: Route, theta: np.ndarray) -> Scaling:
    """Serve what comes until the horizon, with as many instances as the rule wants."""
    opened, data = open_fleet(instance), borrow(instance)
    state = borrow(opened)
    record, desk, horizon_s = open_record(data, state), state.desk[0], data.cluster.time_s[HORIZON]
    while True:
        record = _with_room(state, record)
        r, decided_s = _next_request(data, state)
        tick_s = desk.tick * data.control_s[TICK]
        if desk.failed < len(data.fail_s) and data.fail_s[desk.failed] <= min(tick_s, decided_s):
            _fail(data, state, data.fail_place[desk.failed], data.fail_s[desk.failed])
            desk.failed += 1
        elif min(tick_s, decided_s) >= horizon_s:
            break
        elif tick_s <= decided_s:
            wake(data, state, tick_s)
            _look(data, state, tick_s)
            decide(data, state, record, tick_s, scale, theta)
            desk.tick += 1
        else:
            wake(data, state, decided_s)
            _look(data, state, decided_s)
            route_request(data.cluster, state.cluster, r, decided_s, desk.report_s, route, theta)
            _note(data, state, record, r, decided_s + data.cluster.router_s[DECIDING])
    run_to(data.cluster, state.cluster, np.inf, ALL)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return _scaling(instance, opened, record)
