"""What makes a solution of serving/fleet_scaling feasible."""

from __future__ import annotations

import numpy as np

from problems.problem import Infeasible
from problems.serving._fleet.books import BROKEN, FINE
from problems.serving._fleet.data import Elastic
from problems.serving._fleet.engine import Scaling
from problems.serving._fleet.replay import replay

_TIMES = ("first_token_s", "finish_s", "worst_gap_s", "sent_s", "paid_s")


def verify(data: Elastic, solution: Scaling) -> None:
    """Check that instances come and go and requests are sent as the rules say, and that all else follows from that.

    Raises
    ------
    Infeasible
        Naming the entry of the log, the request or the place, and the rule.
    """
    n, places, sends = len(data.cluster.requests.arrival_s), len(data.cluster.kind), len(np.atleast_1d(solution.log))
    lengths = {"sent_s": sends, "log": sends, "moves": len(np.atleast_1d(solution.moves)), "paid_s": places}
    for name, array in solution._asdict().items():
        kind, shape = np.float64 if name in _TIMES else np.int64, (lengths.get(name, n),)
        if array.dtype != kind or array.shape != shape:
            raise Infeasible(
                f"{name} must be a {np.dtype(kind)} array of shape {shape}, got {array.dtype} of shape {array.shape}"
            )
    for name in ("log", "moves"):
        for k in np.flatnonzero(getattr(solution, name) < 0)[:1]:
            raise Infeasible(f"entry {k} of {name} must not be negative, got {getattr(solution, name)[k]}")
    found = replay(data, np.ascontiguousarray(solution.log), np.ascontiguousarray(solution.moves))
    if found.broken != FINE:
        raise Infeasible(BROKEN[found.broken].format(at=found.at, value=found.value))
    for name in (*_TIMES, "computed_tokens"):
        given, computed = getattr(solution, name), getattr(found, name)
        for k in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} at {k} is {given[k]}, but the log leads to {computed[k]}")
