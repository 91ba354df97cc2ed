"""Metrics of serving/request_routing, and what bounds them."""

from __future__ import annotations

import numpy as np

from problems.serving._cluster.data import DECIDING, Cluster, at_server
from problems.serving._cluster.engine import Routing
from problems.serving._server.machine import HORIZON
from problems.serving._server.metrics import RAW_UNITS as SERVED_UNITS
from problems.serving._server.metrics import alone, bounds_of, measure_served

RAW_UNITS = {name: unit for name, unit in SERVED_UNITS.items() if name != "preemptions"} | {"computed": "%"}


def measure(data: Cluster, solution: Routing) -> dict[str, float]:
    """Raw metrics of one instance: those of one server, and prompt tokens computed over prompt tokens."""
    computed = 100.0 * solution.computed_tokens.sum() / data.requests.prompt_tokens.sum()
    return measure_served(data.requests, float(data.time_s[HORIZON]), solution) | {"computed": float(computed)}


def repeated_tokens(data: Cluster) -> np.ndarray:
    """(n,) int64 leading prompt tokens that are in full blocks of earlier requests: no cache has more."""
    size, highest, found = int(data.cache_tokens[0]), -1, np.zeros(len(data.requests.arrival_s), dtype=np.int64)
    for r in range(len(found)):
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        if size and len(path):
            # Blocks are numbered as they come up.
            old = np.append(path > highest, True).argmax()
            found[r] = size * min(int(old), int(data.requests.prompt_tokens[r] - 1) // size)
            highest = max(highest, int(path.max()))
    return found


def lower_bounds(data: Cluster) -> dict[str, float]:
    """What each metric would be if every request had the server that suits it best for itself, with all cached."""
    repeated, kinds = repeated_tokens(data), len(data.limit)
    times = [alone(at_server(data, int(np.flatnonzero(data.kind == k)[0])), repeated) for k in range(kinds)]
    ttft_s, latency_s = (data.router_s[DECIDING] + np.min(each, axis=0) for each in zip(*times, strict=True))
    return bounds_of(data.requests, ttft_s, latency_s)
