"""Instances of serving/fleet_scaling: pools, workloads, the shape of a day, drawn from fixed seeds.

A day is compressed to eight minutes, with the rate of arrivals a sine of it and bursts on top; an instance takes as
long to start as on a real day, so there are fewer starts to a day than there would be. Prices are round figures
near what clouds asked for on demand in 2025: assumed.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance, Reference
from problems.serving._cluster.data import Group
from problems.serving._cluster.requests import few, promised, sooner
from problems.serving._fleet.data import Control, Elastic, Instances, Offer, make_elastic, pool_on
from problems.serving._fleet.metrics import HOUR_S, lower_bounds
from problems.serving._server.machine import Host
from problems.serving._server.requests import Requests
from problems.serving._workloads.workloads import WORKLOADS, make_workload

PRICE = {
    "H200": 4.0,
    "H100": 3.5,
    "A100-80": 2.0,
    "L40S": 1.6,
    "A10": 0.8,
    "L4": 0.7,
    "RTX-4090": 0.6,
}  # dollars an hour
DAY_S = 480.0
PATIENCE_S = 120.0  # after the last arrival nothing starts
# A broken promise costs as much as to serve so many requests on a full instance: refusing work can never pay, and
# the last per cent of promises is worth a tenth more instances.
PENALTY = 10.0


class Scenario(NamedTuple):
    """Pools, what comes to them, and how many requests a second are about all that all places can serve."""

    offers: tuple[Offer, ...]
    workload: str
    saturation_per_s: float
    longest_prompt: int
    cache_tokens: int
    ttft_slo_s: float
    size: int  # requests of an instance, for about a day
    tpot_slo_s: float = 0.1


class Shape(NamedTuple):
    """How the load of a day changes; its mean is a share of what all places can serve."""

    load: float
    swing: float
    bursts_per_hour: float = 0.0
    burst_factor: float = 1.0
    burst_s: float = 30.0


def offer(device: str, model: str, places: int, first: int, *, tp: int = 1, max_output: int = 1024) -> Offer:
    """So many places for instances of a model on GPUs of a kind, at the price of these."""
    return Offer(Host(device, model, tp, max_output=max_output), places, PRICE[device] * tp, 1, first)


def _chat(device: str, model: str, saturation_per_s: float, ttft_slo_s: float = 1.0) -> Scenario:
    return Scenario((offer(device, model, 12, 6),), "tenants", saturation_per_s, 8_000, 0, ttft_slo_s, 3000)


def _long(device: str, model: str, saturation_per_s: float) -> Scenario:
    offers = (offer(device, model, 10, 5, max_output=2000),)
    return Scenario(offers, "mooncake-conversation", saturation_per_s, 60_000, 512, 5.0, 1800)


def _pools(model: str, saturation_per_s: float, **places: int) -> Scenario:
    offers = tuple(
        offer(device.replace("_", "-"), model, count, count // 2, max_output=2000) for device, count in places.items()
    )
    return Scenario(offers, "mooncake-conversation", saturation_per_s, 60_000, 512, 5.0, 1800)


SCENARIOS = {
    "a10-chat": _chat("A10", "Llama-3.1-8B", 16.0),
    "a100-long": _long("A100-80", "Llama-3.1-8B", 7.0),
    "l40s-h100-pools": _pools("Llama-3.1-8B", 8.0, L40S=6, H100=3),
}
OTHER_GPUS = {
    "l4-chat": _chat("L4", "Llama-3.1-8B", 8.0, 2.0),
    "h100-long": _long("H100", "Llama-3.1-8B", 19.0),
    "a100-h200-pools": _pools("Llama-3.1-8B", 10.0, A100_80=6, H200=3),
}
OTHER_MODELS = {
    "a100-32b-chat": _chat("A100-80", "Qwen2.5-32B", 10.5, 2.0),
    "a100-7b-long": _long("A100-80", "Qwen2.5-7B", 8.5),
    "l40s-h100-7b-pools": _pools("Qwen2.5-7B", 12.5, L40S=6, H100=3),
}
SHAPES = {
    "calm": Shape(0.45, 0.3),
    "day": Shape(0.4, 0.7),
    "bursts": Shape(0.3, 0.3, 20.0, 2.5),
    "day-bursts": Shape(0.35, 0.6, 20.0, 2.0),
}


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    load_factor: float = 1.0
    predictor_spread: float = 0.5  # standard deviation of the logarithm of predicted over true output
    burst: float = 1.0  # factor on the coefficient of variation of gaps, and on how much bursts add
    mtbf_s: float = 0.0  # mean time between failures of a place; 0: none fails


def draw(scenario: Scenario, shape: Shape, traffic: Traffic, seed: int) -> Requests:
    """Requests of one instance."""
    workload, size = sooner(WORKLOADS[scenario.workload]), scenario.size
    requests = make_workload(
        workload,
        size,
        seed,
        predictor=("log-normal", traffic.predictor_spread),
        rate_per_s=shape.load * traffic.load_factor * scenario.saturation_per_s,
        cv=traffic.burst * workload.arrivals.cv,
        swing=shape.swing,
        period_s=DAY_S,
        bursts_per_hour=shape.bursts_per_hour,
        burst_factor=1.0 + traffic.burst * (shape.burst_factor - 1.0),
        burst_s=shape.burst_s,
    )
    most = scenario.longest_prompt, min(offered.host.max_output for offered in scenario.offers)
    return promised(requests, most, (scenario.ttft_slo_s, scenario.tpot_slo_s), seed)


def _seed(*key: object) -> int:
    return zlib.crc32(repr(key).encode())


def failures(places: int, horizon_s: float, mtbf_s: float, seed: int) -> list[tuple[float, int]]:
    """Failures of places, each a Poisson process, in order of time."""
    rng, found = np.random.default_rng(seed), []
    for place in range(places):
        at_s = rng.exponential(mtbf_s)
        while at_s < horizon_s:
            found.append((float(at_s), place))
            at_s += rng.exponential(mtbf_s)
    return sorted(found)


def penalty_of(scenario: Scenario) -> float:
    """Dollars for a broken promise: so many times what a request costs where all places are full."""
    dollars_per_s = sum(offered.places * offered.price for offered in scenario.offers) / HOUR_S
    return PENALTY * dollars_per_s / scenario.saturation_per_s


def make(scenario: Scenario, shape: Shape, traffic: Traffic, seed: int) -> Elastic:
    """An instance of a scenario."""
    requests = draw(scenario, shape, traffic, seed)
    horizon_s = float(requests.arrival_s[-1]) + PATIENCE_S
    pools = [pool_on(offered, horizon_s) for offered in scenario.offers]
    places, failing = sum(offered.places for offered in scenario.offers), []
    if traffic.mtbf_s > 0:
        failing = failures(places, horizon_s, traffic.mtbf_s, seed)
    return make_elastic(requests, pools, penalty_of(scenario), cache_tokens=scenario.cache_tokens, failures=failing)


def with_bound(name: str, group: str, data: Elastic) -> Instance:
    """An instance whose cost is compared with its lower bound."""
    return Instance(name, group, data, {"cost": Reference(lower_bounds(data)["cost"], "lower bound")})


def _instance(suite: str, name: str, scenario: Scenario, shape: str, traffic: Traffic) -> Instance:
    data = make(scenario, SHAPES[shape], traffic, _seed("fleet", suite, name, shape, traffic.load_factor))
    factor = f"-{round(100 * traffic.load_factor)}" if traffic.load_factor != 1.0 else ""
    return with_bound(f"{suite}-{name}-{shape}{factor}", name, data)


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    scenarios, traffic = SCENARIOS, Traffic()
    shapes = ("day", "bursts") if name.startswith("shift-") else tuple(SHAPES)
    if name == "shift-load":
        return tuple(
            _instance(name, group, scenario, shape, Traffic(load_factor=factor))
            for group, scenario in scenarios.items()
            for shape, factor in (("day", 0.7), ("day", 1.3))
        )
    if name == "shift-gpu":
        scenarios = OTHER_GPUS
    elif name == "shift-model":
        scenarios = OTHER_MODELS
    elif name == "shift-predictor":
        traffic = Traffic(predictor_spread=1.0)
    elif name == "shift-burst":
        traffic = Traffic(burst=2.0)
    elif name == "shift-failure":
        traffic = Traffic(mtbf_s=600.0)
    return tuple(_instance(name, group, s, shape, traffic) for group, s in scenarios.items() for shape in shapes)


SPLITS = (
    "train",
    "valid",
    "test",
    "shift-gpu",
    "shift-model",
    "shift-load",
    "shift-predictor",
    "shift-burst",
    "shift-failure",
)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory; half have two pools, some fail."""
    return tuple(with_bound(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Elastic:
    rng = np.random.default_rng(_seed("fleet", "probe", k))
    requests = few(rng, 24, 0.12)
    horizon_s = float(requests.arrival_s[-1]) + 30.0
    hosts = [Host(device, "Llama-3.1-8B", share=0.06, max_output=64) for device in ("A10", "L4")]
    pools: list[Instances] = []
    for host, places in zip(hosts, (3, 2), strict=True):
        group: Group = pool_on(Offer(host, places, 1.0), horizon_s).group
        pools.append(Instances(group, PRICE[host.device], 0.4))
    failing = [(float(at_s), int(rng.integers(3))) for at_s in np.sort(rng.uniform(2.0, 8.0, k % 3))]
    return make_elastic(
        requests,
        pools[: 1 + k % 2],
        0.001,
        control=Control(0.5, 1.0, 4.0),
        cache_tokens=32 if k % 4 < 2 else 0,
        failures=failing,
    )
