"""What makes a solution of serving/live_migration feasible."""

from __future__ import annotations

import numpy as np

from problems.problem import Infeasible
from problems.serving._cluster.log import SERVER_BITS, sent_to
from problems.serving._migration.data import Migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.log import REQUEST_BITS
from problems.serving._migration.replay import FINE, replay

# By rule, see _migration/replay.py
BROKEN = (
    "",
    "entry {entry} of moves names server {target}, which is where request {request} is or is none of the servers",
    "entry {entry} of moves is about request {request}, which neither decodes nor waits anywhere at tick {tick}",
    "entry {entry} of moves is about a server that takes part in another migration at tick {tick}",
    "entry {entry} of moves comes after the end or before the one before it, at tick {tick}",
)

_TIMES = ("first_token_s", "finish_s", "worst_gap_s", "sent_s", "decided_s", "pause_s")


def verify(data: Migrating, solution: Migration) -> None:
    """Check that requests go to servers and move between them as they may, and that all else follows from that.

    Raises
    ------
    Infeasible
        Naming the entry, or the request, and the rule.
    """
    n, moves = len(data.cluster.requests.arrival_s), len(np.atleast_1d(solution.moves))
    for name, array in solution._asdict().items():
        kind = np.float64 if name in _TIMES else np.int64
        shape = (moves,) if name in ("moves", "decided_s", "fate", "pause_s") else (n,)
        if array.dtype != kind or array.shape != shape:
            raise Infeasible(
                f"{name} must be a {np.dtype(kind)} array of shape {shape}, got {array.dtype} of shape {array.shape}"
            )
    server = solution.log & ((1 << SERVER_BITS) - 1)
    for r in np.flatnonzero(solution.log != sent_to(np.arange(n), server))[:1]:
        raise Infeasible(f"log entry {r} must be about request {r}, got {solution.log[r]}")
    for r in np.flatnonzero(server >= len(data.cluster.kind))[:1]:
        raise Infeasible(f"request {r} goes to server {server[r]}, but there are {len(data.cluster.kind)}")
    for k in np.flatnonzero(solution.moves < 0)[:1]:
        raise Infeasible(f"entry {k} of moves must not be negative, got {solution.moves[k]}")
    found = replay(data, np.ascontiguousarray(solution.log), np.ascontiguousarray(solution.moves))
    if found.broken != FINE:
        move = int(solution.moves[found.entry])
        raise Infeasible(
            BROKEN[found.broken].format(
                entry=found.entry,
                target=move & ((1 << SERVER_BITS) - 1),
                request=(move >> SERVER_BITS) & ((1 << REQUEST_BITS) - 1),
                tick=move >> (SERVER_BITS + REQUEST_BITS),
            )
        )
    for name in (*_TIMES, "computed_tokens", "preemptions", "fate"):
        given, computed = getattr(solution, name), getattr(found, name)
        for k in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} at {k} is {given[k]}, but the log leads to {computed[k]}")
