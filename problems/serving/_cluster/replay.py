"""Replay of a router's log: what its decisions lead to.

Written apart from the engine: no leaps, no reports, no running totals, every server by itself and step by step. From
the log come the servers; what they then do is computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import kernel
from problems.problem import Infeasible
from problems.serving._cluster.cache import open_caches
from problems.serving._cluster.data import DECIDING, DECODE, Cluster, at_server
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.log import SERVER_BITS, sent_to
from problems.serving._cluster.service import Shared, begin, serve_until
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import open_ledger


class Replayed(NamedTuple):
    """What a log leads to."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    sent_s: np.ndarray  # (n,) float64
    computed_tokens: np.ndarray  # (n,) int64
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the last server stopped


@kernel
def replay(instance: Cluster, log: np.ndarray) -> Replayed:
    """Follow a log of valid entries."""
    data, n = borrow(instance), len(instance.requests.arrival_s)
    opened = open_ledger(at_server(instance, 0), False)
    kept = Shared(open_caches(instance), np.full(n, NOBODY), np.zeros(n, np.int64))
    ledger, shared = borrow(opened), borrow(kept)
    sent_s, free_s, now_s = np.empty(n), 0.0, 0.0
    for r in range(n):
        sent_s[r] = max(data.requests.arrival_s[r], free_s) + data.router_s[DECIDING]
        free_s = sent_s[r]
    server = log & ((1 << SERVER_BITS) - 1)
    for i in range(len(data.kind)):
        begin(ledger, 0.0)
        serve_until(data, ledger, shared, i, np.flatnonzero(server == i), sent_s, np.inf)
        now_s = max(now_s, ledger.book[0].now_s)
    first, finish, gap, generated = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        first[r] = opened.job[r].first_s
        finish[r] = opened.job[r].finish_s
        gap[r] = opened.job[r].gap_s
        generated[r] = opened.job[r].generated
    return Replayed(first, finish, gap, sent_s, kept.computed.copy(), generated, now_s)


_TIMES = ("first_token_s", "finish_s", "worst_gap_s", "sent_s")


def verify(data: Cluster, solution: Routing) -> None:
    """Check that each request went to a server that takes it, and that all else follows from that.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    n = len(data.requests.arrival_s)
    for name, array in solution._asdict().items():
        kind = np.float64 if name in _TIMES else np.int64
        if array.dtype != kind or array.shape != (n,):
            raise Infeasible(
                f"{name} must be a {np.dtype(kind)} array of shape ({n},), got {array.dtype} of shape {array.shape}"
            )
    server = solution.log & ((1 << SERVER_BITS) - 1)
    for r in np.flatnonzero(solution.log != sent_to(np.arange(n), server))[:1]:
        raise Infeasible(f"log entry {r} must be about request {r}, got {solution.log[r]}")
    for r in np.flatnonzero(server >= len(data.kind))[:1]:
        raise Infeasible(f"request {r} goes to server {server[r]}, but there are {len(data.kind)}")
    for r in np.flatnonzero(data.role[server] == DECODE)[:1]:
        raise Infeasible(f"request {r} goes to server {server[r]}, which only decodes")
    found = replay(data, np.ascontiguousarray(solution.log))
    for name in (*_TIMES, "computed_tokens"):
        given, computed = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} of request {r} is {given[r]}, but the log leads to {computed[r]}")
