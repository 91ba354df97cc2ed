"""Fit the workloads of problems/serving to slices of public traces, and print how well they agree.

    python benchmarks/workloads.py fit [--data FOLDER]      mixtures, as they stand in _workloads/table.py
    python benchmarks/workloads.py check [--data FOLDER]    the table of docs/workloads.md

The slices are not part of this repository.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from problems.serving._server.requests import Requests
from problems.serving._workloads import workloads as _workloads
from problems.serving._workloads.mixtures import Mixture

DATA = Path(__file__).resolve().parents[2] / "shared/data"
ROUNDS = 80
STARTS = 3


def columns(path: Path, *names: str) -> np.ndarray:
    """(n, len(names)) float64 of a compressed CSV file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.array([[float(row[name]) for name in names] for row in csv.DictReader(file)])


def expectation_maximisation(x: np.ndarray, k: int, seed: int, narrowest: float) -> tuple[float, list[np.ndarray]]:
    """Log-likelihood and (weights, means, deviations) of k diagonal normal components."""
    rng = np.random.default_rng(seed)
    mean, deviation = x[rng.choice(len(x), k, replace=False)], np.tile(x.std(axis=0), (k, 1))
    weight, likelihood = np.full(k, 1 / k), -np.inf
    for _ in range(ROUNDS):
        log = np.log(weight) - np.log(deviation).sum(axis=1)
        log = log - 0.5 * np.square((x[:, None] - mean) / deviation).sum(axis=2)
        top = log.max(axis=1, keepdims=True)
        share = np.exp(log - top)
        total = share.sum(axis=1, keepdims=True)
        likelihood = float((top + np.log(total)).mean())
        share /= total
        number = share.sum(axis=0) + 1e-9
        weight, mean = number / number.sum(), share.T @ x / number[:, None]
        variance = share.T @ np.square(x) / number[:, None] - np.square(mean)
        deviation = np.sqrt(np.maximum(variance, narrowest**2))
    return likelihood, [weight, mean, deviation]


def fitted(values: np.ndarray, k: int, *, narrowest: float = 0.02, most: int = 4000) -> Mixture:
    """Mixture of k components fitted to positive values, on at most that many of them."""
    x = np.log(values)
    chosen = np.random.default_rng(1).permutation(len(x))[:most]
    runs = (expectation_maximisation(x[chosen], k, seed, narrowest) for seed in range(STARTS))
    _, (weight, mean, deviation) = max(runs, key=lambda run: run[0])
    order = np.argsort(-weight)
    rows = [tuple(tuple(float(f"{v:.3g}") for v in row) for row in table[order]) for table in (np.exp(mean), deviation)]
    weights = tuple(float(f"{w:.3g}") for w in weight[order])
    return Mixture(weights, *rows, tuple(map(float, values.min(axis=0))), tuple(map(float, values.max(axis=0))))


def sessions(path: Path) -> dict[str, np.ndarray]:
    """Conversations of a Mooncake slice: a request continues the one whose blocks, beyond the first, it repeats."""
    last: dict[str, int] = {}
    rows: list[tuple[float, float, float, int]] = []  # seconds, input, output, parent or -1
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for k, row in enumerate(csv.DictReader(file)):
            blocks = row["block_ids"].split()
            depth = next((i for i, block in enumerate(blocks) if block not in last), len(blocks))
            parent = last[blocks[depth - 1]] if depth >= 2 else -1
            rows.append(
                (float(row["arrival_ms"]) / 1e3, float(row["input_tokens"]), float(row["output_tokens"]), parent)
            )
            last |= dict.fromkeys(blocks, k)
    arrivals, inputs, outputs, parents = np.array(rows).T
    parent = parents.astype(int)
    turn = np.ones(len(rows), dtype=int)
    for k in np.flatnonzero(parent >= 0):
        turn[k] = turn[parent[k]] + 1
    later = parent >= 0
    return {
        "first": np.column_stack([inputs, outputs])[~later],
        "later": outputs[later][:, None],
        "pause": (arrivals - arrivals[parent])[later],
        "added": (inputs - inputs[parent] - outputs[parent])[later],
        "turn": turn,
    }


