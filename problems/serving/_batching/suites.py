"""Instances of serving/continuous_batching: hosts, traffic and load, drawn from fixed seeds.

Lengths are those fitted to the Azure LLM inference traces of November 2023, conversations ("chat") and code
[1]_, cut to what the host can hold. Arrivals are a renewal process with Gamma gaps. A predictor is off by a
log-normal factor. Two of three requests are interactive, the others can wait.

References
----------
.. [1] Patel et al. (2024), "Splitwise: efficient generative LLM inference using phase splitting", ISCA.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np

from problems.problem import Instance
from problems.serving._server.machine import Host, Serving, on_host
from problems.serving._server.requests import Requests, make_requests
from problems.serving._workloads.table import AZURE_CODE, AZURE_CONV

LONGEST_PROMPT = 4096
S = TypeVar("S")


class Scenario(NamedTuple):
    """Where requests go, what they are like, and how many a second are about all that can be served."""

    host: Host
    chat_share: float
    saturation_per_s: float


SCENARIOS = {
    "a10-chat": Scenario(Host("A10", "Llama-3.1-8B"), 1.0, 1.75),
    "a100-32b-chat": Scenario(Host("A100-80", "Qwen2.5-32B"), 1.0, 1.3),
    "l40s-mixed": Scenario(Host("L40S", "Llama-3.1-8B", share=0.3), 0.6, 5.2),
}
OTHER_GPUS = {
    "4090-chat": Scenario(Host("RTX-4090", "Llama-3.1-8B"), 1.0, 3.3),
    "h100-32b-chat": Scenario(Host("H100", "Qwen2.5-32B"), 1.0, 3.1),
}
OTHER_MODELS = {
    "a100-7b-mha": Scenario(Host("A100-80", "Llama-2-7B", share=0.5), 0.8, 4.35),
    "a100-70b-tp4": Scenario(Host("A100-80", "Llama-3.1-70B", tp=4, share=0.3), 1.0, 2.8),
}
LOADS = (0.6, 0.75, 0.85, 0.95, 1.05, 1.15)  # of saturation
DRAWS = {"train": 3, "valid": 4, "test": 3}  # instances of each scenario and load; one in other suites
PATIENCE_S = 600.0  # after the last arrival nothing starts


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    size: int = 500  # requests of an instance
    load_factor: float = 1.0
    predictor_spread: float = 0.5  # standard deviation of the logarithm of predicted over true output
    gap_cv: float = 1.5  # coefficient of variation of gaps between arrivals


def draw_arrivals(rate_per_s: float, traffic: Traffic, rng: np.random.Generator) -> np.ndarray:
    """(size,) arrival times: a renewal process with Gamma gaps."""
    shape = traffic.gap_cv**-2
    rate = rate_per_s * traffic.load_factor
    return np.cumsum(rng.gamma(shape, 1.0 / (shape * rate), traffic.size))


def instances_of(
    name: str,
    scenarios: Mapping[str, S],
    shifted: Mapping[str, Mapping[str, S]],
    build: Callable[[str, str, S, float, Traffic], Instance],
    loads: tuple[float, ...],
    extremes: tuple[tuple[float, float], ...],
) -> tuple[Instance, ...]:
    """Instances of a split: each scenario, or those of a shift, at each load; shifts but for load at the middle four.

    Parameters
    ----------
    name : str
        One of SPLITS.
    scenarios, shifted
        Scenarios by name, and those that stand in their place in a split, by split.
    build : callable
        Builds an instance from split, name, scenario, load and traffic.
    loads, extremes
        Shares of saturation; of shift-load with the factor that it is off by.
    """
    traffic = Traffic(size=800 if name == "test" else 400)
    if name == "shift-load":
        pairs = extremes
    else:
        pairs = tuple((load, 1.0) for load in (loads if name in ("train", "valid", "test") else loads[1:5]))
    if name == "shift-predictor":
        traffic = traffic._replace(predictor_spread=1.0)
    elif name == "shift-burst":
        traffic = traffic._replace(gap_cv=3.0)
    return tuple(
        build(name, group, scenario, load, traffic._replace(load_factor=factor))
        for group, scenario in shifted.get(name, scenarios).items()
        for load, factor in pairs
    )


def draw(scenario: Scenario, load: float, traffic: Traffic, rng: np.random.Generator) -> Requests:
    """Requests of one instance."""
    n = traffic.size
    arrival_s = draw_arrivals(load * scenario.saturation_per_s, traffic, rng)
    chat = rng.random(n) < scenario.chat_share
    lengths = np.rint(np.where(chat[:, None], AZURE_CONV.sample(n, rng), AZURE_CODE.sample(n, rng)))
    output = np.clip(lengths[:, 1], 1, scenario.host.max_output)
    predicted = output * np.exp(traffic.predictor_spread * rng.standard_normal(n))
    interactive = rng.random(n) < 2 / 3
    return make_requests(
        arrival_s,
        np.clip(lengths[:, 0], 8, LONGEST_PROMPT),
        output,
        np.clip(predicted, 1.0, scenario.host.max_output),
        priority=np.where(interactive, 0, 1),
        ttft_slo_s=np.where(interactive, 2.0, 20.0),
        tpot_slo_s=np.where(interactive, 0.1, 0.3),
    )


def seeded(*key: object) -> np.random.Generator:
    """A generator of one's own for each key."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def _instance(suite: str, name: str, scenario: Scenario, load: float, traffic: Traffic, again: int = 0) -> Instance:
    """An instance of a suite; the first of a scenario and load, or another one."""
    requests = draw(scenario, load, traffic, seeded(suite, name, load, *[again] * (again > 0)))
    data = on_host(requests, scenario.host, float(requests.arrival_s[-1]) + PATIENCE_S)
    return Instance(f"{suite}-{name}-{round(100 * load)}" + f"-{again + 1}" * (again > 0), name, data)


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    scenarios, traffic = SCENARIOS, Traffic()
    if name == "shift-gpu":
        scenarios = OTHER_GPUS
    elif name == "shift-model":
        scenarios = OTHER_MODELS
    elif name == "shift-load":
        return tuple(
            _instance(name, group, scenario, load, Traffic(load_factor=factor))
            for group, scenario in scenarios.items()
            for load, factor in ((0.6, 0.7), (0.75, 0.7), (1.05, 1.3), (1.15, 1.3))
        )
    elif name == "shift-predictor":
        traffic = Traffic(predictor_spread=1.0)
    elif name == "shift-burst":
        traffic = Traffic(gap_cv=3.0)
    elif name == "train":
        traffic = Traffic(size=400)  # what guides is run most often
    elif name == "test":
        traffic = Traffic(size=1000)
    loads = LOADS if name in ("train", "valid", "test") else LOADS[1:5]
    return tuple(
        _instance(name, group, scenario, load, traffic, again)
        for again in range(DRAWS.get(name, 1))
        for group, scenario in scenarios.items()
        for load in loads
    )


SPLITS = ("train", "valid", "test", "shift-gpu", "shift-model", "shift-load", "shift-predictor", "shift-burst")


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Serving:
    rng, n = seeded("probe", k), 16
    gaps = rng.exponential(0.4, n)
    output = rng.integers(2, 129, n)
    output[0], gaps[1] = 8, 3.0  # the first two requests never meet, and fare differently
    requests = make_requests(
        np.cumsum(gaps),
        rng.integers(16, 700, n),
        output,
        output * np.exp(0.5 * rng.standard_normal(n)),
        priority=rng.integers(0, 2, n),
        ttft_slo_s=2.0,
        tpot_slo_s=0.1,
    )
    host = Host("A10", "Llama-3.1-8B", share=0.08, max_output=128)
    return on_host(requests, host, float(requests.arrival_s[-1]) + 100.0)
