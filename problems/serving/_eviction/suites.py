"""Instances of serving/prefix_eviction: traffic, server and size of the cache, drawn from fixed seeds.

Conversations are those fitted to the Mooncake trace [1]_, coding agents those measured by agentcgroup, and
teams workflows of agents that take turns; see _workloads/workloads.py and _eviction/workloads.py. Hints are poor for
people, fair for tools, and good for workflows.

References
----------
.. [1] Qin et al. (2025), "Mooncake: trading more storage for less computation", FAST.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance
from problems.serving._eviction.data import Caching, on_host
from problems.serving._eviction.workloads import Calls, Predictor, Teams, calls_of, merged, prompts_of, team_calls
from problems.serving._workloads.workloads import make_workload


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    size: int = 800  # requests of an instance
    load: float = 1.0
    capacity: float = 1.0
    predictor: float = 1.0
    cv: float = 1.0  # coefficient of variation of gaps between sessions


Draw = Callable[[int, float, float, int], Calls]  # (size, requests per second, cv, seed)


def chat(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """Conversations: people read answers and ask again, or not."""
    return calls_of(make_workload("mooncake-conversation", size, seed, rate_per_s=rate_per_s, cv=cv), 0)


def agents(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """Coding agents: dozens of calls with tools in between."""
    return calls_of(make_workload("coding-agents", size, seed, rate_per_s=rate_per_s, cv=cv), 1)


def teams(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """Workflows of agents that take turns."""
    return team_calls(Teams(), size, rate_per_s, cv=cv, rng=np.random.default_rng([seed, 6]))


def mixed(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """All three at one server."""
    shares = ((chat, 0.3), (agents, 0.3), (teams, 0.4))
    parts = [draw(int(share * size), share * rate_per_s, cv, seed) for draw, share in shares]
    return merged(parts)


def queries(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """Text-to-SQL: seven steps, each with its own system prompt."""
    return calls_of(make_workload("text-to-sql", size, seed, rate_per_s=rate_per_s, cv=cv), 2)


def tenants(size: int, rate_per_s: float, cv: float, seed: int) -> Calls:
    """Conversations of tenants with a hundred system prompts."""
    return calls_of(make_workload("tenants", size, seed, rate_per_s=rate_per_s, cv=cv), 0)


class Scenario(NamedTuple):
    """Who calls, what serves, and how much of its memory is left to prefixes that nobody runs on."""

    draw: Draw
    rate_per_s: float
    host: tuple[str, str, int]  # device, model, GPUs
    blocks: tuple[int, ...]  # sizes of the cache
    block_tokens: int = 512


SCENARIOS = {
    "chat-7b": Scenario(chat, 1.8, ("H100", "Qwen2.5-7B", 1), (800, 1800)),
    "chat-70b": Scenario(chat, 0.9, ("H100", "Llama-3.1-70B", 8), (1200, 2400)),
    "agents-7b-tp2": Scenario(agents, 0.9, ("H100", "Qwen2.5-7B", 2), (300, 450)),
    "teams-8b": Scenario(teams, 3.5, ("A100-80", "Llama-3.1-8B", 1), (600, 1200), 256),
    "mixed-7b-tp2": Scenario(mixed, 2.2, ("H100", "Qwen2.5-7B", 2), (800, 1600), 256),
}
OTHERS = {
    "queries-32b": Scenario(queries, 1.5, ("H200", "Qwen2.5-32B", 1), (300, 900), 128),
    "tenants-8b": Scenario(tenants, 5.0, ("L40S", "Llama-3.1-8B", 1), (800, 2400), 64),
    "teams-70b": Scenario(teams, 1.5, ("A100-80", "Llama-3.1-70B", 4), (800, 1600), 256),
}

SHIFTS = {
    "shift-capacity": (Traffic(capacity=0.5), Traffic(capacity=2.0)),
    "shift-load": (Traffic(load=0.7), Traffic(load=1.3)),
    "shift-predictor": (Traffic(predictor=2.0),),
    "shift-burst": (Traffic(cv=3.0),),
    "shift-family": (Traffic(),),
}
SPLITS = ("train", "valid", "test", *SHIFTS)


def predictor(kinds: np.ndarray, factor: float) -> Predictor:
    """Hints about people are off by a factor of 2.7 either way, about tools by 1.8, about workflows by 1.5."""
    spread, miss = np.array([1.0, 0.6, 0.4])[kinds], np.array([0.25, 0.1, 0.05])[kinds]
    return Predictor(factor * spread, np.minimum(factor * miss, 0.5))


def draw_instance(scenario: Scenario, blocks: int, traffic: Traffic, seed: int) -> Caching:
    """One instance."""
    calls = scenario.draw(traffic.size, traffic.load * scenario.rate_per_s, traffic.cv, seed)
    rng = np.random.default_rng([seed, 7])
    prompts = prompts_of(calls, scenario.block_tokens, predictor(calls.kind, traffic.predictor), rng)
    return on_host(prompts, scenario.host, block_tokens=scenario.block_tokens, blocks=round(traffic.capacity * blocks))


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    scenarios = OTHERS if name == "shift-family" else SCENARIOS
    traffics = SHIFTS.get(name, (Traffic(size=1500) if name == "test" else Traffic(),))
    if len(traffics) == 1:
        traffics *= 2
    return tuple(
        Instance(
            f"{name}-{group}-{blocks}-{k}",
            group,
            draw_instance(scenario, blocks, traffic, zlib.crc32(repr((name, group, blocks, k)).encode())),
        )
        for group, scenario in scenarios.items()
        for blocks in scenario.blocks
        for k, traffic in enumerate(traffics)
    )


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def probe_calls(size: int, seed: int) -> Calls:
    """So many calls of two workflows with short prompts, taken to be of all kinds."""
    teams = Teams(types=2, agents=3, instructions=(500.0, 0.3), added=(200.0, 0.5), pause_s=(2.0, 0.5))
    calls = team_calls(teams, size, 3.0, cv=1.0, rng=np.random.default_rng(seed))
    return calls._replace(kind=calls.session % 3)


def _probe(k: int) -> Caching:
    seed = zlib.crc32(b"probe") + k
    calls = probe_calls(24, seed)
    # the second call repeats part of the first and does not fit beside it
    prompts = prompts_of(calls, 64, predictor(calls.kind, 1.0), np.random.default_rng(seed))
    return on_host(prompts, ("L4", "Llama-3.1-8B", 1), block_tokens=64, blocks=20 + k)