def fit(folder: Path) -> None:
    llm = folder / "llm"
    for name, file, k, names in (
        ("AZURE_CODE", "azure2023_code.csv.gz", 8, ("input_tokens", "output_tokens")),
        ("AZURE_CONV", "azure2023_conv.csv.gz", 8, ("input_tokens", "output_tokens")),
        ("ARXIV", "arxiv_summarization_lengths.csv.gz", 6, ("num_prefill_tokens", "num_decode_tokens")),
    ):
        print(f"{name} =", fitted(columns(llm / file, *names), k, narrowest=0.01))
    for name, file, k in (
        ("AZURE_CODE_GAPS", "azure2023_code.csv.gz", 5),
        ("AZURE_CONV_GAPS", "azure2023_conv.csv.gz", 3),
    ):
        gaps = np.maximum(np.diff(columns(llm / file, "arrival_s"), axis=0), 1e-4)
        print(f"{name} =", fitted(gaps, k, narrowest=0.05, most=10**6))
    talk = sessions(llm / "mooncake_conversation.csv.gz")
    print("MOONCAKE_FIRST =", fitted(talk["first"], 8))
    print("MOONCAKE_LATER =", fitted(talk["later"], 3))
    print("MOONCAKE_PAUSE =", fitted(talk["pause"][:, None], 2, narrowest=0.1))
    print("MOONCAKE_ADDED =", fitted(np.maximum(talk["added"], 1.0)[:, None], 3, narrowest=0.1))
    turns = np.bincount(talk["turn"])
    print("MOONCAKE_GOES_ON =", np.round(turns[2:9] / turns[1:8], 3))
    agents(folder / "cloud/agent_tools/turns.csv.gz")


