"""Instances of serving/preemption: short urgent requests beside long ones that can wait.

Urgent requests are conversations (lengths fitted to the Azure trace [1]_, cut to 2048 tokens); the others bring
documents and contexts (first requests of the Mooncake trace [2]_, cut to 16384). A step computes up to 16384
prompt tokens, seconds on a small GPU. Steps can be cut at four operators a layer. Copies to the host move one
block each, or groups of contiguous blocks where the scenario says so.

References
----------
.. [1] Patel et al. (2024), "Splitwise: efficient generative LLM inference using phase splitting", ISCA.
.. [2] Qin et al. (2025), "Mooncake: trading more storage for less computation", FAST.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from problems._hardware import models
from problems._hardware.step_cost import kv_bytes_per_rank, step_cost
from problems._hardware.transfers import kv_segments, link
from problems.problem import Instance
from problems.serving._batching.suites import LOADS, PATIENCE_S, SPLITS, Traffic, draw_arrivals, instances_of, seeded
from problems.serving._server.machine import Host, Serving, limits_of, make_instance
from problems.serving._server.requests import Requests, make_requests
from problems.serving._workloads.table import AZURE_CONV, MOONCAKE_FIRST

__all__ = ["SPLITS", "probes", "suite"]

EXTREMES = ((0.6, 0.7), (0.75, 0.7), (1.05, 1.3), (1.15, 1.3))  # of shift-load, with the factor that it is off by
URGENT_PROMPT, LONG_PROMPT = 2048, 16384
OPERATORS = 4  # of a layer, at whose ends a step may be cut
CUT_S = 0.3e-3  # published costs are 0.1 to 1 ms


class Scenario(NamedTuple):
    """Where requests go, how many of them are urgent, and how many a second are about all that can be served."""

    host: Host
    urgent_share: float
    saturation_per_s: float
    group_blocks: int = 1


SCENARIOS = {
    "a100-8b": Scenario(Host("A100-80", "Llama-3.1-8B", share=0.4), 0.8, 3.4),
    "l40s-8b": Scenario(Host("L40S", "Llama-3.1-8B", share=0.6), 0.7, 1.7, group_blocks=16),
    "a100-moe": Scenario(Host("A100-80", "Qwen3-30B-A3B", share=0.6), 0.7, 1.75),
}
OTHER_GPUS = {
    "a10-8b": Scenario(Host("A10", "Llama-3.1-8B"), 0.9, 1.0),
    "h100-8b": Scenario(Host("H100", "Llama-3.1-8B", share=0.3), 0.7, 5.8),
}
OTHER_MODELS = {
    "a100-7b-mha": Scenario(Host("A100-80", "Llama-2-7B"), 0.8, 2.0),
    "h100-32b": Scenario(Host("H100", "Qwen2.5-32B", tp=2, share=0.4), 0.8, 4.0),
}


def draw(scenario: Scenario, load: float, traffic: Traffic, rng: np.random.Generator) -> Requests:
    """Requests of one instance."""
    n, host = traffic.size, scenario.host
    arrival_s = draw_arrivals(load * scenario.saturation_per_s, traffic, rng)
    urgent = rng.random(n) < scenario.urgent_share
    lengths = np.rint(np.where(urgent[:, None], AZURE_CONV.sample(n, rng), MOONCAKE_FIRST.sample(n, rng)))
    output = np.clip(lengths[:, 1], 1, host.max_output)
    predicted = output * np.exp(traffic.predictor_spread * rng.standard_normal(n))
    return make_requests(
        arrival_s,
        np.clip(lengths[:, 0], 8, np.where(urgent, URGENT_PROMPT, LONG_PROMPT)),
        output,
        np.clip(predicted, 1.0, host.max_output),
        priority=np.where(urgent, 0, 1),
        ttft_slo_s=np.where(urgent, 0.5, 15.0),
        tpot_slo_s=np.where(urgent, 0.1, 0.5),
    )


def on_host(
    requests: Requests, host: Host, *, group_blocks: int = 1, operators: int = OPERATORS, cut_s: float = CUT_S
) -> Serving:
    """An instance whose steps can be cut, on a known device and model."""
    model = models.model(host.model)
    over = link("pcie", host.device)
    limits = limits_of(host, float(requests.arrival_s[-1]) + PATIENCE_S)._replace(
        max_prefill=LONG_PROMPT,
        segments=operators * model.layers,
        cut_s=cut_s,
        group_blocks=group_blocks,
        swap_block_s=16 * kv_bytes_per_rank(model, host.tp) / over.bytes_per_s,
        swap_group_s=kv_segments(model, 16) * over.segment_s,
    )
    return make_instance(requests, step_cost(host.device, host.model, host.tp, engine=host.engine), limits)


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic) -> Instance:
    requests = draw(scenario, load, traffic, seeded("preemption", suite, name, load))
    data = on_host(requests, scenario.host, group_blocks=scenario.group_blocks)
    return Instance(f"{suite}-{name}-{round(100 * load)}", name, data)


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    shifted = {"shift-gpu": OTHER_GPUS, "shift-model": OTHER_MODELS}
    return instances_of(name, SCENARIOS, shifted, _instance, LOADS, EXTREMES)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances with long steps that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Serving:
    rng, n = seeded("preemption", "probe", k), 16
    gaps = rng.exponential(0.3, n)
    output = rng.integers(2, 129, n)
    output[0], gaps[1] = 8, 3.0  # the first two requests never meet, and fare differently
    urgent = np.arange(n) % 2 == 0
    requests = make_requests(
        np.cumsum(gaps),
        np.where(urgent, rng.integers(16, 400, n), rng.integers(400, 3000, n)),
        output,
        output * np.exp(0.5 * rng.standard_normal(n)),
        priority=np.where(urgent, 0, 1),
        ttft_slo_s=np.where(urgent, 0.3, 5.0),
        tpot_slo_s=0.1,
    )
    return on_host(requests, Host("A10", "Llama-3.1-8B", share=0.2, max_output=128), group_blocks=1 + 7 * (k % 2))
