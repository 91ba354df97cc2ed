"""What papers claim of the rules of serving/continuous_batching, and our experiments.

Each experiment has fixed seeds and takes seconds. Lengths are log-normal with the medians or means that the
papers give for their data sets; the data sets themselves are not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems.claims import Claim, Solve
from problems.problem import Baseline
from problems.serving._batching.prefill import expert_traffic, layered_ttft, prompts_by_length
from problems.serving._batching.rules import RULES, arrival, latest, whole_prompts
from problems.serving._batching.suites import SCENARIOS, Traffic, draw
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Host, Serving, on_host
from problems.serving._server.metrics import measure
from problems.serving._server.replay import replay
from problems.serving._server.requests import make_requests
from problems.serving._server.views import Memory, Request, Server

BY_NAME = {rule.name: rule for rule in RULES}


class Lengths(NamedTuple):
    """Log-normal lengths: medians and spreads of prompts and outputs, in tokens."""

    prompt: tuple[float, float]
    output: tuple[float, float]


# Medians and 90th percentiles of the Sarathi-Serve paper's table of data sets: 1730/5696 and 415/834 tokens.
OPENCHAT = Lengths((1730.0, 0.93), (415.0, 0.545))
# Means of the vLLM paper: 161 and 338 tokens.
SHAREGPT = Lengths((105.0, 0.92), (230.0, 0.88))
# Means of the vLLM paper: 19 and 58 tokens.
ALPACA = Lengths((15.0, 0.7), (45.0, 0.7))


def traffic(host: Host, lengths: Lengths, rate_per_s: float, *, count: int = 500, error: float = 0.5) -> Serving:
    """Poisson arrivals; the same requests, closer together, at a higher rate."""
    rng = np.random.default_rng(20221106)
    gaps = rng.exponential(1.0, count)
    prompt = np.clip(np.rint(lengths.prompt[0] * np.exp(lengths.prompt[1] * rng.standard_normal(count))), 4, 7000)
    output = np.clip(
        np.rint(lengths.output[0] * np.exp(lengths.output[1] * rng.standard_normal(count))), 1, host.max_output
    )
    arrival_s = np.cumsum(gaps) / rate_per_s
    predicted = np.clip(output * np.exp(error * rng.standard_normal(count)), 1, host.max_output)
    requests = make_requests(arrival_s, prompt, output, predicted, ttft_slo_s=10.0, tpot_slo_s=0.2)
    return on_host(requests, host, float(arrival_s[-1]) + 3600.0)


def capacity(meets: Callable[[float], bool], low: float = 0.02, high: float = 100.0) -> float:
    """Highest rate that meets an objective, by bisection on the logarithm, within 2 %; 0 if low does not."""
    if not meets(low):
        return 0.0
    while high / low > 1.02:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if meets(middle) else (low, middle)
    return low


def saturation(solve: Solve, host: Host, lengths: Lengths) -> float:
    """Requests per second that vLLM v1's rule completes in full swing: all are there, the first fifth is done."""
    finish_s = np.sort(solve(BY_NAME["vllm_v1"], traffic(host, lengths, 1e6, count=3000)).finish_s)
    return 1500 / float(finish_s[2100] - finish_s[600])


def latency_capacity(solve: Solve, rule: Baseline, host: Host, lengths: Lengths, limit_ms: float) -> float:
    """Highest rate at which mean normalised latency stays within a limit."""

    def meets(rate_per_s: float) -> bool:
        data = traffic(host, lengths, rate_per_s)
        return measure(data, solve(rule, data))["normalised_latency"] <= limit_ms

    return capacity(meets)


def _stall_capacity(solve: Solve, rule: Baseline, tbt_s: float) -> float:
    """Sarathi-Serve's capacity: 99th percentile of time between tokens, and median wait within 2 s."""
    host = Host("A100-80", "Mistral-7B", max_output=2048)

    def meets(rate_per_s: float) -> bool:
        data = traffic(host, OPENCHAT, rate_per_s)
        solution: Timeline = solve(rule, data)
        gaps = replay(data, solution.log, True).gap_s
        wait_s = np.median(solution.first_token_s - data.requests.arrival_s)
        return bool(np.quantile(gaps, 0.99) <= tbt_s and wait_s <= 2.0)

    return capacity(meets)


