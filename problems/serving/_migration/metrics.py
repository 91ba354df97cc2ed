"""Metrics of serving/live_migration, and what bounds them."""

from __future__ import annotations

import numpy as np

from problems.serving._migration.data import Migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.log import JOINED, QUEUED
from problems.serving._routing.metrics import RAW_UNITS as ROUTED_UNITS
from problems.serving._routing.metrics import lower_bounds as routed_bounds
from problems.serving._server.machine import HORIZON
from problems.serving._server.metrics import measure_served

RAW_UNITS = ROUTED_UNITS | {
    "preemptions": "1/request",
    "moved_decoding": "1/request",
    "moved_waiting": "1/request",
    "mean_pause": "s",
}


def measure(data: Migrating, solution: Migration) -> dict[str, float]:
    """Raw metrics of one instance: those of serving/request_routing, and how often requests moved or were preempted.

    The pause is that of requests which moved while they decoded, from their last step at one server until the other
    had their KV cache; 0 if none did.
    """
    requests, n = data.cluster.requests, len(solution.finish_s)
    joined = solution.fate == JOINED
    pauses_s = solution.pause_s[joined]
    return measure_served(requests, float(data.cluster.time_s[HORIZON]), solution) | {
        "computed": float(100.0 * solution.computed_tokens.sum() / requests.prompt_tokens.sum()),
        "preemptions": float(solution.preemptions.mean()),
        "moved_decoding": float(joined.sum() / n),
        "moved_waiting": float(np.count_nonzero(solution.fate == QUEUED) / n),
        "mean_pause": float(pauses_s.mean()) if len(pauses_s) else 0.0,
    }


def lower_bounds(data: Migrating) -> dict[str, float]:
    """What each metric would be if every request had the server that suits it best for itself, with all cached."""
    return routed_bounds(data.cluster)
