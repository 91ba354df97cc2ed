"""Instances of serving/prefill_decode: deployments, workloads and load, drawn from fixed seeds.

Chats and summaries are those of docs/workloads.md, cut to what the instances can hold. In phases, code completion (long
prompts, short outputs) and chat take turns every ten seconds: the right number of instances that prefill changes.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance
from problems.serving._cluster.data import DECODE, PREFILL
from problems.serving._disaggregation.data import Control, Deployment, Plan, on_hosts
from problems.serving._routing.suites import SPLITS, Split, Traffic, instances_of
from problems.serving._server.machine import Host
from problems.serving._server.requests import Requests, make_requests
from problems.serving._workloads.workloads import make_workload

__all__ = ["SCENARIOS", "SPLITS", "Scenario", "Traffic", "draw", "make", "probes", "suite"]

PHASE_S = 10.0


class Scenario(NamedTuple):
    """Instances, what comes to them, and how many requests a second are about all that they can serve."""

    hosts: tuple[tuple[Host, int, int], ...]  # host, instances, role at the start
    workloads: tuple[str, ...]  # one, or several that take turns
    saturation_per_s: float
    longest_prompt: int
    ttft_slo_s: float
    tpot_slo_s: float
    cv: float = 1.5  # of gaps between requests


def _halves(*hosts: Host, count: int = 8) -> tuple[tuple[Host, int, int], ...]:
    """So many instances in all, half of each kind in either role."""
    each = count // (2 * len(hosts))
    return tuple((host, each, role) for host in hosts for role in (PREFILL, DECODE))


def _chat(device: str, model: str, saturation_per_s: float) -> Scenario:
    host = Host(device, model, max_output=1000)
    return Scenario(_halves(host), ("azure-conv",), saturation_per_s, 4_000, 2.0, 0.1)


def _summaries(device: str, model: str, saturation_per_s: float) -> Scenario:
    host = Host(device, model, max_output=4056)
    return Scenario(_halves(host), ("arxiv-summaries",), saturation_per_s, 4_046, 2.0, 0.05)


def _phases(model: str, saturation_per_s: float, *devices: str) -> Scenario:
    hosts = [Host(device, model, tp=2, max_output=1000) for device in devices]
    return Scenario(_halves(*hosts), ("azure-code", "azure-conv"), saturation_per_s, 8_000, 1.0, 0.06)


SCENARIOS = {
    "a10-chat": _chat("A10", "Llama-3.1-8B", 13.0),
    "a100-summaries": _summaries("A100-80", "Llama-3.1-8B", 32.0),
    "mixed-phases": _phases("Qwen2.5-32B", 32.0, "H100", "A100-80"),
}
OTHER_GPUS = {
    "l40s-chat": _chat("L40S", "Llama-3.1-8B", 45.0),
    "h100-summaries": _summaries("H100", "Llama-3.1-8B", 60.0),
    "a100-phases": _phases("Qwen2.5-32B", 20.0, "A100-80"),
}
OTHER_MODELS = {
    "a10-7b-chat": _chat("A10", "Qwen2.5-7B", 16.0),
    "a100-mistral-summaries": _summaries("A100-80", "Qwen2.5-7B", 30.0),
    "mixed-70b-phases": _phases("Llama-3.1-70B", 15.0, "H100", "A100-80"),
}
PATIENCE_S = 600.0  # after the last arrival nothing starts


def draw(scenario: Scenario, load: float, traffic: Traffic, seed: int) -> Requests:
    """Requests of one instance."""
    rate, drawn = load * traffic.load_factor * scenario.saturation_per_s, []
    for k, workload in enumerate(scenario.workloads):
        drawn.append(
            make_workload(
                workload,
                len(scenario.workloads) * traffic.size,
                seed + k,
                predictor=("log-normal", traffic.predictor_spread),
                rate_per_s=rate,
                cv=traffic.burst * scenario.cv,
            )
        )
    requests = _in_turns(drawn, traffic.size)
    most = min(host.max_output for host, _, _ in scenario.hosts)
    interactive = np.random.default_rng(seed).random(traffic.size) < 2 / 3
    return make_requests(
        requests["arrival_s"],
        np.minimum(requests["prompt_tokens"], scenario.longest_prompt),
        np.minimum(requests["output_tokens"], most),
        np.clip(requests["predicted_output"], 1.0, most),
        priority=np.where(interactive, 0, 1),
        ttft_slo_s=np.where(interactive, scenario.ttft_slo_s, 5 * scenario.ttft_slo_s),
        tpot_slo_s=np.where(interactive, scenario.tpot_slo_s, 3 * scenario.tpot_slo_s),
    )


def _in_turns(drawn: list[Requests], size: int) -> dict[str, np.ndarray]:
    """The first requests of several streams, each of which is heard for PHASE_S in turn."""
    names, kept = ("arrival_s", "prompt_tokens", "output_tokens", "predicted_output"), []
    for k, requests in enumerate(drawn):
        heard = np.floor(requests.arrival_s / PHASE_S) % len(drawn) == k
        kept.append([np.asarray(getattr(requests, name))[heard] for name in names])
    columns = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
    order = np.argsort(columns[0], kind="stable")[:size]
    return {name: column[order] for name, column in zip(names, columns, strict=True)}


@cache
def plan(scenario: Scenario) -> Plan:
    """The load that a deployment is planned for, at saturation."""
    requests = draw(scenario, 1.0, Traffic(size=4000), 0)
    return Plan(scenario.saturation_per_s, float(requests.prompt_tokens.mean()), float(requests.output_tokens.mean()))


def make(scenario: Scenario, load: float, traffic: Traffic, seed: int, *, group_blocks: int = 16) -> Deployment:
    """An instance of a scenario, planned for its load before what a suite does to it."""
    requests = draw(scenario, load, traffic, seed)
    horizon_s, expected = float(requests.arrival_s[-1]) + PATIENCE_S, plan(scenario)
    expected = expected._replace(rate_per_s=load * expected.rate_per_s)
    return on_hosts(requests, scenario.hosts, horizon_s, expected, group_blocks=group_blocks)


def _seed(*key: object) -> int:
    return zlib.crc32(repr(key).encode())


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic, again: int) -> Instance:
    """An instance of a suite; the first of a scenario and load, or another one."""
    seed = _seed("disaggregation", suite, name, load, traffic.load_factor, *[again] * (again > 0))
    title = f"{suite}-{name}-{round(100 * load * traffic.load_factor)}" + f"-{again + 1}" * (again > 0)
    return Instance(title, name, make(scenario, load, traffic, seed))


@cache
def suite(name: str) -> Split:
    """Instances of a split, with the loads and shifts of serving/request_routing."""
    return instances_of(name, SCENARIOS, {"shift-gpu": OTHER_GPUS, "shift-model": OTHER_MODELS}, _instance)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Deployment:
    rng, n = np.random.default_rng(_seed("disaggregation", "probe", k)), 16
    gaps = rng.exponential(0.05, n)
    prompt, output = rng.integers(16, 700, n), rng.integers(2, 65, n)
    # The first two requests never meet, and fare differently.
    prompt[:2], output[:2], gaps[1] = (200, 500), (8, 12), 3.0
    requests = make_requests(
        np.cumsum(gaps),
        prompt,
        output,
        np.clip(output * np.exp(0.5 * rng.standard_normal(n)), 1.0, 64.0),
        priority=rng.integers(0, 2, n),
        ttft_slo_s=1.0,
        tpot_slo_s=0.1,
    )
    fast, slow = (Host(device, "Llama-3.1-8B", share=0.06, max_output=64) for device in ("A10", "L4"))
    hosts = ((fast, 1, PREFILL), (fast, 2, DECODE), (slow, 1, PREFILL))
    control = Control(tick_s=0.25, switch_s=0.1)
    horizon_s, expected = float(requests.arrival_s[-1]) + 100.0, Plan(5.0, 350.0, 32.0)
    return on_hosts(requests, hosts, horizon_s, expected, control=control)
