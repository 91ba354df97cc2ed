"""Instances of serving/live_migration: servers, workloads and load, drawn from fixed seeds.

Llumnix [1]_ was measured with lengths from power laws of up to 6000 tokens on GPUs whose memory holds few requests;
here they are log-normal with as long tails ("tails"). Answers that reason first are long and differ much ("thoughts").
Chats are those of tenants in docs/workloads.md, with prefix caches, on servers of two kinds.

References
----------
.. [1] Sun et al. (2024), "Llumnix: dynamic scheduling for large language model serving", OSDI.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance
from problems.serving._cluster.requests import few, promised, sooner
from problems.serving._migration.data import Migrating, on_hosts
from problems.serving._routing.suites import PATIENCE_S, Traffic, instances_of
from problems.serving._server.machine import Host
from problems.serving._workloads.arrivals import Arrivals
from problems.serving._workloads.mixtures import Mixture
from problems.serving._workloads.workloads import WORKLOADS, Workload, make_workload

TAILS = Workload(
    "Short and very long requests",
    Arrivals(5.0, cv=1.5),
    Mixture((1.0,), ((160.0, 120.0),), ((1.5, 1.5),), (8, 4), (6000, 6000)),
)
THOUGHTS = Workload(
    "Short questions, long answers",
    Arrivals(5.0, cv=1.5),
    Mixture((0.7, 0.3), ((250.0, 900.0), (600.0, 250.0)), ((0.8, 0.7), (0.9, 0.7)), (8, 16), (4000, 4000)),
)


class Scenario(NamedTuple):
    """Servers, what comes to them, and how many requests a second are about all that they can serve."""

    hosts: tuple[tuple[Host, int], ...]
    workload: Workload
    saturation_per_s: float
    longest_prompt: int
    cache_tokens: int
    ttft_slo_s: float
    tpot_slo_s: float


def _tails(device: str, model: str, saturation_per_s: float, share: float = 1.0) -> Scenario:
    host = Host(device, model, share=share, max_output=6000)
    return Scenario(((host, 8),), TAILS, saturation_per_s, 6000, 0, 1.0, 0.1)


def _thoughts(device: str, model: str, saturation_per_s: float, share: float = 1.0) -> Scenario:
    host = Host(device, model, share=share, max_output=4000)
    return Scenario(((host, 8),), THOUGHTS, saturation_per_s, 4000, 0, 2.0, 0.06)


def _chats(model: str, saturation_per_s: float, **servers: int) -> Scenario:
    hosts = tuple((Host(device.replace("_", "-"), model), count) for device, count in servers.items())
    return Scenario(hosts, WORKLOADS["tenants"], saturation_per_s, 8000, 64, 1.0, 0.1)


SCENARIOS = {
    "a10-tails": _tails("A10", "Llama-2-7B", 8.0),
    "a10-thoughts": _thoughts("A10", "Llama-3.1-8B", 2.4, 0.4),
    "a100-a10-chats": _chats("Llama-3.1-8B", 34.0, A100_80=2, A10=6),
}
OTHER_GPUS = {
    "l40s-tails": _tails("L40S", "Llama-2-7B", 10.0, 0.28),
    "4090-thoughts": _thoughts("RTX-4090", "Llama-3.1-8B", 5.2, 0.4),
    "h100-l40s-chats": _chats("Llama-3.1-8B", 45.0, H100=1, L40S=2),
}
OTHER_MODELS = {
    "a10-qwen-tails": _tails("A10", "Qwen2.5-7B", 8.5, 0.15),
    "a100-32b-thoughts": _thoughts("A100-80", "Qwen2.5-32B", 2.9, 0.5),
    "h100-a100-32b-chats": _chats("Qwen2.5-32B", 10.5, H100=2, A100_80=4),
}
SLOW_LINK = 10.0  # of shift-link, over the time that copies take otherwise
TRAIN = Traffic(size=500)  # what guides is run most often
DRAWS = {"valid": 2, "test": 2}  # instances of each scenario and load; one in other suites


def make(scenario: Scenario, load: float, traffic: Traffic, seed: int) -> Migrating:
    """An instance of a scenario."""
    workload = sooner(scenario.workload)
    requests = make_workload(
        workload,
        traffic.size,
        seed,
        predictor=("log-normal", traffic.predictor_spread),
        rate_per_s=load * traffic.load_factor * scenario.saturation_per_s,
        cv=traffic.burst * workload.arrivals.cv,
    )
    most = scenario.longest_prompt, min(host.max_output for host, _ in scenario.hosts)
    requests = promised(requests, most, (scenario.ttft_slo_s, scenario.tpot_slo_s), seed)
    horizon_s = float(requests.arrival_s[-1]) + PATIENCE_S
    return on_hosts(requests, scenario.hosts, horizon_s, cache_tokens=scenario.cache_tokens)


def _seed(*key: object) -> int:
    return zlib.crc32(repr(key).encode())


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic, again: int = 0) -> Instance:
    """An instance of a suite; the first of a scenario and load, or another one."""
    seed = _seed("migration", suite, name, load, traffic.load_factor, *[again] * (again > 0))
    title = f"{suite}-{name}-{round(100 * load * traffic.load_factor)}" + f"-{again + 1}" * (again > 0)
    data = make(scenario, load, traffic, seed)
    if suite == "shift-link":
        slower = SLOW_LINK * data.move_s
        slower.setflags(write=False)
        data = data._replace(move_s=slower)
    return Instance(title, name, data)


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    shifted = {"shift-gpu": OTHER_GPUS, "shift-model": OTHER_MODELS}
    return instances_of(name, SCENARIOS, shifted, _instance, train=TRAIN, draws=DRAWS)


SPLITS = (
    "train",
    "valid",
    "test",
    "shift-gpu",
    "shift-model",
    "shift-load",
    "shift-predictor",
    "shift-burst",
    "shift-link",
)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Migrating:
    requests = few(np.random.default_rng(_seed("migration", "probe", k)), 16, 0.05)
    fast, slow = (Host(device, "Llama-3.1-8B", share=0.06, max_output=64) for device in ("A10", "L4"))
    return on_hosts(requests, ((fast, 2), (slow, 1)), float(requests.arrival_s[-1]) + 100.0, cache_tokens=32 * (k % 2))