def _sarathi_strict(solve: Solve) -> float:
    return _stall_capacity(solve, BY_NAME["sarathi"], 0.1) / _stall_capacity(solve, BY_NAME["vllm_v0"], 0.1)


# The vLLM paper's OPT-13B on an A100 of 40 GB leaves about 12 GB to the KV cache.
_OPT = Host("A100-80", "OPT-13B", share=0.27, max_output=2048, engine="vllm-2023-a100")


def _vllm(solve: Solve) -> float:
    return latency_capacity(solve, BY_NAME["vllm_v0"], _OPT, SHAREGPT, 200.0) / latency_capacity(
        solve, BY_NAME["orca"], _OPT, SHAREGPT, 200.0
    )


def _only_when_empty(request: Request, server: Server, memory: Memory) -> float:
    """Fill a batch while nothing decodes yet, and then let it run to its end."""
    return 1.0 if server.decoding == 0 and memory.reserved <= server.capacity else -1.0


STATIC = Baseline(
    "static",
    "Request-level batching: a batch runs to its end",
    "as in FasterTransformer with a serving layer on top",
    hooks={"order": arrival, "admit": _only_when_empty, "chunk": whole_prompts, "evict": latest},
)


def _orca(solve: Solve) -> float:
    host = Host("A100-80", "Llama-2-70B", tp=4, share=0.5, max_output=2048)
    return latency_capacity(solve, BY_NAME["orca"], host, SHAREGPT, 200.0) / latency_capacity(
        solve, STATIC, host, SHAREGPT, 200.0
    )


def _s3(solve: Solve) -> float:
    data = traffic(_OPT, ALPACA, 1e3, count=2000, error=0.2)
    spans = [float(solve(BY_NAME[name], data).finish_s.max()) for name in ("orca", "s3")]
    return spans[0] / spans[1]


def _rank(solve: Solve) -> float:
    host = Host("A100-80", "Llama-3.1-8B", max_output=2048)
    data = traffic(host, SHAREGPT, 1.1 * saturation(solve, host, SHAREGPT), count=3000, error=0.7)
    fcfs, ranked = (measure(data, solve(BY_NAME[r], data)) for r in ("vllm_v1", "learning_to_rank"))
    return fcfs["normalised_latency"] / ranked["normalised_latency"]


def _past_future_goodput(solve: Solve, other: str) -> float:
    """Requests with a first token within 10 s and no gap beyond 1.5 s, over those of the other rule."""
    host = Host("A100-80", "Llama-2-7B", share=0.4, max_output=2048)
    lengths = SHAREGPT._replace(output=(400.0, 0.8))
    data = traffic(host, lengths, 1.2 * saturation(solve, host, lengths), count=1500, error=0.3)
    kept = []
    for name in ("past_future", other):
        found: Timeline = solve(BY_NAME[name], data)
        in_time = found.first_token_s - data.requests.arrival_s <= 10.0
        kept.append(float(np.mean(in_time & (found.worst_gap_s <= 1.5))))
    return kept[0] / kept[1]


def _jitserve(solve: Solve) -> float:
    kept = {"jitserve": 0.0, "sarathi": 0.0}
    for k, scenario in enumerate(SCENARIOS.values()):
        requests = draw(scenario, 1.3, Traffic(size=800), np.random.default_rng(k))
        data = on_host(requests, scenario.host, float(requests.arrival_s[-1]) + 3600.0)
        for name in kept:
            kept[name] += measure(data, solve(BY_NAME[name], data))["slo_attainment"]
    return kept["jitserve"] / kept["sarathi"]


