"""Instances of serving/agent_programs: hosts, programs and load, drawn from fixed seeds."""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance
from problems.serving._programs.data import Agents, on_host
from problems.serving._programs.workloads import Errors, draw_programs
from problems.serving._server.machine import Host

PATIENCE_S = 1800.0  # after the last arrival nothing starts
LONGEST = 20_000  # tokens of a context


class Scenario(NamedTuple):
    """Where programs go, what they are, and how many a minute are about all that can be served."""

    host: Host
    kind: str
    saturation_per_min: float


SCENARIOS = {
    "a100-coding": Scenario(Host("A100-80", "Llama-3.1-8B", share=0.25), "coding", 7.0),
    "l40s-mixed": Scenario(Host("L40S", "Llama-3.1-8B", share=0.4), "mixed", 12.0),
    "a100-32b-sql": Scenario(Host("A100-80", "Qwen2.5-32B", tp=2, share=0.5), "sql", 2.6),
}
OTHER_GPUS = {
    "h100-coding": Scenario(Host("H100", "Llama-3.1-8B", share=0.3), "coding", 18.0),
    "h100-32b-sql": Scenario(Host("H100", "Qwen2.5-32B", tp=2, share=0.5), "sql", 6.0),
}
OTHER_MODELS = {
    "a100-7b-research": Scenario(Host("A100-80", "Llama-2-7B"), "research", 4.4),
    "a100-70b-coding": Scenario(Host("A100-80", "Llama-3.1-70B", tp=4, share=0.3), "coding", 4.0),
}
LOADS = (0.5, 0.75, 0.95, 1.15)  # of saturation


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    size: int = 60  # programs of an instance
    load_factor: float = 1.0
    error_factor: float = 1.0
    gap_cv: float = 1.5  # coefficient of variation of gaps between arrivals
    tool_factor: float = 1.0


def draw(scenario: Scenario, load: float, traffic: Traffic, rng: np.random.Generator) -> Agents:
    """One instance."""
    shape, rate = traffic.gap_cv**-2, load * traffic.load_factor * scenario.saturation_per_min / 60.0
    arrival_s = np.cumsum(rng.gamma(shape, 1.0 / (shape * rate), traffic.size))
    calls = draw_programs(
        scenario.kind,
        traffic.size,
        rng,
        longest=LONGEST,
        longest_output=scenario.host.max_output,
        tool_factor=traffic.tool_factor,
        errors=Errors(*(traffic.error_factor * spread for spread in Errors())),
    )
    return on_host(arrival_s, calls, scenario.host, float(arrival_s[-1]) + PATIENCE_S)


def _seed(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic) -> Instance:
    data = draw(scenario, load, traffic, _seed("programs", suite, name, load))
    return Instance(f"{suite}-{name}-{round(100 * load)}", name, data)


_SHIFTS = {
    "shift-gpu": (OTHER_GPUS, Traffic()),
    "shift-model": (OTHER_MODELS, Traffic()),
    "shift-predictor": (SCENARIOS, Traffic(error_factor=2.0)),
    "shift-burst": (SCENARIOS, Traffic(gap_cv=3.0)),
    "shift-tools": (SCENARIOS, Traffic(tool_factor=2.0)),
}


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    if name == "shift-load":
        return tuple(
            _instance(name, group, scenario, load, Traffic(load_factor=factor))
            for group, scenario in SCENARIOS.items()
            for load, factor in ((0.5, 0.7), (0.75, 0.7), (0.95, 1.3), (1.15, 1.3))
        )
    if name in _SHIFTS:
        scenarios, traffic = _SHIFTS[name]
        return tuple(_instance(name, g, s, load, traffic) for g, s in scenarios.items() for load in LOADS[1:4])
    traffic = Traffic(size=120) if name == "test" else Traffic()
    return tuple(_instance(name, g, s, load, traffic) for g, s in SCENARIOS.items() for load in LOADS)


SPLITS = ("train", "valid", "test", "shift-load", *_SHIFTS)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Agents:
    rng = _seed("programs", "probe", k)
    kind = ("coding", "research", "sql")[k % 3]
    arrival_s = np.cumsum(rng.exponential(2.0, 5))
    calls = draw_programs(kind, 5, rng, longest=6000, longest_output=64)
    host = Host("A100-80", "Llama-3.1-8B", share=0.05, max_output=64)
    return on_host(arrival_s, calls, host, float(arrival_s[-1]) + 300.0)
