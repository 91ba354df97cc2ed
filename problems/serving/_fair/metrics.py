"""Metrics of fairness and speed, each defined once; refused and unfinished requests count at their worst."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import kernel
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import HORIZON, MAX_PREFILL, Serving, unpack_cost
from problems.serving._server.replay import replay

RAW_UNITS = {
    "service_gap": "ktoken",
    "p99_ttft": "s",
    "mean_ttft": "s",
    "worst_client_ttft": "s",
    "normalised_latency": "ms/token",
    "prefix_hits": "%",
    "unfinished": "%",
}


def measure(data: Serving, solution: Timeline) -> dict[str, float]:
    """Raw metrics of one instance.

    The service gap is the largest difference of service between two clients over any time in which both had
    requests waiting; service is uncached prompt tokens and twice the output (thousands of tokens). The worst
    client's TTFT is the highest mean over one client's requests. What has not finished has made wait until the
    end of the simulation, and an instance in which nothing is served has the gap of all work at once.
    """
    requests = data.requests
    finished = np.isfinite(solution.finish_s)
    end_s = max(float(data.time_s[HORIZON]), float(solution.finish_s[finished].max(initial=0.0)))
    ttft_s = np.where(finished, solution.first_token_s, end_s) - requests.arrival_s
    latency_s = np.where(finished, solution.finish_s, end_s) - requests.arrival_s
    found = replay(data, np.ascontiguousarray(solution.log), False)
    withheld = float((requests.prompt_tokens + 2.0 * requests.output_tokens)[~finished].sum())
    return _times(data, ttft_s, latency_s) | {
        "service_gap": 1e-3 * (found.service_gap + withheld),
        "prefix_hits": 100.0 * found.hits / max(1.0, float(requests.prefix_tokens.sum())),
        "unfinished": float(100.0 * np.mean(~finished)),
    }


def _times(data: Serving, ttft_s: np.ndarray, latency_s: np.ndarray) -> dict[str, float]:
    requests = data.requests
    by_client = [float(ttft_s[requests.tenant == c].mean()) for c in np.unique(requests.tenant)]
    return {
        "p99_ttft": float(np.quantile(ttft_s, 0.99)),
        "mean_ttft": float(np.mean(ttft_s)),
        "worst_client_ttft": max(by_client),
        "normalised_latency": float(1e3 * np.mean(latency_s / requests.output_tokens)),
    }


@kernel
def _alone(data: Serving) -> tuple[np.ndarray, np.ndarray]:
    """TTFT and latency in seconds of each request alone on the server, with all of its prefix cached."""
    cost, n = unpack_cost(data), len(data.requests.arrival_s)
    ttft_s, latency_s = np.zeros(n), np.zeros(n)
    for r in range(n):
        prompt = data.requests.prompt_tokens[r]
        done = min(data.requests.prefix_tokens[r], prompt - 1)
        while done < prompt:
            chunk = min(prompt - done, data.limit[MAX_PREFILL])
            ttft_s[r] += step_seconds(cost, chunk, chunk * (done + 0.5 * chunk), 0, 0.0)
            done += chunk
        latency_s[r] = ttft_s[r]
        for k in range(data.requests.output_tokens[r] - 1):
            latency_s[r] += step_seconds(cost, 0, 0.0, 1, float(prompt + k))
    return ttft_s, latency_s


def lower_bounds(data: Serving) -> dict[str, float]:
    """What each metric would be if every request had the server for itself, and its prefix cached."""
    return _times(data, *_alone(data)) | {"service_gap": 0.0}


def vtc_bound(data: Serving) -> float:
    """Thousands of tokens by which service can differ under VTC (theorem of Sheng et al., 2024).

    Twice the larger of the longest prompt and twice the tokens that fit the KV cache.
    """
    capacity = int(data.limit[0] * data.limit[1])
    return 2e-3 * max(float(data.requests.prompt_tokens.max()), 2.0 * capacity)
