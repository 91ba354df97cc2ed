"""Instances of serving/fair_sharing: clients of unequal demand, each with documents of its own that it asks about.

How many requests a client sends follows a Zipf law, and so does which of its documents a request is about; the
document is a prefix of the prompt, the question and the answer are short conversations (lengths log-normal, after
the ShareGPT means of [1]_). A quarter of the KV cache keeps documents.

References
----------
.. [1] Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_cost
from problems.problem import Instance
from problems.serving._batching.suites import PATIENCE_S, SPLITS, Traffic, draw_arrivals, instances_of, seeded
from problems.serving._server.machine import Host, Serving, limits_of, make_instance
from problems.serving._server.requests import Requests, make_requests

__all__ = ["SPLITS", "probes", "suite"]

CLIENTS, DOCUMENTS = 8, 6
KEPT_SHARE = 0.25  # of the KV cache
LOADS = (0.8, 0.95, 1.1, 1.25, 1.4, 1.6)  # fairness matters where not all can be served at once
EXTREMES = ((0.8, 0.7), (0.95, 0.7), (1.4, 1.3), (1.6, 1.3))  # of shift-load, with the factor that it is off by


class Scenario(NamedTuple):
    """Where requests go, how unequal clients are, and how many a second are about all that can be served."""

    host: Host
    skew: float
    document_tokens: float  # median
    saturation_per_s: float


SCENARIOS = {
    "a10-8b": Scenario(Host("A10", "Llama-3.1-8B"), 1.0, 1200.0, 2.0),
    "a100-32b": Scenario(Host("A100-80", "Qwen2.5-32B"), 1.5, 800.0, 1.1),
    "l40s-8b": Scenario(Host("L40S", "Llama-3.1-8B", share=0.3), 0.5, 1600.0, 3.4),
}
OTHER_GPUS = {
    "4090-8b": Scenario(Host("RTX-4090", "Llama-3.1-8B"), 1.0, 1200.0, 3.0),
    "h100-32b": Scenario(Host("H100", "Qwen2.5-32B"), 1.5, 800.0, 2.4),
}
OTHER_MODELS = {
    "a100-7b-mha": Scenario(Host("A100-80", "Llama-2-7B", share=0.6), 1.0, 1200.0, 4.5),
    "a100-70b": Scenario(Host("A100-80", "Llama-3.1-70B", tp=4, share=0.3), 1.0, 1200.0, 4.5),
}


def _zipf(count: int, skew: float) -> np.ndarray:
    weight = np.arange(1, count + 1, dtype=np.float64) ** -skew
    return weight / weight.sum()


def draw(scenario: Scenario, load: float, traffic: Traffic, rng: np.random.Generator) -> Requests:
    """Requests of one instance; the busiest client is not always the same."""
    n = traffic.size
    arrival_s = draw_arrivals(load * scenario.saturation_per_s, traffic, rng)
    client = rng.permutation(CLIENTS)[rng.choice(CLIENTS, size=n, p=_zipf(CLIENTS, scenario.skew))]
    document = client * DOCUMENTS + rng.choice(DOCUMENTS, size=n, p=_zipf(DOCUMENTS, 1.0))
    length = np.clip(
        np.rint(scenario.document_tokens * np.exp(0.6 * rng.standard_normal(CLIENTS * DOCUMENTS))), 64, 4096
    )
    question = np.clip(np.rint(80 * np.exp(0.8 * rng.standard_normal(n))), 4, 1024)
    # clients differ in how long their answers are
    verbosity = np.exp(0.5 * rng.standard_normal(CLIENTS))
    output = np.clip(
        np.rint(180 * verbosity[client] * np.exp(0.7 * rng.standard_normal(n))), 1, scenario.host.max_output
    )
    predicted = output * np.exp(traffic.predictor_spread * rng.standard_normal(n))
    return make_requests(
        arrival_s,
        length[document] + question,
        output,
        np.clip(predicted, 1.0, scenario.host.max_output),
        tenant=client,
        prefix=document,
        prefix_tokens=length[document],
    )


def on_host(requests: Requests, host: Host, *, kept_share: float = KEPT_SHARE) -> Serving:
    """An instance that keeps prefixes, on a known device and model; requests without a client are one's own."""
    limits = limits_of(host, float(requests.arrival_s[-1]) + PATIENCE_S)
    kept = int(kept_share * limits.blocks)
    if (requests.tenant < 0).any():
        requests = make_requests(**requests._asdict() | {"tenant": np.maximum(requests.tenant, 0)})
    cost = step_cost(host.device, host.model, host.tp, engine=host.engine)
    return make_instance(requests, cost, limits._replace(blocks=limits.blocks - kept, pool=kept * limits.block_tokens))


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic) -> Instance:
    requests = draw(scenario, load, traffic, seeded("fair", suite, name, load))
    return Instance(f"{suite}-{name}-{round(100 * load)}", name, on_host(requests, scenario.host))


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    shifted = {"shift-gpu": OTHER_GPUS, "shift-model": OTHER_MODELS}
    return instances_of(name, SCENARIOS, shifted, _instance, LOADS, EXTREMES)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances of three clients that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Serving:
    rng, n = seeded("fair", "probe", k), 18
    gaps = rng.exponential(0.15, n)
    output = rng.integers(2, 129, n)
    output[0], gaps[1] = 8, 3.0  # the first two requests never meet, and fare differently
    client = rng.choice(3, size=n, p=_zipf(3, 1.0))
    document = client * 2 + rng.integers(0, 2, n)
    length = rng.integers(100, 500, 6)
    requests = make_requests(
        np.cumsum(gaps),
        length[document] + rng.integers(1, 200, n),
        output,
        output * np.exp(0.5 * rng.standard_normal(n)),
        tenant=client,
        prefix=document,
        prefix_tokens=length[document],
    )
    return on_host(requests, Host("A10", "Llama-3.1-8B", share=0.12, max_output=128))
