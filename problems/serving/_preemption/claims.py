"""What papers claim of the rules of serving/preemption, and our experiments: fixed seeds, seconds each."""

from __future__ import annotations

import numpy as np

from problems.claims import Claim, Solve
from problems.serving._batching.claims import SHAREGPT, Lengths, capacity
from problems.serving._batching.suites import Traffic
from problems.serving._preemption.metrics import measure
from problems.serving._preemption.rules import RULES
from problems.serving._preemption.suites import SCENARIOS, Scenario, draw, on_host
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Host, Serving
from problems.serving._server.requests import make_requests

BY_NAME = {rule.name: rule for rule in RULES}
_SEED = 20_251_106


def _flowprefill(solve: Solve) -> float:
    """Highest rates at which 90 % of first tokens are in time, prompts only; the ratio of two rules."""
    scenario = SCENARIOS["a100-8b"]._replace(saturation_per_s=1.0)

    def goodput(name: str) -> float:
        def meets(rate_per_s: float) -> bool:
            drawn = draw(scenario, rate_per_s, Traffic(size=500, gap_cv=1.0), np.random.default_rng(_SEED))
            once = make_requests(**drawn._asdict() | {"output_tokens": np.ones(500), "predicted_output": np.ones(500)})
            data = on_host(once, scenario.host)
            return measure(data, solve(BY_NAME[name], data))["slo_attainment"] >= 90.0

        return capacity(meets)

    return goodput("flowprefill") / goodput("fcfs_whole")


def _qllm(solve: Solve) -> float:
    """Mean time to first token of urgent requests, run to completion over cut steps."""
    scenario = Scenario(Host("A100-80", "Qwen3-30B-A3B"), 0.5, 1.2)
    data = on_host(draw(scenario, 0.95, Traffic(size=800), np.random.default_rng(_SEED)), scenario.host, operators=1)
    fcfs, cut = (measure(data, solve(BY_NAME[name], data))["urgent_mean_ttft"] for name in ("fcfs_whole", "qllm"))
    return fcfs / cut


def _chat(host: Host, lengths: Lengths, rate_per_s: float) -> Serving:
    rng, n = np.random.default_rng(_SEED), 800
    gaps = rng.exponential(1.0, n)
    prompt = np.clip(np.rint(lengths.prompt[0] * np.exp(lengths.prompt[1] * rng.standard_normal(n))), 4, 2048)
    output = np.clip(
        np.rint(lengths.output[0] * np.exp(lengths.output[1] * rng.standard_normal(n))), 1, host.max_output
    )
    predicted = np.clip(output * np.exp(0.5 * rng.standard_normal(n)), 1, host.max_output)
    requests = make_requests(np.cumsum(gaps) / rate_per_s, prompt, output, predicted, priority=1)
    return on_host(requests, host, group_blocks=1)


def _alise(solve: Solve) -> float:
    """Highest rates at which the mean latency per token is within 200 ms; the ratio of two rules."""
    host = Host("A100-80", "OPT-13B", share=0.27, max_output=1024)

    def rate(name: str) -> float:
        def meets(rate_per_s: float) -> bool:
            data = _chat(host, SHAREGPT, rate_per_s)
            return measure(data, solve(BY_NAME[name], data))["best_effort_latency"] <= 200.0

        return capacity(meets)

    return rate("alise") / rate("vllm")


def _fastswitch(solve: Solve) -> float:
    """99th percentile of the time to first token, copies of one block over copies of twenty, swaps under classes."""
    scenario = Scenario(Host("A100-80", "Llama-3.1-8B", share=0.12), 0.6, 3.0)
    requests = draw(scenario, 1.0, Traffic(size=800), np.random.default_rng(_SEED))
    tails = []
    for group_blocks in (1, 20):
        data = on_host(requests, scenario.host, group_blocks=group_blocks)
        found: Timeline = solve(BY_NAME["fastswitch"], data)
        tails.append(float(np.quantile(found.first_token_s - requests.arrival_s, 0.99)))
    return tails[0] / tails[1]


CLAIMS = (
    Claim(
        "FlowPrefill (2026)",
        "preemption at operator boundaries: goodput",
        "up to 5.6x",
        5.6,
        5.6,
        setting="prompts only, Llama-3.1-8B on an A100, over FCFS with whole prompts; 90 % of first tokens in time",
        experiment=_flowprefill,
        slow=True,
        why="the published figure is the best of several traces and systems; this is one, at one mix of lengths",
    ),
    Claim(
        "QLLM (2025)",
        "preemption at layer boundaries: time to first token of latency-sensitive requests",
        "65.5x lower",
        65.5,
        65.5,
        setting="Qwen3-30B-A3B on an A100, half the requests urgent, over FCFS with whole prompts",
        experiment=_qllm,
        slow=True,
        why="how long the queue is under first come, first served sets the factor; one load is tried here",
    ),
    Claim(
        "ALISE (2024)",
        "levels of predicted time left, with swaps, over vLLM: throughput at equal latency, ShareGPT",
        "2.1x",
        2.1,
        2.1,
        setting="OPT-13B with the KV cache of an A100-40, ShareGPT-like lengths, 200 ms per token",
        experiment=_alise,
        slow=True,
        why="swaps hold up the server here, and predictions are off by a factor of 1.6",
    ),
    Claim(
        "FastSwitch (2024)",
        "copies of contiguous blocks over copies of single blocks: tail time to first token under priorities",
        "1.4-11.2x lower",
        1.4,
        11.2,
        setting="Llama-3.1-8B on an A100 with an eighth of its KV cache, two classes instead of changing priorities",
        experiment=_fastswitch,
        slow=True,
        why="two fixed classes instead of priorities that change",
    ),
)
