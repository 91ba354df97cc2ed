"""What papers claim of separate prefill and decode, and our experiments: fixed seeds, seconds each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems.claims import Solve
from problems.problem import Baseline
from problems.serving._batching.claims import SHAREGPT, Lengths, capacity
from problems.serving._cluster.data import DECODE, MIXED, PREFILL
from problems.serving._disaggregation.data import Deployment, Plan, on_hosts
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.metrics import measure
from problems.serving._disaggregation.rules import RULES, as_it_is, idle_first, in_turn, least_loaded
from problems.serving._disaggregation.split import Rule, Served, feedback, greedy, serve_split
from problems.serving._disaggregation.suites import SCENARIOS, Traffic, make
from problems.serving._server.machine import Host
from problems.serving._server.requests import Requests, make_requests

BY_NAME = {rule.name: rule for rule in RULES}
_SEED = 20_251_130
SUMMARIES = Lengths((1700.0, 0.5), (150.0, 0.6))
LONG_PROMPTS = Lengths((1500.0, 0.6), (30.0, 0.5))


class Promise(NamedTuple):
    """Seconds to the first token, and per further one."""

    ttft_s: float
    tpot_s: float


def _requests(lengths: Lengths, rate_per_s: float, promise: Promise, count: int = 500) -> Requests:
    rng, longest = np.random.default_rng(_SEED), 1000
    gaps = rng.exponential(1.0, count)
    prompt = np.clip(np.rint(lengths.prompt[0] * np.exp(lengths.prompt[1] * rng.standard_normal(count))), 4, 4000)
    output = np.clip(np.rint(lengths.output[0] * np.exp(lengths.output[1] * rng.standard_normal(count))), 1, longest)
    predicted = np.clip(output * np.exp(0.5 * rng.standard_normal(count)), 1, longest)
    return make_requests(
        np.cumsum(gaps) / rate_per_s, prompt, output, predicted, ttft_slo_s=promise.ttft_s, tpot_slo_s=promise.tpot_s
    )


def _deployment(requests: Requests, host: Host, prefill: int, decode: int, both: int = 0) -> Deployment:
    groups = [(host, n, role) for n, role in ((prefill, PREFILL), (decode, DECODE), (both, MIXED)) if n > 0]
    rate = len(requests.arrival_s) / float(requests.arrival_s[-1])
    plan = Plan(rate, float(requests.prompt_tokens.mean()), float(requests.output_tokens.mean()))
    return on_hosts(requests, groups, float(requests.arrival_s[-1]) + 600.0, plan)


def _goodput(
    solve: Solve, rule: Baseline, build: Callable[[float], Deployment], metric: str = "slo_attainment"
) -> float:
    """Highest rate, or load, at which nine of ten requests keep their promises."""

    def meets(rate: float) -> bool:
        data = build(rate)
        return measure(data, solve(rule, data))[metric] >= 90.0

    return capacity(meets, 0.1, 100.0)


_OPT = Host("A100-80-DistServe", "OPT-13B", max_output=1000)
_CHAT = Promise(0.25, 0.1)


def _chat(rate_per_s: float) -> Deployment:
    return _deployment(_requests(SHAREGPT, rate_per_s, _CHAT), _OPT, 2, 2)


def _distserve_rate(solve: Solve) -> float:
    return _goodput(solve, BY_NAME["distserve"], _chat) / _goodput(solve, BY_NAME["colocated"], _chat)


def _distserve_slo(solve: Solve) -> float:
    """Factor on both promises that nine of ten keep, colocated over disaggregated, near the capacity of the latter."""
    data, scales = _chat(0.9 * _goodput(solve, BY_NAME["distserve"], _chat)), []
    for name in ("colocated", "distserve"):
        scales.append(float(np.quantile(_ratio(data, solve(BY_NAME[name], data)), 0.9)))
    return scales[0] / scales[1]


def _ratio(data: Deployment, found: Disaggregation) -> np.ndarray:
    """(n,) the larger of both times over its promise; infinite for what has not finished."""
    requests = data.cluster.requests
    ttft = (found.first_token_s - requests.arrival_s) / requests.ttft_slo_s
    per_token = (found.finish_s - found.first_token_s) / np.maximum(requests.output_tokens - 1, 1)
    return np.maximum(ttft, per_token / requests.tpot_slo_s)


def _tetri(rate_per_s: float) -> Deployment:
    """Half the requests are long prompts with short answers, half short prompts with long answers."""
    each = [_requests(lengths, rate_per_s / 2, Promise(1.0, 0.1), 250) for lengths in (LONG_PROMPTS, SHAREGPT)]
    names = ("arrival_s", "prompt_tokens", "output_tokens", "predicted_output")
    columns = [np.concatenate([getattr(part, name) for part in each]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    mixed = make_requests(*(column[order] for column in columns), ttft_slo_s=1.0, tpot_slo_s=0.1)
    return _deployment(mixed, _OPT, 2, 2)


def _tetri_times(solve: Solve, metric: str) -> float:
    data = _tetri(1.1 * _goodput(solve, BY_NAME["colocated"], _tetri))
    disaggregated, together = (
        measure(data, solve(BY_NAME[name], data))[metric] for name in ("tetriinfer", "colocated")
    )
    return disaggregated / together


def _tetri_ttft(solve: Solve) -> float:
    return _tetri_times(solve, "mean_ttft")


def _tetri_jct(solve: Solve) -> float:
    return _tetri_times(solve, "mean_latency")


def _tetri_resources(solve: Solve) -> float:
    """GPU time per request at equal promises."""
    return _goodput(solve, BY_NAME["colocated"], _tetri) / _goodput(solve, BY_NAME["tetriinfer"], _tetri)


def _summaries(load: float) -> Deployment:
    return make(SCENARIOS["a100-summaries"], load, Traffic(size=600), _SEED)


def _dispatch(name: str, **hooks: Callable[..., float]) -> Baseline:
    """A rule for an experiment, with roles as they are."""
    return Baseline(name, name, "a part of P/D-Serve's rule", hooks={**hooks, "role": as_it_is})


_FIXED = _dispatch("fixed", prefill=idle_first, decode=least_loaded)
_QUEUES = _dispatch("queues", prefill=in_turn, decode=least_loaded)


def _pd_throughput(solve: Solve) -> float:
    return _goodput(solve, BY_NAME["pd_serve"], _summaries) / _goodput(solve, _FIXED, _summaries)


def _pd_first_tokens(solve: Solve) -> float:
    """Share of first tokens in time, idle instances first over prompts in turn, at the capacity of the former."""
    data = _summaries(_goodput(solve, _FIXED, _summaries))
    requests, kept = data.cluster.requests, []
    for rule in (_FIXED, _QUEUES):
        found = solve(rule, data)
        kept.append(float(np.mean(found.first_token_s - requests.arrival_s <= requests.ttft_slo_s)))
    return kept[0] / kept[1]


def _pd_transfers(solve: Solve) -> float:
    """Mean time from the first token until the cache is there, contiguous over block by block."""
    spent = []
    for group_blocks in (10**6, 1):
        data = make(SCENARIOS["a100-summaries"], 0.5, Traffic(size=600), _SEED, group_blocks=group_blocks)
        found = solve(BY_NAME["pd_serve"], data)
        moved = np.isfinite(found.moved_s)
        spent.append(float(np.mean(found.moved_s[moved] - found.first_token_s[moved])))
    return spent[0] / spent[1]


def _pd_aggregated(solve: Solve) -> float:
    return _goodput(solve, BY_NAME["pd_serve"], _summaries) / _goodput(solve, BY_NAME["colocated"], _summaries)


_ONE = Host("A100-80", "Llama-3.1-8B", max_output=1000)
_BOTH = Promise(1.0, 0.05)


class Times(NamedTuple):
    """Means over the requests of a run."""

    ttft_s: float
    tpot_s: float
    latency_s: float
    kept: float  # share of requests whose promises are kept


def _times(requests: Requests, found: Served | Disaggregation) -> Times:
    ttft = found.first_token_s - requests.arrival_s
    tpot = (found.finish_s - found.first_token_s) / np.maximum(requests.output_tokens - 1, 1)
    kept = (ttft <= requests.ttft_slo_s) & (tpot <= requests.tpot_slo_s)
    return Times(
        float(ttft.mean()), float(tpot.mean()), float((found.finish_s - requests.arrival_s).mean()), kept.mean()
    )


def _divided(rule: Callable[[], Rule], rate_per_s: float) -> Times:
    requests = _requests(SUMMARIES, rate_per_s, _BOTH, 300)
    return _times(requests, serve_split(requests, _ONE, rule(), _BOTH.tpot_s))


def _together(solve: Solve, rate_per_s: float) -> Times:
    requests = _requests(SUMMARIES, rate_per_s, _BOTH, 300)
    return _times(requests, solve(BY_NAME["colocated"], _deployment(requests, _ONE, 0, 0, 1)))


def _nexus() -> Rule:
    return greedy(_BOTH.tpot_s)


def _vllm_rate(solve: Solve) -> float:
    return capacity(lambda rate: _together(solve, rate).kept >= 0.9, 0.5, 20.0)


def _nexus_rate(solve: Solve) -> float:
    return capacity(lambda rate: _divided(_nexus, rate).kept >= 0.9, 0.5, 20.0) / _vllm_rate(solve)


def _nexus_ttft(solve: Solve) -> float:
    rate = 1.2 * _vllm_rate(solve)
    return _together(solve, rate).ttft_s / _divided(_nexus, rate).ttft_s


def _nexus_tbt(solve: Solve) -> float:
    rate = 1.2 * _vllm_rate(solve)
    return _together(solve, rate).tpot_s / _divided(_nexus, rate).tpot_s


def _semi_latency(solve: Solve) -> float:
    """Two GPUs, one for each phase, over two that are divided and have half the requests each: mean latency."""
    rate = 0.9 * _vllm_rate(solve)
    both = _requests(SUMMARIES, 2 * rate, _BOTH, 600)
    apart = _times(both, solve(BY_NAME["distserve"], _deployment(both, _ONE, 1, 1)))
    return apart.latency_s / _divided(feedback, rate).latency_s


def _semi_rate(solve: Solve) -> float:
    return capacity(lambda rate: _divided(feedback, rate).kept >= 0.9, 0.5, 20.0) / _vllm_rate(solve)


_PAIR = "OPT-13B on four A100 with DistServe's fitted kernels, ShareGPT-like lengths"
_MIXED = "OPT-13B on four A100, half long prompts with short answers and half the opposite"
_EIGHT = "Llama-3.1-8B on eight A100, summaries, half and half at the start"
_DIVIDED = "Llama-3.1-8B on one A100, summaries; SMs divided as in problems/_hardware/sharing.py"

CLAIMS = (
    Claim(
        "DistServe (2024)",
        "over colocated vLLM: requests served within promises",
        "up to 4.48x",
        4.48,
        4.48,
        setting=f"{_PAIR}; 90 % within 0.25 s and 0.1 s per further token; prefill in chunks on the colocated side",
        experiment=_distserve_rate,
    ),
    Claim(
        "DistServe (2024)",
        "over colocated vLLM: promises that are kept at the same rate",
        "up to 10.2x tighter",
        10.2,
        10.2,
        setting="as above, at 90 % of the rate that DistServe's rule serves",
        experiment=_distserve_slo,
    ),
    Claim(
        "TetriInfer (2024)",
        "over vLLM: mean time to first token",
        "97 % lower",
        0.03,
        0.03,
        setting=f"{_MIXED}; 10 % beyond the rate that colocated instances serve within promises",
        experiment=_tetri_ttft,
    ),
    Claim(
        "TetriInfer (2024)",
        "over vLLM: mean completion time",
        "47 % lower",
        0.53,
        0.53,
        setting="as above",
        experiment=_tetri_jct,
    ),
    Claim(
        "TetriInfer (2024)",
        "over vLLM: GPU time for the same work",
        "38 % less",
        0.62,
        0.62,
        setting=f"{_MIXED}; the inverse of the rates at which 90 % keep 1 s and 0.1 s per further token",
        experiment=_tetri_resources,
    ),
    Claim(
        "P/D-Serve (2024)",
        "balanced over fixed numbers of prefill and decode instances: throughput within promises",
        "60 % higher",
        1.6,
        1.6,
        setting=_EIGHT,
        experiment=_pd_throughput,
    ),
    Claim(
        "P/D-Serve (2024)",
        "idle instances first over queues at instances: first tokens in time",
        "42 % more",
        1.42,
        1.42,
        setting=f"{_EIGHT}; over prompts in turn, at the rate that the former serves within promises",
        experiment=_pd_first_tokens,
    ),
    Claim(
        "P/D-Serve (2024)",
        "contiguous over block-by-block transfer: time of transfers",
        "46 % lower",
        0.54,
        0.54,
        setting=f"{_EIGHT}; adapters of 200 Gbit/s, 7 us a copy; time from first token until the cache is there",
        experiment=_pd_transfers,
    ),
    Claim(
        "P/D-Serve (2024)",
        "over aggregated serving: throughput within promises",
        "6.7x",
        6.7,
        6.7,
        setting=f"{_EIGHT}; aggregated: both phases on each instance, in chunks",
        experiment=_pd_aggregated,
    ),
    Claim(
        "semi-PD (2025)",
        "SMs divided by feedback over separate instances: mean latency",
        "1.27-2.58x lower",
        1.27,
        2.58,
        setting=f"{_DIVIDED}; two of them over one GPU for each phase",
        experiment=_semi_latency,
    ),
    Claim(
        "semi-PD (2025)",
        "SMs divided by feedback: requests within promises",
        "1.55-1.72x",
        1.55,
        1.72,
        setting=f"{_DIVIDED}; over chunked prefill beside decoding",
        experiment=_semi_rate,
    ),
    Claim(
        "Nexus (2025)",
        "SMs divided at each step over vLLM: throughput",
        "2.2x",
        2.2,
        2.2,
        setting=f"{_DIVIDED}; 90 % within 1 s and 0.05 s per further token",
        experiment=_nexus_rate,
    ),
    Claim(
        "Nexus (2025)",
        "SMs divided at each step over vLLM: mean time to first token",
        "20x lower",
        20.0,
        20.0,
        setting="as above, at 120 % of the rate that vLLM serves within promises",
        experiment=_nexus_ttft,
    ),
    Claim(
        "Nexus (2025)",
        "SMs divided at each step over vLLM: mean time per further token",
        "2.5x lower",
        2.5,
        2.5,
        setting="as above",
        experiment=_nexus_tbt,
    ),
    Claim(
        "Splitwise (2024)",
        "clusters of two kinds of machines over one kind: throughput at equal cost and power",
        "2.35x",
        why="prices and power of machines are in no table here; its measured latencies are check V6 of docs/hardware.md",
    ),
)
