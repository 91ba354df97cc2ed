"""What papers claim of the rules of serving/request_routing, and our experiments.

Each experiment has fixed seeds and takes seconds.
"""

from __future__ import annotations

import numpy as np

from problems.claims import Claim, Solve
from problems.problem import Baseline
from problems.serving._routing.offline import draw_questions, grouped_by_prefix, in_order
from problems.serving._routing.rules import RULES
from problems.serving._routing.suites import SCENARIOS, Scenario, Traffic, make
from problems.serving._server.machine import Host

BY_NAME = {rule.name: rule for rule in RULES}
LONG = SCENARIOS["a100-long"]
MIXED = SCENARIOS["mixed-sql"]


def _ttft_s(solve: Solve, rule: Baseline, scenario: Scenario, load: float, seed: int) -> np.ndarray:
    data = make(scenario, load, Traffic(), seed)
    return np.asarray(solve(rule, data).first_token_s - data.requests.arrival_s)


def _capacity(solve: Solve, rule: str) -> float:
    """Highest load at which nine of ten first tokens come within 5 s, by bisection, within 2 %."""
    low, high = 0.05, 4.0
    while high / low > 1.02:
        load = float(np.sqrt(low * high))
        kept = np.mean([np.mean(_ttft_s(solve, BY_NAME[rule], LONG, load, seed) <= 5.0) for seed in (1, 2)])
        low, high = (load, high) if kept >= 0.9 else (low, load)
    return low


def _dual_map(solve: Solve) -> float:
    return _capacity(solve, "dual_map") / max(_capacity(solve, "prefix_hash"), _capacity(solve, "least_requests"))


def _tail(solve: Solve) -> float:
    """P99 of round robin over that of the freest."""
    tails = [
        np.mean([np.quantile(_ttft_s(solve, BY_NAME[rule], LONG, 0.8, seed), 0.99) for seed in (1, 2, 3)])
        for rule in ("round_robin", "llumnix")
    ]
    return float(tails[0] / tails[1])


def _deadline(solve: Solve) -> float:
    """Latency within which 95 % end: round robin over the alpha rule."""
    ends = []
    for rule in ("round_robin", "hexgen"):
        found = []
        for seed in (1, 2, 3):
            data = make(MIXED, 0.25, Traffic(), seed)
            found.append(np.quantile(solve(BY_NAME[rule], data).finish_s - data.requests.arrival_s, 0.95))
        ends.append(np.mean(found))
    return float(ends[0] / ends[1])


def _batch_llm(solve: Solve) -> float:
    """Makespan in random order over that by groups, geometric mean of two batches and two sizes of cache."""
    ratios = []
    for documents, each in ((100, 20), (200, 10)):
        rng = np.random.default_rng(20241129)
        questions = draw_questions(documents, each, rng)
        orders = (rng.permutation(documents * each), grouped_by_prefix(questions))
        for share in (1.0, 0.3):
            host = Host("A100-80", "Llama-3.1-8B", share=share)
            shuffled, grouped = (
                solve(BY_NAME["round_robin"], in_order(questions, order, host)).finish_s.max() for order in orders
            )
            ratios.append(float(shuffled / grouped))
    return float(np.exp(np.mean(np.log(ratios))))


CLAIMS = (
    Claim(
        "DualMap (2026)",
        "two hashes with a switch to load over the better of pure affinity and pure balance: capacity at equal TTFT",
        "up to 2.25x",
        2.25,
        2.25,
        setting="Llama-3.1-8B on 8 A100, conversations as in Mooncake's trace, 90 % of first tokens within 5 s",
        experiment=_dual_map,
        slow=True,
        why="theirs is the best of several traces, and migrates requests from hot servers besides",
    ),
    Claim(
        "Llumnix (2024)",
        "dispatch to the freest server over round robin: P99 time to first token",
        "10x lower",
        10.0,
        10.0,
        setting="as above at 80 % load; dispatch alone, theirs with live migration",
        experiment=_tail,
        slow=True,
        why="the tail here is the longest prompt's own prefill, which no dispatch shortens; serving/live_migration has "
        "migration",
    ),
    Claim(
        "HexGen-Text2SQL (2025)",
        "alpha rule over round robin on unequal GPUs: deadline that 95 % meet",
        "1.41x tighter",
        1.41,
        1.41,
        setting="text-to-SQL calls on one H100, one A100 and four A10, 8B model, 25 % load; calls, not whole queries",
        experiment=_deadline,
        slow=True,
        why="an A10 is eight times slower than an H100; the paper's GPUs differ by less, and it also reorders queues",
    ),
    Claim(
        "DualMap (2026)",
        "migration from hotspots, and a dual ring for scaling",
        "part of the design; no figure taken",
        why="serving/live_migration has it among its rules; no figure to compare with, and no server comes or goes",
    ),
    Claim(
        "BatchLLM (2024)",
        "requests grouped by prefix, more output first, over vLLM in order of arrival: offline throughput",
        "1.1-2x",
        1.1,
        2.0,
        setting="2000 questions on 100 or 200 documents, Llama-3.1-8B on an A100 with all or 30 % of the KV cache; "
        "batches are limited to 256 requests in both; theirs also fuses attention over prefixes",
        experiment=_batch_llm,
        slow=True,
    ),
)
