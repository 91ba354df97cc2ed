"""What papers claim of the rules of serving/fleet_scaling, and our experiments: fixed seeds, seconds each."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import step_cost, step_seconds
from problems.claims import Claim, Solve
from problems.problem import Baseline
from problems.serving._fleet.data import Elastic
from problems.serving._fleet.metrics import measure
from problems.serving._fleet.rules import RULES
from problems.serving._fleet.suites import SCENARIOS, SHAPES, Shape, Traffic, make

BY_NAME = {rule.name: rule for rule in RULES}
CHAT = SCENARIOS["a10-chat"]
SEEDS = (1, 2, 3)


def _tail_and_time(solve: Solve, rule: Baseline, instances: list[Elastic]) -> tuple[float, float]:
    """99th percentile of the time to first token, and instance time, means of instances."""
    found = [measure(data, solve(rule, data)) for data in instances]
    return float(np.mean([m["p99_ttft"] for m in found])), float(np.mean([m["instance_time"] for m in found]))


def _llumnix(solve: Solve) -> float:
    """Instance time of the smallest static fleet whose tail is no longer, over that of the thresholds."""
    instances = [make(CHAT, SHAPES["day"], Traffic(), seed) for seed in SEEDS]
    tail_s, time = _tail_and_time(solve, BY_NAME["llumnix"], instances)
    paid = 100.0
    for first in range(1, CHAT.offers[0].places + 1):
        fixed = CHAT._replace(offers=(CHAT.offers[0]._replace(first=first),))
        static = [make(fixed, SHAPES["day"], Traffic(), seed) for seed in SEEDS]
        static_s, paid = _tail_and_time(solve, BY_NAME["static_mean"], static)
        if static_s <= tail_s:
            break
    return paid / time


def _bursts(solve: Solve) -> float:
    """Cost of the thresholds under bursts over that without, at the same mean rate."""
    smooth, burst = Shape(0.35, 0.3), Shape(0.35, 0.3, 20.0, 3.0)
    costs = []
    for shape, factor in ((smooth, 0.5), (burst, 1.0)):
        traffic = Traffic(burst=factor)
        instances = [make(CHAT, shape, traffic, seed) for seed in SEEDS]
        costs.append(np.mean([measure(data, solve(BY_NAME["llumnix"], data))["cost"] for data in instances]))
    return float(costs[1] / costs[0])


def break_even(lookup_s: float, saved_s: float) -> float:
    """Hit rate at which a cache that is asked about every request, and saves so much at a hit, pays for itself."""
    return lookup_s / saved_s


def _break_even(solve: Solve) -> float:
    """Break-even with lookups of 30 ms over that with 2 ms; a hit saves a short answer less the lookup."""
    cost = step_cost("H100", "Llama-3.1-8B")
    answer_s = step_seconds(cost, 512, 512 * 256.0, 0, 0.0)
    answer_s += sum(step_seconds(cost, 0, 0.0, 1, float(512 + k)) for k in range(16))
    # Who hits pays the lookup too, and is spared the answer.
    slow, fast = (break_even(lookup_s, answer_s) for lookup_s in (0.030, 0.002))
    return slow / fast


CLAIMS = (
    Claim(
        "Llumnix (2024)",
        "automatic scaling: cost at equal tail latency",
        "36 % lower (1.56x)",
        1.56,
        1.56,
        setting="12 A10 at most, 8B model, a day of chats; over the smallest static fleet with no longer P99 TTFT",
        experiment=_llumnix,
        why="theirs is over another autoscaler, and much of it from live migration, which is not modelled here",
    ),
    Claim(
        "BurstGPT (2024)",
        "bursty arrivals cost a threshold rule more than smooth ones at the same mean rate",
        "a direction; no figure taken",
        1.02,
        100.0,
        setting="Llumnix' thresholds, 12 A10 at most, 8B model; bursts of 30 s at three times the rate, 20 an hour",
        experiment=_bursts,
        tolerance=0.0,
    ),
    Claim(
        "Semantic caching (2025)",
        "break-even hit rate with lookups of 30 ms (15-20 %) over that with 2 ms (3-5 %)",
        "3-6.7x",
        3.0,
        6.7,
        setting="algebra: the lookup over what a hit saves, here 16 tokens of an 8B model on an H100",
        experiment=_break_even,
        why="with one saved time the ratio is that of the lookups, 15x, whatever the model: 15-20 % at 30 ms means "
        "1.0-1.3 % at 2 ms; the published 3-5 % must hold a fixed cost besides",
    ),
    Claim(
        "WRP (2026)",
        "pools by context length",
        "a vision; no figure",
        why="no figure to compare with; the rule length_pools stands among the baselines",
    ),
    Claim(
        "Glia (2025)",
        "a router, scheduler and autoscaler that were evolved are as good as those of experts",
        "level of human experts",
        why="neither its programs nor its cluster are known here; runs of this problem print what they find next to "
        "the baselines",
    ),
)