CLAIMS = (
    Claim(
        "Orca (2022)",
        "iteration-level over request-level batching: throughput at equal latency",
        "36.9x",
        36.9,
        36.9,
        setting="Llama-2-70B on 4 A100 instead of GPT-3 175B on 16, ShareGPT-like lengths, 200 ms per token",
        experiment=_orca,
        why="the paper compares whole systems: theirs pads a batch to its longest request, and runs an older engine",
    ),
    Claim(
        "vLLM (2023)",
        "paged over reserved KV cache (Orca): throughput at equal latency",
        "2-4x",
        2.0,
        4.0,
        setting="OPT-13B with the KV cache of an A100-40, ShareGPT-like lengths, 200 ms per token",
        experiment=_vllm,
    ),
    Claim(
        "Sarathi-Serve (2024)",
        "chunked prefill (512) over vLLM: capacity at a P99 time between tokens of 0.1 s",
        "2.6x",
        2.6,
        2.6,
        setting="Mistral-7B on an A100, openchat-like lengths; median time to first token within 2 s",
        experiment=_sarathi_strict,
    ),
    Claim(
        "S3 (2023)",
        "predicted over worst-case reservation: offline throughput",
        "6.49x",
        6.49,
        6.49,
        setting="OPT-13B with the KV cache of an A100-40, 2000 Alpaca-like requests at once; theirs: GPT models",
        experiment=_s3,
        why="reserved here are 2048 tokens against a mean output of 58; batch and step costs then set the factor",
    ),
    Claim(
        "Learning to Rank (2024)",
        "predicted rank over FCFS: mean latency per token, chat",
        "2.8x lower",
        2.8,
        2.8,
        setting="Llama-3.1-8B on an A100, ShareGPT-like lengths, 110 % load, predictions off by a factor of 2",
        experiment=_rank,
        why="promotion after 10 s turns the rule back into FCFS under lasting overload; without it: 1.4x, and 1.9x at "
        "120 % load, with three to four times the P99 time to first token",
    ),
    Claim(
        "Past-Future (2025)",
        "over conservative admission: goodput under heavy load",
        "2-3x",
        2.0,
        3.0,
        setting="Llama-2-7B on an A100, decode-heavy, 120 % load; first token within 10 s, no gap beyond 1.5 s",
        experiment=lambda solve: _past_future_goodput(solve, "conservative"),
        why="what is reserved here, 2048 tokens, is four times the mean output; the queue then never recovers",
    ),
    Claim(
        "Past-Future (2025)",
        "over aggressive admission: goodput under heavy load",
        "2-3x",
        2.0,
        3.0,
        setting="as above; aggressive admission is vLLM v1's",
        experiment=lambda solve: _past_future_goodput(solve, "vllm_v1"),
        why="the wait for the first token decides here; preemptions fall by half, from 0.78 to 0.36 per request",
    ),
    Claim(
        "JITServe (2025)",
        "over Sarathi-Serve: goodput in requests",
        "1.4-6.3x",
        1.4,
        6.3,
        setting="the three hosts of our train split at 130 % load, 800 requests each",
        experiment=_jitserve,
    ),
    Claim(
        "LAPS (2026)",
        "queues by prompt length with graph-size buckets: prefill latency",
        "30 % lower (1.43x)",
        1.43,
        1.43,
        setting="prompts alone, four of five short, at 50 % load; Qwen2.5-32B on an H100; short ones padded to graphs "
        "of 6 lengths, in turns with long ones, over whole prompts in order of arrival; no wait window",
        experiment=lambda _: prompts_by_length(0.5),
        why="on the roofline a step of few short prompts reads all weights for them alone, and launching 64 layers "
        "hides behind that; together with a long prompt they cost nearly nothing",
    ),
    Claim(
        "Layered Prefill (2025)",
        "prefill by groups of layers over chunks of 512: time to first token",
        "up to 70 % lower (3.3x)",
        3.33,
        3.33,
        setting="Qwen3-30B-A3B on two H100, papers of arXiv (mean prompt 2650 tokens) at a steady load, mean of all",
        experiment=lambda _: layered_ttft(),
        why="the published figure is the best of several loads and models; ours is 1.2x to 1.6x over loads",
    ),
    Claim(
        "Layered Prefill (2025)",
        "chunks of 512 over groups of layers: experts read",
        "up to 39 % more",
        1.39,
        1.39,
        setting="as above, all steps",
        experiment=lambda _: expert_traffic(),
        tolerance=0.1,
        why="decoding reads experts too, the more the fuller the batch; without decoding a prompt of n chunks reads n "
        "times as many",
    ),
)
