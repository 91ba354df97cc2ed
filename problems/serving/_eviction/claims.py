"""What papers claim of the rules of serving/prefix_eviction, and our experiments; fixed seeds, seconds each."""

from __future__ import annotations

import numpy as np

from problems.claims import Claim, Solve
from problems.problem import Baseline
from problems.serving._eviction.bound import farthest_next_use
from problems.serving._eviction.data import Caching, Prompts, on_host
from problems.serving._eviction.replay import measure, verify
from problems.serving._eviction.rules import RULES
from problems.serving._eviction.suites import SCENARIOS, Traffic, agents, draw_instance
from problems.serving._eviction.workloads import Calls, Predictor, Teams, prompts_of, team_calls

BY_NAME: dict[str, Baseline] = {rule.name: rule for rule in RULES}
SEED = 20260712
ONE_WORKFLOW = Teams(types=1, agents=10, instructions=(8192.0, 0.0), added=(256.0, 0.3), rounds=(4, 8), skips=0.0)
MANY_WORKFLOWS = Teams(instructions=(3000.0, 0.0), added=(256.0, 0.3), rounds=(4, 8))


def hinted(calls: Calls, block_tokens: int, predictor: float) -> Prompts:
    """Calls with hints of one quality: spread, and a sixth of it as the share of wrong ends."""
    n = len(calls.arrival_s)
    hints = Predictor(np.full(n, predictor), np.full(n, predictor / 6))
    return prompts_of(calls, block_tokens, hints, np.random.default_rng(SEED))


def _served(calls: Calls, host: tuple[str, str, int], block_tokens: int, blocks: int, predictor: float) -> Caching:
    """Hinted calls on a host."""
    return on_host(hinted(calls, block_tokens, predictor), host, block_tokens=block_tokens, blocks=blocks)


def _kvflow(solve: Solve, teams: Teams, rate_per_s: float, seed: int) -> float:
    """Mean TTFT of LRU over KVFlow's; the cache holds half of all instructions."""
    calls = team_calls(teams, 800, rate_per_s, cv=1.0, rng=np.random.default_rng(seed))
    blocks = round(0.5 * teams.types * teams.agents * teams.instructions[0] / 256)
    data = _served(calls, ("A100-80", "Llama-3.1-8B", 1), 256, blocks, 0.2)
    lru, kvflow = (measure(data, solve(BY_NAME[name], data))["mean_ttft"] for name in ("lru", "kvflow"))
    return lru / kvflow


def _one_workflow(solve: Solve) -> float:
    """Ten agents with instructions of 8192 tokens."""
    return _kvflow(solve, ONE_WORKFLOW, 0.25, SEED)


def _many_workflows(solve: Solve) -> float:
    """Twelve workflows of five agents with instructions of 3000 tokens, ten or so at once."""
    return _kvflow(solve, MANY_WORKFLOWS, 2.5, SEED)


def _saga(solve: Solve) -> float:
    """Computed prompt tokens over those of farthest next use: agents and workflows, both sizes of the cache."""
    saga = best = 0.0
    for name in ("agents-7b-tp2", "teams-8b"):
        for blocks in SCENARIOS[name].blocks:
            data = draw_instance(SCENARIOS[name], blocks, Traffic(), SEED)
            saga += measure(data, solve(BY_NAME["saga"], data))["uncached"]
            found = farthest_next_use(data)
            verify(data, found)
            best += measure(data, found)["uncached"]
    return saga / best


def job_seconds(data: Caching, finish_s: np.ndarray) -> float:
    """Mean duration of jobs with more than five calls: tools and answers as drawn, and the waits for first tokens."""
    seconds = []
    for session in np.unique(data.session):
        own = np.flatnonzero(data.session == session)
        if len(own) > 5:
            waits_s = (finish_s[own] - data.arrival_s[own]).sum()
            seconds.append(data.arrival_s[own[-1]] - data.arrival_s[own[0]] + waits_s)
    return float(np.mean(seconds))


def _continuum(solve: Solve, host: tuple[str, str, int], rate_per_s: float) -> float:
    """Job duration of LRU over Continuum's; coding agents, geometric mean over caches of 300 to 600 blocks."""
    calls, gains = agents(1200, rate_per_s, 1.0, 11), []
    for blocks in (300, 400, 500, 600):
        data = _served(calls, host, 512, blocks, 0.6)
        lru, continuum = (job_seconds(data, solve(BY_NAME[name], data).finish_s) for name in ("lru", "continuum"))
        gains.append(lru / continuum)
    return float(np.exp(np.mean(np.log(gains))))


CLAIMS = (
    Claim(
        "KVFlow (2025)",
        "steps to execution over LRU: speed-up of single workflows with large prompts",
        "1.83x",
        1.83,
        1.83,
        setting="mean time to first token; ten agents with 8192 tokens each, half of which fit; theirs: whole latency",
        experiment=_one_workflow,
        why="theirs also fetches the next agent's blocks from the host ahead of time: serving/kv_offloading has that",
    ),
    Claim(
        "KVFlow (2025)",
        "steps to execution over LRU: speed-up of many concurrent workflows",
        "2.19x",
        2.19,
        2.19,
        setting="mean time to first token; twelve workflows of five agents, half of whose instructions fit",
        experiment=_many_workflows,
        why="theirs also fetches the next agent's blocks from the host ahead of time: serving/kv_offloading has that",
    ),
    Claim(
        "SAGA (2026)",
        "eviction with predicted reuse: times the misses of Belady's rule",
        "within 1.31x",
        1.0,
        1.31,
        setting="computed prompt tokens over those of farthest next use; our agents and workflows",
        experiment=_saga,
        tolerance=0.02,
    ),
    Claim(
        "Continuum (2025)",
        "time to live over LRU: mean duration of SWE-bench jobs, 70B",
        "2.16x shorter",
        2.16,
        2.16,
        setting="Llama-3.1-70B on 4 A100, coding agents at 0.5 calls/s, caches of 300 to 600 blocks of 512 tokens, "
        "geometric mean; waits are added to jobs as drawn",
        experiment=lambda solve: _continuum(solve, ("A100-80", "Llama-3.1-70B", 4), 0.5),
        why="1.03x to 1.21x over the sizes of the cache; theirs also serves calls in the order of their jobs",
    ),
    Claim(
        "Continuum (2025)",
        "time to live over LRU: mean duration of jobs, 8B, trace replay at concurrency 32-64",
        "1.02-1.06x shorter",
        1.02,
        1.06,
        setting="Llama-3.1-8B on an A100, coding agents at 0.6 calls/s; as above",
        why="1.00x to 1.10x over the sizes of the cache",
        experiment=lambda solve: _continuum(solve, ("A100-80", "Llama-3.1-8B", 1), 0.6),
        tolerance=0.02,
    ),
    Claim(
        "SAGA (2026)",
        "workflow-atomic scheduling: task completion time",
        "1.64x shorter",
        why="needs calls that start when the one before ends, and their scheduling; arrivals are fixed here",
    ),
)
