"""Metrics of serving/fleet_scaling, and what bounds them."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import GRID
from problems.serving._cluster.data import DECIDING, at_server
from problems.serving._fleet.data import Elastic
from problems.serving._fleet.engine import Scaling
from problems.serving._routing.metrics import repeated_tokens
from problems.serving._server.machine import HORIZON, unpack_cost
from problems.serving._server.metrics import RAW_UNITS as SERVED_UNITS
from problems.serving._server.metrics import alone, bounds_of, measure_served

RAW_UNITS = {
    "cost": "$/1000 requests",
    "instance_cost": "$/1000 requests",
    "instance_time": "%",
    "instance_hours": "h",
    "moves": "1/h",
    "sent_again": "%",
    "computed": "%",
} | {name: unit for name, unit in SERVED_UNITS.items() if name != "preemptions"}
HOUR_S = 3600.0


def measure(data: Elastic, solution: Scaling) -> dict[str, float]:
    """Raw metrics of one instance.

    The cost is what instances cost, and the penalty for each request whose promise is not kept, per thousand
    requests. Instance time is what is paid of all places until the horizon; moves are starts and stops.
    """
    requests, horizon_s, n = data.cluster.requests, float(data.cluster.time_s[HORIZON]), len(solution.finish_s)
    served = measure_served(requests, horizon_s, solution)
    missed = 1.0 - served["slo_attainment"] / 100.0
    dollars = float((solution.paid_s * data.price[data.cluster.kind]).sum()) / HOUR_S
    return served | {
        "cost": 1e3 * (dollars / n + float(data.penalty[0]) * missed),
        "instance_cost": 1e3 * dollars / n,
        "instance_time": float(100.0 * solution.paid_s.sum() / (len(solution.paid_s) * horizon_s)),
        "instance_hours": float(solution.paid_s.sum() / HOUR_S),
        "moves": float((len(solution.moves) - data.first.sum()) / (horizon_s / HOUR_S)),
        "sent_again": 100.0 * max(len(solution.log) - n, 0) / n,
        "computed": float(100.0 * solution.computed_tokens.sum() / requests.prompt_tokens.sum()),
    }


def busy_seconds(data: Elastic, pool: int, repeated: np.ndarray) -> np.ndarray:
    """(n,) float64 seconds that each request takes at least of an instance of a pool, however full it is.

    Tokens are computed in the batches that suit them best, attention as in any batch; what is in blocks of earlier
    requests is cached.
    """
    own, requests = at_server(data.cluster, int(np.flatnonzero(data.cluster.kind == pool)[0])), data.cluster.requests
    cost = unpack_cost(own)
    token_s = float((cost.layers_s[1:] / GRID[1:]).min())
    prompt, decoded = requests.prompt_tokens, requests.output_tokens - 1
    fresh = prompt - repeated
    attended = decoded * prompt + decoded * (decoded - 1) / 2.0
    pairs = fresh * (repeated + 0.5 * fresh)
    attention_s = cost.prefill_pair_s * pairs + cost.decode_context_s * attended
    return np.asarray((fresh + decoded) * token_s + attention_s + cost.sequence_s * decoded)


def lower_bounds(data: Elastic) -> dict[str, float]:
    """What no fleet is below.

    Times and promises are those of requests that each have the instance that suits them best for themselves. A
    request that can be in time costs its share of the best batch, or else the penalty; one that cannot costs the
    penalty. Where nothing fails, those that are always wanted are paid for until the horizon.
    """
    requests, pools, n = data.cluster.requests, len(data.least), len(data.cluster.requests.arrival_s)
    repeated = repeated_tokens(data.cluster)
    places = [int(np.flatnonzero(data.cluster.kind == k)[0]) for k in range(pools)]
    times = [alone(at_server(data.cluster, i), repeated) for i in places]
    deciding_s = data.cluster.router_s[DECIDING]
    ttft_s, latency_s = (deciding_s + np.min(each, axis=0) for each in zip(*times, strict=True))
    bounds = bounds_of(requests, ttft_s, latency_s)
    late = n * (1.0 - bounds["slo_attainment"] / 100.0)
    tpot_s = (latency_s - ttft_s) / np.maximum(requests.output_tokens - 1, 1)
    possible = (ttft_s <= requests.ttft_slo_s) & (tpot_s <= requests.tpot_slo_s)
    dollars = np.min([busy_seconds(data, k, repeated) * data.price[k] / HOUR_S for k in range(pools)], axis=0)
    penalty, horizon_s = float(data.penalty[0]), float(data.cluster.time_s[HORIZON])
    served = float(np.minimum(dollars, penalty)[possible].sum())
    kept_s = horizon_s * data.least if len(data.fail_s) == 0 else np.zeros(pools)
    kept = float((kept_s * data.price).sum()) / HOUR_S
    return bounds | {
        "cost": 1e3 * (max(served, kept) + penalty * late) / n,
        "instance_cost": 1e3 * kept / n,
        "instance_hours": float(kept_s.sum() / HOUR_S),
        "instance_time": float(100.0 * kept_s.sum() / (len(data.cluster.kind) * horizon_s)),
    }
