"""The cluster engine: a router sends requests to servers, each of which works as in _cluster_step.

Servers meet only in the router, which sees them by their load reports, and these are old. So all requests that
fall between two reports are routed first; then each server runs to the next report by itself, knowing all that
comes to it until then, in steps and leaps as long as it likes. What happens is what one queue of events in
the order of their times would do, to the last digit. (Servers that hand requests on, such as those that only
prefill, have to run before the ones they hand them to.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DECIDING, DELAY, Cluster, at_server
from problems.serving._cluster.router import Route, last_report_s, route_request
from problems.serving._cluster.state import ClusterState, open_cluster, take_report
from problems.serving._cluster.step import advance


class Routing(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    sent_s: np.ndarray  # (n,) float64, when it left the router
    computed_tokens: np.ndarray  # (n,) int64, prefilled for it; less than its prompt if some of that was cached
    log: np.ndarray  # (n,) int64, see _cluster/log.py


@inlined
def _routing(data: Cluster, state: ClusterState) -> Routing:
    n, free_s, sent_s = len(state.log), 0.0, np.empty(len(state.log))
    first, finish, gap, computed = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        request = state.engine.request[r]
        first[r] = request.first_token_s
        finish[r] = request.finish_s
        gap[r] = request.worst_gap_s
        computed[r] = request.computed
        free_s = max(data.requests.arrival_s[r], free_s) + data.router_s[DECIDING]
        sent_s[r] = free_s
    return Routing(first, finish, gap, sent_s, computed, state.log.copy())


@kernel
def request_routing(instance: Cluster, route: Route, theta: np.ndarray) -> Routing:
    """Route all requests, and serve as many as the horizon leaves time for."""
    opened, data = open_cluster(instance), borrow(instance)
    state = borrow(opened)
    arrival_s, servers, r, free_s = data.requests.arrival_s, len(data.kind), 0, 0.0
    while True:
        report_s = np.inf
        if r < len(arrival_s):
            report_s = last_report_s(data, max(arrival_s[r], free_s) - data.router_s[DELAY])
        for i in range(servers):
            advance(data, state, i, report_s)
        if r == len(arrival_s):
            break
        for i in range(servers):
            take_report(at_server(data, i), state.engine, state.report, i, report_s)
        while r < len(arrival_s):
            now_s = max(arrival_s[r], free_s)
            if last_report_s(data, now_s - data.router_s[DELAY]) > report_s:
                break
            route_request(data, state, r, now_s, report_s, route, theta)
            free_s = now_s + data.router_s[DECIDING]
            r += 1
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return _routing(instance, opened)
