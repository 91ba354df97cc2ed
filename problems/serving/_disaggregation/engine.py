"""The engine of serving/prefill_decode: one queue of events, in the order of their times.

Of what happens at the same time, in this order: steps end, caches come, roles change, requests come, reports are
taken, reports come, roles are decided, the router decides, steps begin; each in order of instance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DELAY, PERIOD
from problems.serving._disaggregation.control import (
    Choose,
    Turn,
    arrive,
    come,
    grant,
    hand,
    send,
    settle,
    tick,
    turn_to,
)
from problems.serving._disaggregation.data import TICK, Deployment
from problems.serving._disaggregation.state import IN_STEP, Deployed, open_deployment, take_reports
from problems.serving._disaggregation.step import begin_step, end_step, wake
from problems.serving._server.machine import HORIZON

END, MOVED, READY, COMES, REPORT, KNOWN, TURN, ROUTED, BEGIN, NOTHING = range(10)


class Disaggregation(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    moved_s: np.ndarray  # (n,) float64, when its cache came to where it was decoded, inf if it did not move
    decided_s: np.ndarray  # (entries,) float64, when each decision of the log was taken
    log: np.ndarray  # (entries,) int64, see log.py


class Event(NamedTuple):
    """What happens next."""

    at_s: float
    kind: int
    i: int


@inlined
def _earlier(now: Event, at_s: float, kind: int, i: int, before_s: float) -> Event:
    """The earlier of two events; of those at the same time, the lower kind, and then the one found first.

    After the horizon only steps end that have begun before.
    """
    sooner = at_s < now.at_s or (at_s == now.at_s and kind < now.kind)
    if sooner and (at_s < before_s or kind == END):
        return Event(at_s, kind, i)
    return now


@inlined
def _next_event(data: Deployment, state: Deployed) -> Event:
    seen, cluster, found = state.controller[0], data.cluster, Event(np.inf, NOTHING, 0)
    end_s = cluster.time_s[HORIZON]
    for i in range(len(state.place)):
        at = state.place[i]
        found = _earlier(found, at.next_s, END if at.phase == IN_STEP else BEGIN, i, end_s)
        if at.moving >= 0:
            found = _earlier(found, state.moved_s[at.moving], MOVED, i, end_s)
        found = _earlier(found, at.ready_s, READY, i, end_s)
    if seen.come < seen.routed:
        found = _earlier(found, state.sent_s[seen.come], COMES, 0, end_s)
    if seen.routed < len(state.home):
        found = _earlier(found, max(cluster.requests.arrival_s[seen.routed], seen.router_s), ROUTED, 0, end_s)
    found = _earlier(found, seen.reports * cluster.router_s[PERIOD], REPORT, 0, end_s)
    if seen.known + 1 < seen.reports:
        known_s = (seen.known + 1) * cluster.router_s[PERIOD] + cluster.router_s[DELAY]
        found = _earlier(found, known_s, KNOWN, 0, end_s)
    return _earlier(found, seen.ticks * data.control_s[TICK], TURN, 0, end_s)


@inlined
def _end(data: Deployment, state: Deployed, i: int, now_s: float, decode: Choose, theta: np.ndarray) -> None:
    """A step of instance i ends: prompts go elsewhere, and others come."""
    leaving = end_step(data, state, i)
    for k in range(leaving):
        hand(data, state, state.engine.left[k], now_s, decode, theta)
    server, at = state.engine.server[i], state.place[i]
    if at.pending >= 0:
        grant(data, state, i, now_s)
    came = at.first >= 0 and at.first != at.moving
    if server.waiting + server.decoding + server.prefilling > 0 or came:
        wake(state, i, now_s)
    else:
        settle(data, state, i, now_s)


@inlined
def _solution(state: Deployed) -> Disaggregation:
    n = len(state.home)
    first, finish, gap = np.empty(n), np.empty(n), np.empty(n)
    for r in range(n):
        request = state.engine.request[r]
        first[r] = request.first_token_s
        finish[r] = request.finish_s
        gap[r] = request.worst_gap_s
    logged = state.controller[0].logged
    decided_s, log = state.logged_s[:logged].copy(), state.log[:logged].copy()
    return Disaggregation(first, finish, gap, state.moved_s.copy(), decided_s, log)


@kernel
def prefill_decode(
    instance: Deployment, prefill: Choose, decode: Choose, role: Turn, theta: np.ndarray
) -> Disaggregation:
    """Serve as many requests as the horizon leaves time for."""
    opened, data = open_deployment(instance), borrow(instance)
    state = borrow(opened)
    seen, n = state.controller[0], len(state.home)
    take_reports(data, state, seen.known)  # that of time 0 is known at once
    seen.reports = 1
    while seen.finished < n:
        now = _next_event(data, state)
        if now.kind == NOTHING:
            break
        if now.kind == END:
            _end(data, state, now.i, now.at_s, decode, theta)
        elif now.kind == BEGIN:
            begin_step(data, state, now.i, now.at_s)
            settle(data, state, now.i, now.at_s)
        elif now.kind == MOVED:
            home = state.home[state.place[now.i].moving]
            arrive(data, state, now.i)
            settle(data, state, home, now.at_s)
        elif now.kind == READY:
            turn_to(state, now.i)
        elif now.kind == COMES:
            come(data, state, now.at_s)
        elif now.kind == REPORT:
            take_reports(data, state, seen.reports % 2)
            seen.reports += 1
        elif now.kind == KNOWN:
            seen.known += 1
        elif now.kind == TURN:
            tick(data, state, now.at_s, role, theta)
        else:
            send(data, state, now.at_s, prefill, theta)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return _solution(opened)
