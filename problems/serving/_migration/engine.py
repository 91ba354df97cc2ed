"""The engine of serving/live_migration: the cluster of _cluster/engine.py, whose servers hand requests on.

At each tick pairs of servers are asked which request moves. Until the next tick or report, servers that have a request
to hand on run first: then all that comes to the others is known before they run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DECIDING, DELAY, at_server
from problems.serving._cluster.log import SERVER_BITS
from problems.serving._cluster.router import Route, last_report_s, route_request
from problems.serving._cluster.state import receive, take_report
from problems.serving._cluster.step import admit, step
from problems.serving._migration.control import Pair, Pick, decide
from problems.serving._migration.data import Migrating
from problems.serving._migration.log import REQUEST_BITS
from problems.serving._migration.state import (
    Fates,
    MigrationState,
    change_hands,
    next_change_s,
    open_migration,
)
from problems.serving._server.machine import HORIZON


class Migration(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    sent_s: np.ndarray  # (n,) float64, when it left the router
    computed_tokens: np.ndarray  # (n,) int64, prefilled for it; less than its prompt if some of that was cached
    preemptions: np.ndarray  # (n,) int64
    log: np.ndarray  # (n,) int64, see _cluster/log.py
    moves: np.ndarray  # (moves,) int64, see _migration/log.py
    decided_s: np.ndarray  # (moves,) float64
    fate: np.ndarray  # (moves,) int64
    pause_s: np.ndarray  # (moves,) float64, see Fates


@inlined
def _advance(data: Migrating, state: MigrationState, fates: Fates, i: int, until_s: float) -> None:
    """Run the steps of server i that start before a time and end by it, as in _cluster/step.py."""
    cluster, engine = state.cluster, state.cluster.engine
    own, server = at_server(data.cluster, i), engine.server[i]
    before_s = min(until_s, own.time_s[HORIZON])
    while True:
        receive(own, engine, i)
        change_hands(data, state, fates, i)
        next_s = engine.request[server.sent_first].queued_s if server.sent_first >= 0 else np.inf
        next_s = min(next_s, next_change_s(state, i))
        if server.waiting + server.decoding + server.prefilling == 0:
            if next_s >= before_s:
                break
            server.now_s = max(server.now_s, next_s)
            continue
        if server.now_s >= before_s:
            break
        if server.look == 1 and server.begun == 0:
            admit(data.cluster, cluster, i)
        done = step(data.cluster, own, cluster, i, min(next_s, before_s), until_s)
        # Looked and preempted for this step already: not once more, when it is tried again.
        server.begun = 0 if done else 1
        if not done:
            break


@kernel
def _run_to(data: Migrating, state: MigrationState, fates: Fates, until_s: float) -> int:
    """Let all servers run to a time, those that hand requests on first; how many requests have finished."""
    data, state, fates = borrow(data), borrow(state), borrow(fates)
    finished = 0
    for i in range(len(state.moving)):
        state.moving[i].before_others = 1 if state.moving[i].out >= 0 else 0
    for turn in (1, 0):
        for i in range(len(state.moving)):
            if state.moving[i].before_others == turn:
                _advance(data, state, fates, i, until_s)
                finished += state.cluster.engine.server[i].finished
    return finished


@kernel
def _route_until(
    data: Migrating, state: MigrationState, r: int, free_s: float, report_s: float, route: Route, theta: np.ndarray
) -> tuple[int, float]:
    """Route all requests that are decided on with this report; the next one, and when the router is free."""
    data, state = borrow(data), borrow(state)
    cluster, arrival_s = data.cluster, data.cluster.requests.arrival_s
    while r < len(arrival_s):
        now_s = max(arrival_s[r], free_s)
        if last_report_s(cluster, now_s - cluster.router_s[DELAY]) > report_s:
            break
        route_request(cluster, state.cluster, r, now_s, report_s, route, theta)
        free_s = now_s + cluster.router_s[DECIDING]
        r += 1
    return r, free_s


@inlined
def _with_room(fates: Fates, used: int, more: int) -> Fates:
    """The record, with room for some more migrations."""
    if used + more <= len(fates.moves):
        return fates
    length = 2 * len(fates.moves) + more
    moves, fate, pause_s = np.empty(length, np.int64), np.zeros(length, np.int64), np.zeros(length)
    moves[:used], fate[:used], pause_s[:used] = fates.moves[:used], fates.fate[:used], fates.pause_s[:used]
    return Fates(moves, fate, pause_s)


@inlined
def _migration(data: Migrating, state: MigrationState, fates: Fates, used: int) -> Migration:
    cluster, n, free_s = data.cluster, len(state.cluster.log), 0.0
    first, finish, gap, sent_s = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    computed, preemptions = np.empty(n, np.int64), np.empty(n, np.int64)
    for r in range(n):
        request = state.cluster.engine.request[r]
        first[r], finish[r], gap[r] = request.first_token_s, request.finish_s, request.worst_gap_s
        computed[r], preemptions[r] = request.computed, request.preemptions
        free_s = max(cluster.requests.arrival_s[r], free_s) + cluster.router_s[DECIDING]
        sent_s[r] = free_s
    moves, fate, pause_s = fates.moves[:used].copy(), fates.fate[:used].copy(), fates.pause_s[:used].copy()
    log, decided_s = state.cluster.log.copy(), (moves >> (REQUEST_BITS + SERVER_BITS)) * data.tick_s[0]
    return Migration(first, finish, gap, sent_s, computed, preemptions, log, moves, decided_s, fate, pause_s)


@kernel
def live_migration(instance: Migrating, route: Route, pair: Pair, pick: Pick, theta: np.ndarray) -> Migration:
    """Route all requests, move some of them, and serve as many as the horizon leaves time for."""
    opened, data = open_migration(instance), borrow(instance)
    state, cluster = borrow(opened), data.cluster
    arrival_s, servers = cluster.requests.arrival_s, len(cluster.kind)
    n, r, free_s, used, tick = len(arrival_s), 0, 0.0, 0, 0
    fates = Fates(np.empty(servers, np.int64), np.zeros(servers, np.int64), np.zeros(servers))
    while True:
        report_s, tick_s = np.inf, tick * data.tick_s[0]
        if r < n:
            report_s = last_report_s(cluster, max(arrival_s[r], free_s) - cluster.router_s[DELAY])
        if tick_s >= cluster.time_s[HORIZON]:
            tick_s = np.inf
        at_s = min(report_s, tick_s)
        if at_s == np.inf or (_run_to(data, state, fates, at_s) == n and r == n):
            break
        for i in range(servers):
            take_report(at_server(cluster, i), state.cluster.engine, state.cluster.report, i, at_s)
        if tick_s <= report_s:
            fates = _with_room(fates, used, servers)
            used = decide(data, state, fates, used, tick, pair, pick, theta)
            tick += 1
        else:
            r, free_s = _route_until(data, state, r, free_s, report_s, route, theta)
    _run_to(data, state, fates, np.inf)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return _migration(instance, opened, fates, used)
