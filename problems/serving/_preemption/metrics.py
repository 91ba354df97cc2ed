"""Metrics of two classes of requests, each defined once; refused and unfinished requests count at their worst."""

from __future__ import annotations

import numpy as np

from problems.serving._server.engine import Timeline
from problems.serving._server.log import CODE_MASK, CUT, EVICT, KIND_BITS, SWAP, WAIT
from problems.serving._server.machine import HORIZON, Serving
from problems.serving._server.metrics import alone

RAW_UNITS = {
    "slo_attainment": "%",
    "urgent_attainment": "%",
    "urgent_mean_ttft": "s",
    "urgent_p99_ttft": "s",
    "best_effort_latency": "ms/token",
    "best_effort_mean_ttft": "s",
    "unfinished": "%",
    "recomputations": "1/request",
    "swaps": "1/request",
    "cuts": "1/request",
}


def measure(data: Serving, solution: Timeline) -> dict[str, float]:
    """Raw metrics of one instance; what has not finished has run, and made wait, until the end of the simulation."""
    finished = np.isfinite(solution.finish_s)
    end_s = max(float(data.time_s[HORIZON]), float(solution.finish_s[finished].max(initial=0.0)))
    ttft_s = np.where(finished, solution.first_token_s, end_s) - data.requests.arrival_s
    latency_s = np.where(finished, solution.finish_s, end_s) - data.requests.arrival_s
    codes = solution.log[solution.log & 3 == WAIT] >> KIND_BITS & CODE_MASK
    n = len(finished)
    return _by_class(data, ttft_s, latency_s, finished) | {
        "unfinished": float(100.0 * np.mean(~finished)),
        "recomputations": float(np.count_nonzero(solution.log & 3 == EVICT) / n),
        "swaps": float(np.count_nonzero(codes == SWAP) / n),
        "cuts": float(np.count_nonzero(codes == CUT) / n),
    }


def _by_class(data: Serving, ttft_s: np.ndarray, latency_s: np.ndarray, finished: np.ndarray) -> dict[str, float]:
    requests, urgent = data.requests, data.requests.priority == 0
    tpot_s = (latency_s - ttft_s) / np.maximum(requests.output_tokens - 1, 1)
    kept = finished & (ttft_s <= requests.ttft_slo_s) & (tpot_s <= requests.tpot_slo_s)
    return {
        "slo_attainment": float(100.0 * np.mean(kept)),
        "urgent_attainment": 100.0 * _mean(kept[urgent]),
        "urgent_mean_ttft": _mean(ttft_s[urgent]),
        "urgent_p99_ttft": float(np.quantile(ttft_s[urgent], 0.99)) if urgent.any() else 0.0,
        "best_effort_latency": 1e3 * _mean((latency_s / requests.output_tokens)[~urgent]),
        "best_effort_mean_ttft": _mean(ttft_s[~urgent]),
    }


def _mean(values: np.ndarray) -> float:
    """Mean; 0 of a class without requests."""
    return float(np.mean(values)) if len(values) else 0.0


def lower_bounds(data: Serving) -> dict[str, float]:
    """What each metric would be if every request had the server for itself, and no step were cut."""
    ttft_s, latency_s = alone(data, np.zeros(len(data.requests.arrival_s), dtype=np.int64))
    found = _by_class(data, ttft_s, latency_s, np.ones(len(ttft_s), np.bool_))
    return {name: value for name, value in found.items() if name != "urgent_attainment"}  # no objective, no direction
