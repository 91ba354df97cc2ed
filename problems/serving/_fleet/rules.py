"""Published rules for the size of a fleet, each with the routing that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._cluster.views import Instance, Request
from problems.serving._fleet.clairvoyant import clairvoyant
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._routing.rules import freest, least_ttft


def all_places(pool: Pool, fleet: Fleet) -> float:
    """All that there is place for, which is enough for the peak."""
    return pool.most


def as_at_first(pool: Pool, fleet: Fleet) -> float:
    """As many as are up at first, which is enough for the mean load."""
    return pool.wanted


def freeness_thresholds(pool: Pool, fleet: Fleet) -> float:
    """One more below 10 free blocks per request, one less above 60, every 10 s at most."""
    if min(pool.since_start, pool.since_stop) < 10.0:
        return pool.wanted
    if pool.remaining_steps < 10.0:
        return pool.wanted + 1.0
    if pool.remaining_steps > 60.0:
        return pool.wanted - 1.0
    return pool.wanted


def square_root_staffing(pool: Pool, fleet: Fleet) -> float:
    """Offered load, and one root of it as a margin."""
    return math.ceil(pool.offered_long + math.sqrt(pool.offered_long))


def erlang_c(pool: Pool, fleet: Fleet) -> float:
    """The fewest instances at which an arrival waits with a probability of at most 10 %, in M/M/c."""
    load = pool.offered_long
    blocked = 1.0
    servers = 0.0
    for _ in range(64):
        servers = servers + 1.0
        blocked = load * blocked / (servers + load * blocked)
        if servers > load and blocked * servers <= 0.1 * (servers - load * (1.0 - blocked)):
            break
    return servers


def utilisation_target(pool: Pool, fleet: Fleet) -> float:
    """Utilisation over a target of 70 %; down only when nothing has changed for 60 s."""
    current = max(pool.up + pool.loading, 1.0)
    ratio = pool.offered_short / current / 0.7
    if abs(ratio - 1.0) <= 0.1:
        return current
    desired = math.ceil(current * ratio)
    if desired < current and min(pool.since_start, pool.since_stop) < 60.0:
        return current
    return desired


def requests_per_instance(pool: Pool, fleet: Fleet) -> float:
    """One instance for so many requests, waiting or running; down after 60 s without a change."""
    desired = math.ceil((pool.waiting + pool.running + pool.sent) / 12.0)
    if desired < pool.wanted and min(pool.since_start, pool.since_stop) < 60.0:
        return pool.wanted
    return desired


def rate_trend(pool: Pool, fleet: Fleet) -> float:
    """What the load will be when a new instance is up, if it goes on as it does, at 70 % utilisation."""
    apart = 0.5 * (fleet.long_window - fleet.short_window)
    slope = (pool.offered_short - pool.offered_long) / max(apart, 1.0)
    load = pool.offered_short + slope * (pool.load_time + fleet.tick)
    return math.ceil(max(load, pool.offered_long) / 0.7)


def short_to_the_slow(request: Request, instance: Instance) -> float:
    """Requests with long context to the faster pool, others to the slower one; the least predicted TTFT there."""
    fast = instance.prefill_time < 1.5 * request.fastest_prefill
    strange = 1.0 if fast == (request.prompt + request.predicted_output < 2048.0) else 0.0
    return instance.queue_time + instance.prefill_time + 1e3 * strange


def _rule(
    name: str,
    title: str,
    citation: str,
    scale: Callable[[Pool, Fleet], float],
    route: Callable[[Request, Instance], float] = least_ttft,
) -> Baseline:
    return Baseline(name, title, citation, hooks={"scale": scale, "route": route})


_ROUTED = "; requests go where the predicted time to first token is least: Qin et al. (2025), 'Mooncake', FAST"

RULES = (
    _rule(
        "llumnix",
        "Llumnix: thresholds on free blocks per request",
        "Sun et al. (2024), 'Llumnix: dynamic scheduling for LLM serving', OSDI; dispatch to the freest, no migration",
        freeness_thresholds,
        freest,
    ),
    _rule(
        "static_peak", "A static fleet for the peak", "textbook: capacity planning for the peak" + _ROUTED, all_places
    ),
    _rule(
        "static_mean",
        "A static fleet for the mean load",
        "textbook: capacity planning for the mean" + _ROUTED,
        as_at_first,
    ),
    _rule(
        "square_root",
        "Square-root staffing of the offered load",
        "Halfin and Whitt (1981), 'Heavy-traffic limits for queues with many exponential servers', OR 29(3):567-588"
        + _ROUTED,
        square_root_staffing,
    ),
    _rule(
        "erlang_c",
        "M/M/c: at most one arrival in ten waits",
        "Gandhi et al. (2012), 'AutoScale: dynamic, robust capacity management for multi-tier data centers', ACM TOCS "
        "30(4):14, on queueing rules; Erlang (1917)" + _ROUTED,
        erlang_c,
    ),
    _rule(
        "hpa",
        "Kubernetes: utilisation over its target",
        "Horizontal Pod Autoscaler, Kubernetes documentation: ceil(current * metric / target), tolerance 10 %; its "
        "stabilisation window as a pause of 60 s after a change" + _ROUTED,
        utilisation_target,
    ),
    _rule(
        "keda",
        "KEDA: so many requests for each instance",
        "KEDA documentation: scaling to a target per replica, with a cool-down; vLLM production stack, queue length"
        + _ROUTED,
        requests_per_instance,
    ),
    _rule(
        "rate_trend",
        "Forecast of the load by its trend",
        "predictive autoscaling: Roy, Dubey and Gokhale (2011), 'Efficient autoscaling in the cloud using predictive "
        "models for workload forecasting', IEEE CLOUD" + _ROUTED,
        rate_trend,
    ),
    _rule(
        "length_pools",
        "WRP: a pool for short contexts and one for long ones, each at its target",
        "'The workload-router-pool architecture for LLM inference optimization' (2026), as far as pools by context "
        "length go; sizes as hpa",
        utilisation_target,
        short_to_the_slow,
    ),
    Baseline(
        "clairvoyant",
        "Re-planned with all arrivals known",
        "hindsight: offered load of what will come, then local search by simulation; no bound",
        solve=clairvoyant,
        costly=True,
    ),
)
