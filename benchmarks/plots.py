"""Draw the figures of docs/serving.md: docs/figures/*.svg.

    python benchmarks/plots.py [--data FOLDER] [NAME ...]

NAME is chunk, replay, load, queue or headroom; all without. Simulations and seeds are fixed, so the same code draws
the same bytes. FOLDER holds the slices of public measurements; without it replay and headroom are left out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from replays import DATA, measured
from svg import Axis, Panel, Series, chart

from evaluators.compiler.compile import compile_hooks, simulate
from problems import registry
from problems._hardware.step_cost import StepCost, kv_capacity_tokens, step_cost
from problems.serving._batching.suites import SCENARIOS, Scenario, Traffic, draw
from problems.serving._eviction.bound import farthest_next_use
from problems.serving._eviction.data import BLOCKS, Caching
from problems.serving._eviction.reader import read
from problems.serving._eviction.replay import replay as replay_eviction
from problems.serving._server.machine import Host, Limits, Serving, make_instance, on_host
from problems.serving._server.metrics import measure
from problems.serving._server.requests import make_requests

FIGURES = Path(__file__).parents[1] / "docs/figures"
BATCHING, EVICTION = "serving/continuous_batching", "serving/prefix_eviction"


@cache
def source(problem: str, rule: str) -> str:
    """Program text of a baseline."""
    baseline = registry.load(problem).baseline(rule)
    assert baseline is not None
    return baseline.source


@cache
def compiled(problem: str, text: str) -> Any:
    return compile_hooks(text, registry.load(problem))


def run(problem: str, data: Any, text: str) -> Any:
    """The solution of a program."""
    found = registry.load(problem)
    return simulate(found, found.default_decoder, data, compiled(problem, text))


def served(scenario: Scenario, load: float, traffic: Traffic, seed: int) -> Serving:
    """An instance that goes on until all is done."""
    requests = draw(scenario, load, traffic, np.random.default_rng(seed))
    return on_host(requests, scenario.host, float(requests.arrival_s[-1]) + 3600.0)


def chunk() -> str:
    """V10: tokens of a step against the worst gaps of output and the wait for the first token."""
    scenario = Scenario(Host("A100-80", "Llama-3.1-8B"), 1.0, 1.0)
    text = source(BATCHING, "sarathi")
    assert "512.0" in text
    gaps: dict[float, list[tuple[float, float]]] = {}
    waits: dict[float, list[tuple[float, float]]] = {}
    for rate in (5.0, 6.0, 7.0):
        for tokens in (128, 256, 512, 1024, 2048):
            rule = text.replace("512.0", f"{tokens}.0")
            data = served(scenario, rate, Traffic(size=1500, gap_cv=1.0), 1)
            found = measure(data, run(BATCHING, data, rule))
            gaps.setdefault(rate, []).append((tokens, 1e3 * found["p99_gap"]))
            waits.setdefault(rate, []).append((tokens, found["mean_ttft"]))
    across = Axis("tokens of a step", (128, 256, 512, 1024, 2048), logarithmic=True)
    labels = {rate: f"{rate:g} requests/s" for rate in gaps}
    return chart(
        Panel(
            "P99 of the longest gap",
            across,
            Axis("longest gap of a request's output, ms", (0, 50, 100, 150, 200)),
            [Series(labels[rate], points) for rate, points in gaps.items()],
        ),
        Panel(
            "Mean wait for the first token",
            across,
            Axis("mean time to first token, s", (0.1, 1, 10, 100), logarithmic=True),
            [Series(labels[rate], points) for rate, points in waits.items()],
        ),
    )


def replay(folder: Path) -> str:
    """V7: each request of the measured run, measured against simulated."""
    host, past = ("RTX-PRO-6000", "Llama-3.1-8B"), measured("8B", folder)
    limits = Limits(kv_capacity_tokens(*host) // 16, horizon_s=1e4, max_output=4096, max_running=128)
    columns = (past.arrival_s, past.input_tokens, past.output_tokens, past.output_tokens)
    data = make_instance(make_requests(*columns), step_cost(*host), limits)
    found = run(BATCHING, data, source(BATCHING, "vllm_v1"))
    panels = []
    for title, real, ours, ticks in (
        ("Time to first token", past.first_token_s, found.first_token_s, (0, 5, 10, 15, 20, 25)),
        ("Latency", past.last_token_s, found.finish_s, (0, 10, 20, 30, 40, 50)),
    ):
        points = [(float(a), float(b)) for a, b in zip(real - past.arrival_s, ours - past.arrival_s, strict=True)]
        equal = Series("equal", [(ticks[0], ticks[0]), (ticks[-1], ticks[-1])], marks=False, dashed=True, colour=6)
        requests = Series("one request", points, line=False, colour=0)
        panels.append(Panel(title, Axis("measured, s", ticks), Axis("simulated, s", ticks), [requests, equal]))
    return chart(*panels)


def load() -> str:
    """Load against time to first token, mean and P99, of the main rules."""
    rules = {
        "vllm_v0": "vLLM v0",
        "vllm_v1": "vLLM v1",
        "sarathi": "Sarathi-Serve",
        "past_future": "Past-Future",
        "learning_to_rank": "Learning to Rank",
        "jitserve": "JITServe",
    }
    loads, scenario = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1), SCENARIOS["a100-32b-chat"]
    means: dict[str, list[tuple[float, float]]] = {rule: [] for rule in rules}
    tails: dict[str, list[tuple[float, float]]] = {rule: [] for rule in rules}
    for share in loads:
        instances = [served(scenario, share, Traffic(size=1000), seed) for seed in (1, 2, 3)]
        for rule in rules:
            found = [measure(data, run(BATCHING, data, source(BATCHING, rule))) for data in instances]
            means[rule].append((round(100 * share), float(np.mean([f["mean_ttft"] for f in found]))))
            tails[rule].append((round(100 * share), float(np.mean([f["p99_ttft"] for f in found]))))
    across = Axis("load, % of saturation", (50, 60, 70, 80, 90, 100, 110))
    hidden = ("past_future", "learning_to_rank")  # they lie on others
    up = Axis("time to first token, s", (0.5, 1, 2, 5, 10, 20, 50, 100, 200), logarithmic=True)
    return chart(
        *(
            Panel(title, across, up, [Series(rules[r], points, dashed=r in hidden) for r, points in found.items()])
            for title, found in (("Mean", means), ("P99", tails))
        )
    )


def constant_steps(seconds: float) -> StepCost:
    """Every step takes as long."""
    nothing = np.zeros_like(step_cost("A100-80", "Llama-3.1-8B").layers_s)
    return StepCost(nothing, nothing, 0.0, 0.0, 0.0, 0.0, seconds, 0.0)


def queue(count: int = 100_000) -> str:
    """V9: one slot, steps of 1 s, requests of one token: mean time to first token and the formula of M/D/1."""
    rng, points = np.random.default_rng(9), []
    gaps, ones = rng.exponential(1.0, count), np.ones(count)
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        arrival_s = np.cumsum(gaps) / share
        limits = Limits(
            64, horizon_s=float(arrival_s[-1]) + 1e5, max_output=16, max_running=1, decision_s=0.0, candidate_s=0.0
        )
        data = make_instance(make_requests(arrival_s, ones, ones, ones), constant_steps(1.0), limits)
        found = run(BATCHING, data, source(BATCHING, "vllm_v1"))
        points.append((100 * share, float(np.mean(found.first_token_s - arrival_s))))
    line = [(100 * share, 1 + share / (2 * (1 - share))) for share in np.linspace(0.0, 0.92, 93).tolist()]
    return chart(
        Panel(
            "One slot, equal requests",
            Axis("load, %", (0, 20, 40, 60, 80, 100)),
            Axis("mean time to first token, s", (0, 1, 2, 3, 4, 5, 6, 7)),
            [Series("engine", points, line=False, colour=0), Series("M/D/1", line, marks=False, colour=6)],
        )
    )


def conversations(folder: Path) -> Caching:
    """The Mooncake slice, one token behind its hashed blocks."""
    with gzip.open(folder / "mooncake_conversation.csv.gz", "rt", encoding="utf-8") as file:
        rows = [(float(row["arrival_ms"]) / 1e3, row["block_ids"].split()) for row in csv.DictReader(file)]
    lines = [f"{arrival_s},{512 * len(blocks) + 1},{' '.join(blocks)}" for arrival_s, blocks in rows]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "conversation.csv"
        path.write_text("\n".join(["arrival_s,prompt_tokens,blocks", *lines]), encoding="utf-8")
        return read(path)[0].data


def headroom(folder: Path) -> str:
    """Share of blocks hit by capacity: LRU, LFU, SAGA, and farthest next use, which knows the future."""
    data = conversations(folder)
    labels = {"lru": "LRU", "lfu": "LFU", "offline": "farthest next use (offline)"}
    hits: dict[str, list[tuple[float, float]]] = {rule: [] for rule in labels}
    for blocks in (500, 1000, 2000, 5000, 10_000, 20_000, 50_000):
        limit = data.limit.copy()
        limit[BLOCKS] = blocks
        limit.setflags(write=False)
        one = data._replace(limit=limit)
        for rule in labels:
            solution = farthest_next_use(one) if rule == "offline" else run(EVICTION, one, source(EVICTION, rule))
            found = replay_eviction(one, solution.evicted).hits.sum() / len(data.path)
            hits[rule].append((blocks, 100 * float(found)))
    return chart(
        Panel(
            "Mooncake conversations",
            Axis("capacity, blocks of 512 tokens", (500, 1000, 2000, 5000, 10_000, 20_000, 50_000), logarithmic=True),
            Axis("blocks hit, %", (0, 10, 20, 30, 40)),
            [Series(labels[rule], points) for rule, points in hits.items()],
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("names", nargs="*", help="figures; all if none")
    given = parser.parse_args()
    drawn = {"chunk": chunk, "load": load, "queue": queue}
    if given.data.is_dir():
        drawn |= {"replay": lambda: replay(given.data), "headroom": lambda: headroom(given.data)}
    FIGURES.mkdir(exist_ok=True)
    for name in given.names or drawn:
        path = FIGURES / f"{name}.svg"
        path.write_text(drawn[name](), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
