"""Metrics of served requests, each defined once; refused and unfinished requests count at their worst."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import kernel
from problems.serving._server.engine import Timeline
from problems.serving._server.log import EVICT
from problems.serving._server.machine import HORIZON, MAX_PREFILL, Serving, unpack_cost
from problems.serving._server.requests import Requests

RAW_UNITS = {
    "normalised_latency": "ms/token",
    "mean_ttft": "s",
    "p99_ttft": "s",
    "p99_gap": "s",
    "p99_latency": "s",
    "slo_attainment": "%",
    "unfinished": "%",
    "preemptions": "1/request",
}


class Served(Protocol):
    """What became of each request; infinite: it did not come to that."""

    @property
    def first_token_s(self) -> np.ndarray: ...
    @property
    def finish_s(self) -> np.ndarray: ...
    @property
    def worst_gap_s(self) -> np.ndarray: ...


def measure(data: Serving, solution: Timeline) -> dict[str, float]:
    """Raw metrics of one instance, see measure_served."""
    preemptions = np.count_nonzero(solution.log & 3 == EVICT) / len(solution.finish_s)
    return measure_served(data.requests, float(data.time_s[HORIZON]), solution) | {"preemptions": float(preemptions)}


def measure_served(requests: Requests, horizon_s: float, solution: Served) -> dict[str, float]:
    """Metrics of served requests.

    Normalised latency is the time from arrival to the last token over the number of output tokens; TTFT
    the time to the first one; the gap of a request its longest time between two tokens. A request attains
    its objective if TTFT and the mean time per further token keep their promises. What has not finished has
    run, and made wait, until the end of the simulation.
    """
    finished = np.isfinite(solution.finish_s)
    end_s = max(horizon_s, float(solution.finish_s[finished].max(initial=0.0)))
    ttft_s = np.where(finished, solution.first_token_s, end_s) - requests.arrival_s
    latency_s = np.where(finished, solution.finish_s, end_s) - requests.arrival_s
    gap_s = np.where(finished, solution.worst_gap_s, latency_s)
    return {
        "normalised_latency": float(1e3 * np.mean(latency_s / requests.output_tokens)),
        "mean_ttft": float(np.mean(ttft_s)),
        "p99_ttft": float(np.quantile(ttft_s, 0.99)),
        "p99_gap": float(np.quantile(gap_s, 0.99)),
        "p99_latency": float(np.quantile(latency_s, 0.99)),
        "slo_attainment": attained(requests, ttft_s, latency_s, finished),
        "unfinished": float(100.0 * np.mean(~finished)),
    }


def attained(requests: Requests, ttft_s: np.ndarray, latency_s: np.ndarray, finished: np.ndarray) -> float:
    """Per cent of requests whose promises are kept."""
    tpot_s = (latency_s - ttft_s) / np.maximum(requests.output_tokens - 1, 1)
    kept = finished & (ttft_s <= requests.ttft_slo_s) & (tpot_s <= requests.tpot_slo_s)
    return float(100.0 * np.mean(kept))


@kernel
def alone(data: Serving, cached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """TTFT and latency in seconds of each request if it had the server for itself from its arrival on.

    Of the prompt of request r, cached[r] tokens need not be computed. No schedule is faster: a step takes no less
    with more in it, and a prompt no less in several steps.
    """
    cost, n = unpack_cost(data), len(data.requests.arrival_s)
    ttft_s, latency_s = np.zeros(n), np.zeros(n)
    for r in range(n):
        prompt, done = data.requests.prompt_tokens[r], cached[r]
        while done < prompt:
            chunk = min(prompt - done, data.limit[MAX_PREFILL])
            ttft_s[r] += step_seconds(cost, chunk, chunk * (done + 0.5 * chunk), 0, 0.0)
            done += chunk
        latency_s[r] = ttft_s[r]
        for k in range(data.requests.output_tokens[r] - 1):
            latency_s[r] += step_seconds(cost, 0, 0.0, 1, float(prompt + k))
    return ttft_s, latency_s


def lower_bounds(data: Serving) -> dict[str, float]:
    """What each metric would be if every request had the server for itself."""
    nothing = np.zeros(len(data.requests.arrival_s), dtype=np.int64)
    return bounds_of(data.requests, *alone(data, nothing))


def bounds_of(requests: Requests, ttft_s: np.ndarray, latency_s: np.ndarray) -> dict[str, float]:
    """Metrics of requests with these times to first token and latencies."""
    return {
        "normalised_latency": float(1e3 * np.mean(latency_s / requests.output_tokens)),
        "mean_ttft": float(np.mean(ttft_s)),
        "p99_ttft": float(np.quantile(ttft_s, 0.99)),
        "p99_latency": float(np.quantile(latency_s, 0.99)),
        "slo_attainment": attained(requests, ttft_s, latency_s, np.ones(len(ttft_s), np.bool_)),
    }
