"""Instances of serving/request_routing: fleets, workloads and load, drawn from fixed seeds.

Long conversations are those fitted to Mooncake's trace, chats of tenants and text-to-SQL workflows those of
docs/workloads.md, cut to what the servers can hold. People and tools answer five times as fast as there, so that
conversations come back within the few minutes that a thousand requests take.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np

from problems.problem import Instance
from problems.serving._cluster.data import Cluster, on_hosts
from problems.serving._cluster.requests import few, promised, sooner
from problems.serving._server.machine import Host
from problems.serving._server.requests import Requests
from problems.serving._workloads.workloads import WORKLOADS, make_workload


class Scenario(NamedTuple):
    """Servers, what comes to them, and how many requests a second are about all that they can serve."""

    hosts: tuple[tuple[Host, int], ...]
    workload: str
    saturation_per_s: float
    longest_prompt: int
    cache_tokens: int
    ttft_slo_s: float
    tpot_slo_s: float


def _long(device: str, model: str, saturation_per_s: float) -> Scenario:
    hosts = ((Host(device, model, max_output=2000), 8),)
    return Scenario(hosts, "mooncake-conversation", saturation_per_s, 60_000, 512, 5.0, 0.1)


def _chat(device: str, model: str, saturation_per_s: float) -> Scenario:
    return Scenario(((Host(device, model), 8),), "tenants", saturation_per_s, 8_000, 64, 1.0, 0.1)


def _sql(model: str, saturation_per_s: float, **servers: int) -> Scenario:
    hosts = tuple((Host(device, model), count) for device, count in servers.items())
    return Scenario(hosts, "text-to-sql", saturation_per_s, 16_000, 64, 2.0, 0.1)


SCENARIOS = {
    "a100-long": _long("A100-80", "Llama-3.1-8B", 6.2),
    "a10-chat": _chat("A10", "Llama-3.1-8B", 13.5),
    "mixed-sql": _sql("Llama-3.1-8B", 48.0, **{"H100": 1, "A100-80": 1, "A10": 4}),
}
OTHER_GPUS = {
    "h100-long": _long("H100", "Llama-3.1-8B", 18.0),
    "l40s-chat": _chat("L40S", "Llama-3.1-8B", 85.0),
    "4090-a100-sql": _sql("Llama-3.1-8B", 33.0, **{"A100-80": 2, "RTX-4090": 4}),
}
OTHER_MODELS = {
    "a100-7b-long": _long("A100-80", "Qwen2.5-7B", 8.8),
    "a100-32b-chat": _chat("A100-80", "Qwen2.5-32B", 9.5),
    "h100-a100-32b-sql": _sql("Qwen2.5-32B", 9.0, **{"H100": 2, "A100-80": 4}),
}
LOADS = (0.6, 0.8, 0.95, 1.1)  # of saturation
DRAWS = {"train": 2, "valid": 4, "test": 3}  # instances of each scenario and load; one in other suites
PATIENCE_S = 600.0  # after the last arrival nothing starts


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    size: int = 1000  # requests of an instance
    load_factor: float = 1.0
    predictor_spread: float = 0.5  # standard deviation of the logarithm of predicted over true output
    burst: float = 1.0  # factor on the coefficient of variation of gaps between sessions


S = TypeVar("S")
Split = tuple[Instance, ...]
Build = Callable[[str, str, S, float, Traffic, int], Instance]
USUAL = Traffic()
TRAIN = Traffic(size=700)  # what guides is run most often


def draw(scenario: Scenario, load: float, traffic: Traffic, seed: int) -> Requests:
    """Requests of one instance."""
    workload = sooner(WORKLOADS[scenario.workload])
    requests = make_workload(
        workload,
        traffic.size,
        seed,
        predictor=("log-normal", traffic.predictor_spread),
        rate_per_s=load * traffic.load_factor * scenario.saturation_per_s,
        cv=traffic.burst * workload.arrivals.cv,
    )
    most = scenario.longest_prompt, min(host.max_output for host, _ in scenario.hosts)
    return promised(requests, most, (scenario.ttft_slo_s, scenario.tpot_slo_s), seed)


def _seed(*key: object) -> int:
    return zlib.crc32(repr(key).encode())


def make(scenario: Scenario, load: float, traffic: Traffic, seed: int) -> Cluster:
    """An instance of a scenario."""
    requests = draw(scenario, load, traffic, seed)
    horizon_s = float(requests.arrival_s[-1]) + PATIENCE_S
    return on_hosts(requests, scenario.hosts, horizon_s, cache_tokens=scenario.cache_tokens)


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic, again: int = 0) -> Instance:
    """An instance of a suite; the first of a scenario and load, or another one."""
    seed = _seed("routing", suite, name, load, traffic.load_factor, *[again] * (again > 0))
    title = f"{suite}-{name}-{round(100 * load * traffic.load_factor)}" + f"-{again + 1}" * (again > 0)
    return Instance(title, name, make(scenario, load, traffic, seed))


def instances_of(
    name: str,
    scenarios: Mapping[str, S],
    shifted: Mapping[str, Mapping[str, S]],
    build: Build[S],
    *,
    train: Traffic = USUAL,
    draws: Mapping[str, int] = MappingProxyType({}),
) -> Split:
    """Instances of a split: each scenario, or those of a shift, at each load.

    Parameters
    ----------
    name : str
        One of SPLITS.
    scenarios, shifted
        Scenarios by name, and those that stand in their place in a split, by split.
    build : callable
        Builds an instance from split, name, scenario, load, traffic and how often that was done before.
    train : Traffic
        Of train.
    draws : mapping
        Instances of each scenario and load, by split; one where nothing is said.
    """
    traffic = USUAL
    if name == "shift-load":
        return tuple(
            build(name, group, scenario, load, Traffic(load_factor=factor), 0)
            for group, scenario in scenarios.items()
            for load, factor in ((0.6, 0.7), (0.8, 0.7), (0.95, 1.3), (1.1, 1.3))
        )
    if name == "shift-predictor":
        traffic = Traffic(predictor_spread=1.0)
    elif name == "shift-burst":
        traffic = Traffic(burst=2.0)
    elif name == "train":
        traffic = train
    elif name == "test":
        traffic = Traffic(size=2000)
    chosen = shifted.get(name, scenarios)
    return tuple(
        build(name, group, scenario, load, traffic, again)
        for again in range(draws.get(name, 1))
        for group, scenario in chosen.items()
        for load in LOADS
    )


@cache
def suite(name: str) -> Split:
    """Instances of a split."""
    shifted = {"shift-gpu": OTHER_GPUS, "shift-model": OTHER_MODELS}
    return instances_of(name, SCENARIOS, shifted, _instance, train=TRAIN, draws=DRAWS)


SPLITS = ("train", "valid", "test", "shift-gpu", "shift-model", "shift-load", "shift-predictor", "shift-burst")


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Cluster:
    requests = few(np.random.default_rng(_seed("routing", "probe", k)), 16, 0.05)
    fast, slow = (Host(device, "Llama-3.1-8B", share=0.06, max_output=64) for device in ("A10", "L4"))
    return on_hosts(requests, ((fast, 2), (slow, 1)), float(requests.arrival_s[-1]) + 100.0, cache_tokens=32)
