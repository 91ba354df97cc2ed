"""What papers claim of the rules of serving/kv_offloading, and our experiments; fixed seeds, seconds each."""

from __future__ import annotations

import numpy as np

from problems.claims import Claim, Solve
from problems.problem import Baseline
from problems.serving._eviction.claims import MANY_WORKFLOWS, ONE_WORKFLOW, SEED, hinted
from problems.serving._eviction.suites import chat
from problems.serving._eviction.workloads import Teams, team_calls
from problems.serving._offloading.data import Memory, Offloading, on_host
from problems.serving._offloading.metrics import measure
from problems.serving._offloading.rules import BASELINES

BY_NAME: dict[str, Baseline] = {rule.name: rule for rule in BASELINES}
_KVFLOW_TOKENS = 256  # of a block
_CHAT_TOKENS = 512


def _mean_ttft(solve: Solve, rule: str, data: Offloading) -> float:
    return measure(data, solve(BY_NAME[rule], data))["mean_ttft"]


def _kvflow(solve: Solve, teams: Teams, rate_per_s: float) -> float:
    """Mean TTFT of LRU with loads over KVFlow's; the GPU holds half of all instructions, the host everything."""
    calls = team_calls(teams, 800, rate_per_s, cv=1.0, rng=np.random.default_rng(SEED))
    blocks = round(0.5 * teams.types * teams.agents * teams.instructions[0] / _KVFLOW_TOKENS)
    prompts = hinted(calls, _KVFLOW_TOKENS, 0.2)
    memory = Memory(blocks, host=np.size(prompts.parent))
    data = on_host(prompts, ("A100-80", "Llama-3.1-8B", 1), memory, block_tokens=_KVFLOW_TOKENS)
    return _mean_ttft(solve, "hicache", data) / _mean_ttft(solve, "kvflow", data)


def _conversations(solve: Solve) -> float:
    """Mean TTFT with what is left of a conversation thrown away, over the same with all of it on the host."""
    calls = chat(600, 0.25, 1.0, SEED)
    prompts = hinted(calls, _CHAT_TOKENS, 1.0)
    host, times = ("A100-80", "Llama-3.1-70B", 4), []
    for rule, below in (("recompute", 0), ("look_ahead", np.size(prompts.parent))):
        data = on_host(prompts, host, Memory(250, host=below), block_tokens=_CHAT_TOKENS)
        times.append(_mean_ttft(solve, rule, data))
    return times[0] / times[1]


_LOADS = "over a hierarchical radix cache that loads when the turn comes: speed-up of "
_NO_FETCH = (
    "waits for loads are a ninth of the time to the first token here, new tokens and the queue the rest; there is "
    "no more to win where all of it lies on the host"
)

CLAIMS = (
    Claim(
        "KVFlow (2025)",
        _LOADS + "single workflows with large prompts",
        "1.83x",
        1.83,
        1.83,
        setting="mean time to first token; ten agents with 8192 tokens each, half of which fit on the GPU and all on "
        "the host; theirs: whole latency",
        experiment=lambda solve: _kvflow(solve, ONE_WORKFLOW, 0.25),
    ),
    Claim(
        "KVFlow (2025)",
        _LOADS + "many concurrent workflows",
        "2.19x",
        2.19,
        2.19,
        setting="mean time to first token; twelve workflows of five agents, half of whose instructions fit on the GPU "
        "and all on the host",
        experiment=lambda solve: _kvflow(solve, MANY_WORKFLOWS, 2.5),
        why=_NO_FETCH,
    ),
    Claim(
        "CachedAttention (2024)",
        "KV cache of conversations kept on the host over computing it again: mean time to first token",
        "up to 87 % lower",
        1 / (1 - 0.87),
        1 / (1 - 0.87),
        setting="Llama-3.1-70B on four A100, conversations as in Mooncake's trace at 0.25/s, a GPU cache of 250 blocks "
        "of 512 tokens; as the ratio of the means",
        experiment=_conversations,
        why="seven tenths of all tokens of these conversations come up for the first time, and no cache has them; the "
        "paper's conversations repeat most of theirs",
    ),
)