def agents(path: Path) -> None:
    """Turns, tokens and tool times of the tasks that ran on a local model."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "local"]

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name] or 0) for row in rows])

    prompt = column("input_tokens") + column("cache_read_tokens") + column("cache_write_tokens")
    output, task = column("output_tokens"), column("task").astype(int)
    same = task[1:] == task[:-1]
    tools = np.diff(column("start_s")) - column("llm_latency_s")[:-1]
    added = np.diff(prompt) - output[:-1]
    turns = np.bincount(task).astype(float)
    print("AGENT_TURNS =", fitted(turns[turns > 0][:, None], 1))
    print("AGENT_FIRST =", fitted(prompt[np.r_[True, ~same]][:, None], 1))
    print("AGENT_OUTPUT =", fitted(np.maximum(output, 1)[:, None], 2))
    print("AGENT_TOOLS =", fitted(np.maximum(tools[same], 0.01)[:, None], 3, narrowest=0.1))
    print("AGENT_ADDED =", fitted(np.maximum(added[same], 1)[:, None], 2, narrowest=0.1))


class Row(NamedTuple):
    """One line of the table: a statistic of trace and workload, or a distance between the two."""

    workload: str
    quantity: str
    trace: float | None  # None: the value is a distance
    generated: float
    tolerance: str

    @property
    def holds(self) -> bool:
        """Whether the stated tolerance is kept: ``<= x`` for a distance, ``+-x %`` or ``within x`` times else."""
        kind, number = self.tolerance.split()[:2]
        if self.trace is None:
            return self.generated <= float(number)
        if kind == "+-":
            return abs(self.generated - self.trace) <= float(number) / 100 * self.trace
        return max(self.generated / self.trace, self.trace / self.generated) <= float(number)


def dispersion(arrival_s: np.ndarray, window_s: float) -> float:
    """Index of dispersion of counts: variance over mean of arrivals per window."""
    counts = np.histogram(arrival_s, np.arange(0, arrival_s[-1], window_s))[0]
    return float(counts.var() / counts.mean())


def variation(arrival_s: np.ndarray) -> float:
    """Coefficient of variation of the gaps."""
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean())


def lengths(name: str, truth: np.ndarray, limit_out: float = 0.06, high: int = 20) -> Iterator[Row]:
    """Distances and ratios of input and output lengths."""
    made = _workloads.make_workload(name, 20_000, 1)
    for j, (side, values) in enumerate((("input", made.prompt_tokens), ("output", made.output_tokens))):
        distance = stats.ks_2samp(values, truth[:, j]).statistic
        yield Row(name, f"{side} tokens, KS distance", None, distance, f"<= {(0.06, limit_out)[j]}")
        yield Row(name, f"{side} tokens, mean", truth[:, j].mean(), values.mean(), "+- 8 %")
        ends = (float(np.quantile(x, 0.99)) for x in (truth[:, j], values))
        yield Row(name, f"{side} tokens, 99 % quantile", *ends, f"+- {high} %")


def arrivals(name: str, truth: np.ndarray, *, windows: tuple[float, ...]) -> Iterator[Row]:
    """Rate and burstiness; those of the workload are means of 20 seeds, each as long as the trace."""
    made = [_workloads.make_workload(name, len(truth), seed).arrival_s for seed in range(20)]
    rates = [len(truth) / a[-1] for a in made]
    yield Row(name, "requests per second", len(truth) / truth[-1], float(np.mean(rates)), "+- 12 %")
    distance = np.mean([stats.ks_2samp(np.diff(a), np.diff(truth)).statistic for a in made])
    yield Row(name, "gaps, KS distance", None, float(distance), "<= 0.06")
    cv = float(np.mean([variation(a) for a in made]))
    yield Row(name, "gaps, coefficient of variation", variation(truth), cv, "+- 15 %")
    for window in windows:
        value = float(np.mean([dispersion(a, window) for a in made]))
        yield Row(name, f"dispersion of counts in {window:g} s", dispersion(truth, window), value, "within 2 times")


def hits(blocks: Iterable[Sequence[object]]) -> float:
    """Share of blocks that an infinite cache has: the leading ones that were seen."""
    seen: set[object] = set()
    found = total = 0
    for row in blocks:
        depth = next((i for i, block in enumerate(row) if block not in seen), len(row))
        found, total = found + depth, total + len(row)
        seen.update(row)
    return found / total


def blocks_of(requests: Requests, size: int = 512) -> Iterator[list[tuple[int, ...]]]:
    """Blocks of prompts: shared ones bear prefix or session and position, others the request."""
    for k in range(len(requests.arrival_s)):
        row = []
        for block in range(-(-int(requests.prompt_tokens[k]) // size)):
            end = (block + 1) * size
            if end <= requests.prefix_tokens[k]:
                row.append((0, int(requests.prefix[k]), block))
            elif end <= requests.prompt_tokens[k]:
                row.append((1, int(requests.session[k]), block))
            else:
                row.append((2, k, block))
        yield row


def agreement(folder: Path) -> list[Row]:
    """All lines of the table."""
    llm = folder / "llm"
    both = ("input_tokens", "output_tokens")
    code, conv, moon = (llm / f"{n}.csv.gz" for n in ("azure2023_code", "azure2023_conv", "mooncake_conversation"))
    arxiv = columns(llm / "arxiv_summarization_lengths.csv.gz", "num_prefill_tokens", "num_decode_tokens")
    rows = [*lengths("azure-code", columns(code, *both), limit_out=0.1)]
    rows += arrivals("azure-code", columns(code, "arrival_s")[:, 0], windows=(10, 60))
    rows += lengths("azure-conv", columns(conv, *both))
    rows += arrivals("azure-conv", columns(conv, "arrival_s")[:, 0], windows=(10, 60))
    rows += lengths("arxiv-summaries", arxiv)
    rows += lengths("mooncake-conversation", columns(moon, *both), high=35)
    made = _workloads.make_workload("mooncake-conversation", 7500, 1)
    truth = columns(moon, "arrival_ms")[:, 0] / 1e3
    rate = len(truth) / truth[-1]
    rows.append(Row("mooncake-conversation", "requests per second", rate, 7500 / made.arrival_s[-1], "+- 12 %"))
    with gzip.open(moon, "rt", encoding="utf-8") as file:
        share = hits(row["block_ids"].split() for row in csv.DictReader(file))
    rows.append(
        Row("mooncake-conversation", "hits of an infinite prefix cache", share, hits(blocks_of(made)), "+- 15 %")
    )
    return rows


def check(folder: Path) -> None:
    print("| workload | quantity | trace | generated | tolerance | kept |\n|---|---|---|---|---|---|")
    for row in agreement(folder):
        truth = "-" if row.trace is None else f"{row.trace:.4g}"
        kept = "yes" if row.holds else "no"
        print(f"| {row.workload} | {row.quantity} | {truth} | {row.generated:.3g} | {row.tolerance} | {kept} |")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fit", "check"))
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args(arguments)
    {"fit": fit, "check": check}[given.what](given.data)


if __name__ == "__main__":
    main()
