"""Experiments behind the claims of serving/prefill_decode: fixed seeds, seconds each."""

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


# DistServe's summaries: OPT-66B, 15 s to the first token, 0.15 s per further one.
_LARGE = Host("A100-80", "OPT-66B", tp=4, max_output=1000)
_PATIENT = Promise(15.0, 0.15)


def _long(rate_per_s: float) -> Deployment:
    return _deployment(_requests(SUMMARIES, rate_per_s, _PATIENT), _LARGE, 2, 2)


def distserve_rate(solve: Solve) -> float:
    return _goodput(solve, BY_NAME["distserve"], _long) / _goodput(solve, BY_NAME["colocated"], _long)


def distserve_slo(solve: Solve) -> float:
    """Factor on both promises that nine of ten keep, colocated over disaggregated, near the capacity of the latter."""
    data, scales = _long(0.9 * _goodput(solve, BY_NAME["distserve"], _long)), []
    for name in ("colocated", "distserve"):
        scales.append(float(np.quantile(_ratio(data, solve(BY_NAME[name], data)), 0.9)))
    return scales[0] / scales[1]


def _ratio(data: Deployment, found: Disaggregation) -> np.ndarray:
    """(n,) the larger of both times over its promise; infinite for what has not finished."""
    requests = data.cluster.requests
    ttft = (found.first_token_s - requests.arrival_s) / requests.ttft_slo_s
    per_token = (found.finish_s - found.first_token_s) / np.maximum(requests.output_tokens - 1, 1)
    return np.maximum(ttft, per_token / requests.tpot_slo_s)


def _tetri() -> Deployment:
    """All at once: half long prompts with short answers, half short prompts with long ones; 60 % of the KV cache."""
    host, promise = Host("A100-80", "OPT-13B", share=0.6, max_output=1000), Promise(1.0, 0.1)
    each = [_requests(lengths, 1e3, promise, 250) for lengths in (LONG_PROMPTS, SHAREGPT)]
    names = ("arrival_s", "prompt_tokens", "output_tokens", "predicted_output")
    columns = [np.concatenate([getattr(part, name) for part in each]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    mixed = make_requests(*(column[order] for column in columns), ttft_slo_s=1.0, tpot_slo_s=0.1)
    return _deployment(mixed, host, 2, 2)


def _tetri_times(solve: Solve, of: Callable[[Disaggregation, np.ndarray], np.ndarray]) -> float:
    """A time of TetriInfer's rule over that of colocated instances."""
    data, found = _tetri(), []
    for name in ("tetriinfer", "colocated"):
        found.append(float(of(solve(BY_NAME[name], data), data.cluster.requests.arrival_s)))
    return found[0] / found[1]


def tetri_ttft(solve: Solve) -> float:
    return _tetri_times(solve, lambda found, arrival_s: np.mean(found.first_token_s - arrival_s))


def tetri_jct(solve: Solve) -> float:
    return _tetri_times(solve, lambda found, arrival_s: np.mean(found.finish_s - arrival_s))


def tetri_resources(solve: Solve) -> float:
    return _tetri_times(solve, lambda found, arrival_s: np.max(found.finish_s))


def _summaries(load: float) -> Deployment:
    return make(SCENARIOS["a100-summaries"], load, Traffic(size=600), _SEED)


def _dispatch(name: str, **hooks: Callable[..., float]) -> Baseline:
    """A rule for an experiment, with roles as they are."""
    return Baseline(name, name, "a part of P/D-Serve's rule", hooks={**hooks, "role": as_it_is})


_FIXED = _dispatch("fixed", prefill=idle_first, decode=least_loaded)
_QUEUES = _dispatch("queues", prefill=in_turn, decode=least_loaded)


def pd_throughput(solve: Solve) -> float:
    return _goodput(solve, BY_NAME["pd_serve"], _summaries) / _goodput(solve, _FIXED, _summaries)


def pd_first_tokens(solve: Solve) -> float:
    """Share of first tokens in time, idle instances first over prompts in turn, at the capacity of the former."""
    data = _summaries(_goodput(solve, _FIXED, _summaries))
    requests, kept = data.cluster.requests, []
    for rule in (_FIXED, _QUEUES):
        found = solve(rule, data)
        kept.append(float(np.mean(found.first_token_s - requests.arrival_s <= requests.ttft_slo_s)))
    return kept[0] / kept[1]


def pd_transfers(solve: Solve) -> float:
    """Mean time from the first token until the cache is there, contiguous over block by block."""
    spent = []
    for group_blocks in (10**6, 1):
        data = make(SCENARIOS["a100-summaries"], 0.5, Traffic(size=600), _SEED, group_blocks=group_blocks)
        found = solve(BY_NAME["pd_serve"], data)
        moved = np.isfinite(found.moved_s)
        spent.append(float(np.mean(found.moved_s[moved] - found.first_token_s[moved])))
    return spent[0] / spent[1]


def pd_aggregated(solve: Solve) -> float:
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


def nexus_rate(solve: Solve) -> float:
    return capacity(lambda rate: _divided(_nexus, rate).kept >= 0.9, 0.5, 20.0) / _vllm_rate(solve)


def nexus_ttft(solve: Solve) -> float:
    rate = 1.2 * _vllm_rate(solve)
    return _together(solve, rate).ttft_s / _divided(_nexus, rate).ttft_s


def nexus_tbt(solve: Solve) -> float:
    rate = 1.2 * _vllm_rate(solve)
    return _together(solve, rate).tpot_s / _divided(_nexus, rate).tpot_s


def semi_latency(solve: Solve) -> float:
    """Two GPUs, one for each phase, over two that are divided and have half the requests each: mean latency."""
    rate = 0.9 * _vllm_rate(solve)
    both = _requests(SUMMARIES, 2 * rate, _BOTH, 600)
    apart = _times(both, solve(BY_NAME["distserve"], _deployment(both, _ONE, 1, 1)))
    return apart.latency_s / _divided(feedback, rate).latency_s


def semi_rate(solve: Solve) -> float:
    return capacity(lambda rate: _divided(feedback, rate).kept >= 0.9, 0.5, 20.0) / _vllm_rate(solve)
