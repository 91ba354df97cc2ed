"""Solutions of serving/kv_offloading are what their logs lead to, or refused."""

from __future__ import annotations

import numpy as np

from problems.problem import Infeasible
from problems.serving._offloading.data import Offloading
from problems.serving._offloading.engine import Offloaded
from problems.serving._offloading.ledger import FINE, RULES, STARTED, WRONG, Replay
from problems.serving._offloading.replay import replay

_LOGS = ("loads", "evictions", "fetches")


def _check_shapes(data: Offloading, solution: Offloaded) -> None:
    """Raise Infeasible where an array of a solution has another shape or type than it must have."""
    n = len(data.caching.arrival_s)
    sizes = {name: getattr(solution, name).size for name in ("loaded", "evicted", "fetched")}
    for name in Offloaded._fields:
        array, size = getattr(solution, name), sizes.get(name.removesuffix("_s"), n)
        dtype = np.dtype(np.float64 if name.endswith("_s") else np.int64)
        if array.shape != (size,) or array.dtype != dtype:
            raise Infeasible(f"{name} must be {(size,)} {dtype}, got {array.shape} {array.dtype}")


def verify(data: Offloading, solution: Offloaded) -> None:
    """Check that what went and came was legal, no more and no less than needed, and that all times follow from it.

    Raises
    ------
    Infeasible
        Naming the rule, the value and the request or entry.
    """
    _check_shapes(data, solution)
    found = followed(data, solution)
    if found.at[WRONG] != FINE:
        entries = (
            f"{found.at[k]} of {len(log)} {what}" for k, log, what in zip(range(3), solution[3:6], _LOGS, strict=True)
        )
        raise Infeasible(
            f"{RULES[int(found.at[WRONG])]}: after {found.at[STARTED]} starts, at entry {', '.join(entries)}"
        )
    for name in ("start_s", "ready_s", "finish_s"):
        claimed, true = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(claimed == true))[:1]:
            raise Infeasible(f"{name} of request {r} must be {true[r]!r}, which the log leads to, got {claimed[r]!r}")


def followed(data: Offloading, solution: Offloaded) -> Replay:
    """The replay of a solution, whatever the layout of its arrays."""
    return replay(data, Offloaded(*(np.ascontiguousarray(array) for array in solution)))
