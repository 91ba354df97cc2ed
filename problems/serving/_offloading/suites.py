"""Instances of serving/kv_offloading: the traffic of serving/prefix_eviction at servers with tiers of memory.

Half of all instances have a remote pool behind a small host cache, over Ethernet, from where loading can take longer
than computing; the others have a larger host cache alone, over PCIe.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np

from problems.problem import Instance
from problems.serving._eviction.suites import Draw, agents, chat, mixed, predictor, probe_calls, queries, teams, tenants
from problems.serving._eviction.workloads import prompts_of
from problems.serving._offloading.data import Memory, Offloading, on_host


class Traffic(NamedTuple):
    """What a suite does to all its scenarios."""

    size: int = 600  # requests of an instance
    load: float = 1.0
    capacity: float = 1.0  # of all tiers
    predictor: float = 1.0
    slowdown: float = 1.0  # of all links
    pool: float = 1.0  # speed of the pool's network


class Scenario(NamedTuple):
    """Who calls, what serves, and how much of each memory is left to prefixes that nobody runs on."""

    draw: Draw
    rate_per_s: float
    host: tuple[str, str, int]  # device, model, GPUs
    memories: tuple[Memory, ...]
    block_tokens: int = 512


SCENARIOS = {
    "chat-7b": Scenario(chat, 2.0, ("H100", "Qwen2.5-7B", 1), (Memory(500, 1500), Memory(500, 800, 6000))),
    "chat-70b": Scenario(chat, 1.0, ("H100", "Llama-3.1-70B", 8), (Memory(700, 2000), Memory(700, 1200, 6000))),
    "agents-7b-tp2": Scenario(agents, 1.0, ("H100", "Qwen2.5-7B", 2), (Memory(200, 400), Memory(200, 250, 1500))),
    "teams-8b": Scenario(teams, 3.5, ("A100-80", "Llama-3.1-8B", 1), (Memory(450, 1000), Memory(450, 600, 3000)), 256),
    "mixed-7b-tp2": Scenario(mixed, 2.4, ("H100", "Qwen2.5-7B", 2), (Memory(700, 1800), Memory(700, 1000, 6000)), 256),
}
OTHERS = {
    "queries-32b": Scenario(queries, 1.5, ("H200", "Qwen2.5-32B", 1), (Memory(250, 600), Memory(250, 300, 2000)), 128),
    "tenants-8b": Scenario(tenants, 5.0, ("L40S", "Llama-3.1-8B", 1), (Memory(800, 2000), Memory(800, 1000, 6000)), 64),
    "teams-70b": Scenario(
        teams, 1.5, ("A100-80", "Llama-3.1-70B", 4), (Memory(450, 1000), Memory(450, 600, 3000)), 256
    ),
}

SHIFTS = {
    "shift-capacity": (Traffic(capacity=0.5), Traffic(capacity=2.0)),
    "shift-link": (Traffic(slowdown=2.0), Traffic(slowdown=0.5)),
    "shift-pool": (Traffic(pool=0.4), Traffic(pool=8.0)),
    "shift-load": (Traffic(load=0.7), Traffic(load=1.3)),
    "shift-predictor": (Traffic(predictor=2.0),),
    "shift-family": (Traffic(),),
}
SPLITS = ("train", "valid", "test", *SHIFTS)


def draw_instance(scenario: Scenario, memory: Memory, traffic: Traffic, seed: int) -> Offloading:
    """One instance."""
    calls = scenario.draw(traffic.size, traffic.load * scenario.rate_per_s, 1.0, seed)
    rng = np.random.default_rng([seed, 7])
    prompts = prompts_of(calls, scenario.block_tokens, predictor(calls.kind, traffic.predictor), rng)
    gpu, host, remote = (round(traffic.capacity * blocks) for blocks in memory[:3])
    changed = Memory(gpu, host, remote, traffic.slowdown, traffic.pool * memory.pool_bytes_per_s)
    return on_host(prompts, scenario.host, changed, block_tokens=scenario.block_tokens)


@cache
def suite(name: str) -> tuple[Instance, ...]:
    """Instances of a split."""
    scenarios = OTHERS if name == "shift-family" else SCENARIOS
    traffics = SHIFTS.get(name, (Traffic(size=1200) if name == "test" else Traffic(),))
    if name in ("valid", "test"):
        traffics *= 2
    return tuple(
        Instance(
            f"{name}-{group}-{'pool' if memory.remote else 'host'}-{k}",
            group,
            draw_instance(scenario, memory, traffic, zlib.crc32(repr((name, group, memory[:3], k)).encode())),
        )
        for group, scenario in scenarios.items()
        for memory in scenario.memories
        for k, traffic in enumerate(traffics)
    )


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve small instances that soon run out of memory in all tiers; every other one has a pool."""
    return tuple(Instance(f"probe-{k}", "probe", _probe(k)) for k in range(12))


def _probe(k: int) -> Offloading:
    seed = zlib.crc32(b"offloading") + k
    calls = probe_calls(28, seed)
    prompts = prompts_of(calls, 128, predictor(calls.kind, 1.0), np.random.default_rng(seed))
    # a link so slow that loading a block takes about as long as computing it
    memory = Memory(10 + k // 4, 18 + k // 4, 24 * (k % 2), slowdown=4.0)
    return on_host(prompts, ("L4", "Llama-3.1-8B", 1), memory, block_tokens=128)
