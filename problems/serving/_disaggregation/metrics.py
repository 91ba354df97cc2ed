"""Metrics of serving/prefill_decode, and what bounds them."""

from __future__ import annotations

import numpy as np

from problems.serving._cluster.data import DECIDING, at_server
from problems.serving._disaggregation.data import Deployment
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._server.machine import HORIZON, MAX_PREFILL
from problems.serving._server.metrics import alone
from problems.serving._server.requests import Requests

RAW_UNITS = {
    "promise_ratio": "1",
    "slo_attainment": "%",
    "mean_ttft": "s",
    "p99_ttft": "s",
    "mean_tpot": "s",
    "p99_tpot": "s",
    "mean_latency": "s",
    "unfinished": "%",
}


def measure(data: Deployment, solution: Disaggregation) -> dict[str, float]:
    """Raw metrics of one instance.

    TTFT is the time from arrival to the first token, TPOT that from the first to the last, transfer and waits
    included, over the number of tokens after the first. The promise ratio of a request is the larger of TTFT and TPOT
    over what was promised. What has not finished has waited for its first token, and has run, until the end of the
    simulation, and keeps no promise.
    """
    requests = data.cluster.requests
    finished = np.isfinite(solution.finish_s)
    end_s = max(float(data.cluster.time_s[HORIZON]), float(solution.finish_s[finished].max(initial=0.0)))
    ttft_s = np.where(finished, solution.first_token_s, end_s) - requests.arrival_s
    latency_s = np.where(finished, solution.finish_s, end_s) - requests.arrival_s
    decode_s = np.where(finished, latency_s - ttft_s, latency_s)
    return _metrics(requests, ttft_s, decode_s, finished) | {
        "mean_latency": float(latency_s.mean()),
        "unfinished": float(100.0 * np.mean(~finished)),
    }


def _metrics(requests: Requests, ttft_s: np.ndarray, decode_s: np.ndarray, finished: np.ndarray) -> dict[str, float]:
    tpot_s = decode_s / np.maximum(requests.output_tokens - 1, 1)
    ratio = np.maximum(ttft_s / requests.ttft_slo_s, tpot_s / requests.tpot_slo_s)
    return {
        "promise_ratio": float(ratio.mean()),
        "slo_attainment": float(100.0 * np.mean(finished & (ratio <= 1.0))),
        "mean_ttft": float(ttft_s.mean()),
        "p99_ttft": float(np.quantile(ttft_s, 0.99)),
        "mean_tpot": float(tpot_s.mean()),
        "p99_tpot": float(np.quantile(tpot_s, 0.99)),
    }


def lower_bounds(data: Deployment) -> dict[str, float]:
    """What each metric would be if each phase of each request had the instance that suits it best for itself.

    Its prompt is one step there, which no number of steps beats; its cache is there at once.
    """
    requests, kinds = data.cluster.requests, len(data.cluster.limit)
    nothing, times = np.zeros(len(requests.arrival_s), dtype=np.int64), []
    for k in range(kinds):
        own = at_server(data.cluster, int(np.flatnonzero(data.cluster.kind == k)[0]))
        limit = np.where(np.arange(len(own.limit)) == MAX_PREFILL, 2**40, own.limit)
        limit.setflags(write=False)
        times.append(alone(own._replace(limit=limit), nothing))
    ttft_s = data.cluster.router_s[DECIDING] + np.min([first for first, _ in times], axis=0)
    decode_s = np.min([last - first for first, last in times], axis=0)
    found = _metrics(requests, ttft_s, decode_s, np.ones(len(ttft_s), np.bool_))
    return found | {"mean_latency": float((ttft_s + decode_s).mean())}
