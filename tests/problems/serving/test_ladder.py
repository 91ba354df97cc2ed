"""The validation ladder: closed forms, laws, known shapes, and a measured run of a real engine."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from servers import PLAIN, changed, fcfs, if_it_fits, latest, limits, linear_cost, serve

from problems._hardware.step_cost import StepCost, kv_capacity_tokens, step_cost
from problems.serving._batching.rules import (
    arrival,
    budget_512,
    budget_2048,
    free_blocks,
    prompts_alone,
    shortest,
)
from problems.serving._batching.suites import SCENARIOS, Scenario, Traffic, draw
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Host, Limits, Serving, make_instance, on_host
from problems.serving._server.metrics import alone, measure
from problems.serving._server.requests import make_requests
from problems.serving._server.views import Memory, Request, Server

DATA = Path(__file__).resolve().parents[3] / "../shared/data/llm"
CHAT_A100 = Scenario(Host("A100-80", "Llama-3.1-8B"), 1.0, 1.0)
V1 = (arrival, free_blocks, budget_2048, latest)


def chunk_128(server: Server) -> float:
    return 128.0 - server.decoding if server.decoding < 128.0 else 1.0


def host(scenario: Scenario, rate: float, size: int, seed: int = 1) -> Serving:
    requests = draw(scenario, rate, Traffic(size=size, gap_cv=1.0), np.random.default_rng(seed))
    return on_host(requests, scenario.host, float(requests.arrival_s[-1]) + 3600.0)


def ttft_s(data: Serving, solution: Timeline) -> np.ndarray:
    return solution.first_token_s - data.requests.arrival_s


def test_one_slot_with_equal_requests_waits_as_m_d_1_says() -> None:
    """V9: a step of D = 1 s per request of one prompt and one output token, arrivals at rate R."""
    rng, rate, count = np.random.default_rng(3), 0.7, 200_000
    arrival_s = np.cumsum(rng.exponential(1 / rate, count))
    requests = make_requests(arrival_s, np.ones(count), np.ones(count), np.ones(count))
    free = limits(max_running=1, decision_s=0.0, candidate_s=0.0, horizon_s=arrival_s[-1] + 1e5)
    data = make_instance(requests, linear_cost(step=1.0), free)
    expected_s = 1.0 + rate / (2 * (1 - rate))
    assert ttft_s(data, serve(data)).mean() == pytest.approx(expected_s, rel=0.02)


def test_requests_that_come_together_decode_at_the_roofline() -> None:
    """B prompts of p tokens in one step, then g - 1 steps over a context that grows by B a step."""
    count, prompt, output = 8, 12, 6
    requests = make_requests(np.zeros(count), np.full(count, prompt), np.full(count, output), np.full(count, output))
    cost = linear_cost(step=0.5, token=0.01, pair=0.001, context=0.002, sequence=0.1)
    data = make_instance(requests, cost, limits(blocks=400, decision_s=0.0, candidate_s=0.0))
    found = serve(data)
    first = 0.5 + 0.01 * count * prompt + 0.001 * count * prompt**2 / 2
    decode = sum(0.5 + (0.01 + 0.1) * count + 0.002 * count * (prompt + k) for k in range(output - 1))
    assert found.first_token_s == pytest.approx(np.full(count, first))
    assert found.finish_s == pytest.approx(np.full(count, first + decode))


def test_a_request_alone_takes_what_the_bound_says() -> None:
    data = host(CHAT_A100, 0.001, 40)
    data = data._replace(time_s=changed(data.time_s, at_1=0.0, at_2=0.0))
    found, (first_s, whole_s) = serve(data), alone(data, np.zeros(len(data.requests.arrival_s), dtype=np.int64))
    assert ttft_s(data, found) == pytest.approx(first_s, rel=1e-6)
    assert found.finish_s - data.requests.arrival_s == pytest.approx(whole_s, rel=1e-6)


def test_littles_law_holds() -> None:
    """The time-average of requests in the system is their rate times their mean latency."""
    data = host(CHAT_A100, 6.0, 500)
    found, arrival_s = serve(data, V1), data.requests.arrival_s
    events = np.concatenate([arrival_s, found.finish_s])
    steps = np.concatenate([np.ones(len(arrival_s)), -np.ones(len(arrival_s))])[np.argsort(events, kind="stable")]
    inside = np.cumsum(steps)
    assert inside.min() >= 0
    area = (inside[:-1] * np.diff(np.sort(events))).sum()
    assert area == pytest.approx((found.finish_s - arrival_s).sum())


def test_no_run_is_faster_than_the_peak_of_the_gpu() -> None:
    data = host(CHAT_A100, 1e3, 500)
    tokens = (data.requests.prompt_tokens + data.requests.output_tokens - 1).sum()
    seconds = serve(data, V1).finish_s.max()
    assert tokens * 2 * 7.5e9 / 312e12 < seconds < 8 * tokens * 2 * 8e9 / 312e12


def test_smaller_chunks_trade_time_to_first_token_for_even_output() -> None:
    """V10: at 7 requests per second, chunks of 128, 512 and 2048 tokens."""
    data = host(CHAT_A100, 7.0, 1500)
    found = [
        measure(data, serve(data, (arrival, free_blocks, c, latest))) for c in (chunk_128, budget_512, budget_2048)
    ]
    gaps, waits = [f["p99_gap"] for f in found], [f["mean_ttft"] for f in found]
    assert gaps[0] < gaps[1] < gaps[2]
    assert waits[0] > 10 * waits[1] > 10 * waits[2]


def test_prompts_first_stalls_what_decodes() -> None:
    """V10: at 6 requests per second, the longest gap is many times that of chunked prefill."""
    data = host(CHAT_A100, 6.0, 1500)
    stalled = measure(data, serve(data, (arrival, free_blocks, prompts_alone, latest)))
    chunked = measure(data, serve(data, (arrival, free_blocks, budget_512, latest)))
    assert stalled["p99_gap"] > 10 * chunked["p99_gap"]
    assert stalled["mean_ttft"] < chunked["mean_ttft"] + 0.5


def test_shortest_first_helps_the_mean_and_hurts_the_tail_under_overload() -> None:
    data = host(SCENARIOS["a10-chat"], 1.2, 1500)
    fcfs_found = measure(data, serve(data, V1))
    sjf_found = measure(data, serve(data, (shortest, free_blocks, budget_2048, latest)))
    assert sjf_found["normalised_latency"] < 0.6 * fcfs_found["normalised_latency"]
    assert sjf_found["p99_ttft"] > 1.2 * fcfs_found["p99_ttft"]


def nothing(request: Request, server: Server, memory: Memory) -> float:
    return -1.0


def half(request: Request, server: Server, memory: Memory) -> float:
    return 1.0 if request.prompt > 700.0 else 0.0


def test_refusing_work_is_worse_than_serving_it() -> None:
    data = host(SCENARIOS["a10-chat"], 0.8, 200)
    served, refused = (measure(data, serve(data, (arrival, a, budget_512, latest))) for a in (free_blocks, nothing))
    some = measure(data, serve(data, (arrival, half, budget_512, latest)))
    assert refused["unfinished"] == 100.0
    assert refused["slo_attainment"] == 0.0
    for metric in ("normalised_latency", "mean_ttft", "p99_ttft", "p99_gap", "p99_latency"):
        assert served[metric] < some[metric] <= refused[metric] * (1 + 1e-9) or metric == "normalised_latency"
    assert served["normalised_latency"] < some["normalised_latency"] < refused["normalised_latency"]


def test_hidden_lengths_change_nothing_before_they_show() -> None:
    """Whatever the output lengths will turn out to be, all token times before the first difference are equal."""
    for seed in range(5):
        data = host(SCENARIOS["a10-chat"], 1.0, 300, seed)
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(data.requests.output_tokens)
        shuffled[:40] = data.requests.output_tokens[:40]
        shuffled.setflags(write=False)
        other = data._replace(requests=data.requests._replace(output_tokens=shuffled))
        a, b = serve(data, V1), serve(other, V1)
        shorter_here = data.requests.output_tokens < shuffled
        differ = data.requests.output_tokens != shuffled
        shows_s = np.where(shorter_here, a.finish_s, b.finish_s)[differ].min()
        assert shows_s > data.requests.arrival_s[40]
        for x, y in ((a.first_token_s, b.first_token_s), (a.finish_s, b.finish_s)):
            assert np.array_equal(x[x < shows_s], y[y < shows_s])


needs_runs = pytest.mark.skipif(not DATA.exists(), reason="the measured runs are not at ../shared/data/llm")


def measured_run(model: str) -> dict[str, np.ndarray]:
    """Columns of one of the measured runs of vLLM 0.19, 300 requests in order of arrival."""
    with gzip.open(DATA / "vllm_measured_runs.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if model in row["run"]]
    column = {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "run"}
    order = np.argsort(column["arrival_s"], kind="stable")
    return {key: values[order] for key, values in column.items()}


def replayed(column: dict[str, np.ndarray], cost: StepCost, blocks: int) -> Timeline:
    output = column["output_tokens"]
    requests = make_requests(column["arrival_s"], column["input_tokens"], output, output)
    given = Limits(blocks=blocks, horizon_s=1e4, max_output=4096, max_running=128)
    return serve(make_instance(requests, cost, given), (fcfs, if_it_fits, budget_2048, latest))


def means(column: dict[str, np.ndarray], first_s: np.ndarray, last_s: np.ndarray) -> dict[str, float]:
    return {
        "ttft": (first_s - column["arrival_s"]).mean(),
        "tpot": ((last_s - first_s) / (column["output_tokens"] - 1)).mean(),
        "latency": (last_s - column["arrival_s"]).mean(),
        "makespan": last_s.max(),
    }


@needs_runs
def test_a_measured_run_of_vllm_is_replayed_within_5_percent() -> None:
    """V7: Llama-3.1-8B on an RTX PRO 6000, 128 sequences, 2048 tokens a step."""
    column, host = measured_run("Llama-3.1-8B"), ("RTX-PRO-6000", "Llama-3.1-8B")
    found = replayed(column, step_cost(*host), kv_capacity_tokens(*host) // 16)
    measured = means(column, column["first_token_s"], column["last_token_s"])
    assert means(column, found.first_token_s, found.finish_s) == pytest.approx(measured, rel=0.05)


@needs_runs
def test_a_measured_mixture_of_experts_on_two_gpus_is_replayed() -> None:
    """V8: Qwen3-30B-A3B, two data-parallel ranks that share experts, each with every second request.

    The floor of the all-to-all was fitted to the run's mean TPOT; the other means follow.
    """
    column, host = measured_run("Qwen3-30B"), ("RTX-PRO-6000", "Qwen3-30B-A3B")
    first_s, last_s = np.empty(300), np.empty(300)
    for rank in range(2):
        half = {key: values[rank::2] for key, values in column.items()}
        found = replayed(half, step_cost(*host, ep=2), kv_capacity_tokens(*host, ep=2) // 16)
        first_s[rank::2], last_s[rank::2] = found.first_token_s, found.finish_s
    measured = means(column, column["first_token_s"], column["last_token_s"])
    assert means(column, first_s, last_s) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("blocks", 0, "blocks must be positive"),
        ("blocks", 4, "must fit the KV cache of 16 tokens"),
        ("block_tokens", 12, "power of two"),
        ("horizon_s", 0.5, "after the last arrival at 1.0"),
        ("max_output", 2, "at most max_output = 2, got 3 at request 0"),
        ("decision_s", -1.0, "decision_s must be finite and not negative"),
    ],
)
def test_impossible_servers_are_refused(field: str, value: float, message: str) -> None:
    requests = make_requests([0.0, 1.0], [4, 4], [3, 3], [3, 3])
    with pytest.raises(ValueError, match=message):
        make_instance(requests, linear_cost(step=1.0), limits(**{field: value}))


def test_a_model_that_does_not_fit_its_gpu_is_refused() -> None:
    requests = make_requests([0.0], [4], [3], [3])
    with pytest.raises(ValueError, match="does not fit on L4"):
        on_host(requests, Host("L4", "Llama-3.1-70B"), 10.0)


def test_a_step_must_take_time() -> None:
    requests = make_requests([0.0], [4], [3], [3])
    with pytest.raises(ValueError, match="a step must take time"):
        make_instance(requests, linear_cost(), Limits(blocks=100, horizon_s=10.0, max_output=8))


def test_the_same_run_gives_the_same_result() -> None:
    data = host(SCENARIOS["l40s-mixed"], 5.0, 300)
    assert all(np.array_equal(a, b) for a, b in zip(serve(data, PLAIN), serve(data, PLAIN), strict=True))
