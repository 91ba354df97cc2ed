"""Replay measured runs of vLLM 0.19 with a plain scheduler; print means measured and simulated (V7, V8).

    python benchmarks/replays.py [--data FOLDER] [--fit]

The scheduler is a page of plain Python, apart from the engines; no request of these runs was preempted. The ranks of
the run with experts are replayed apart, and in lock-step: each step of one waits for the other's all-to-all. --fit
prints the floor of the all-to-all with which each way meets the measured mean TPOT, and what the other means then are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from problems._hardware import devices, models, roofline
from problems._hardware.devices import Device
from problems._hardware.roofline import Experts
from problems._hardware.step_cost import StepCost, step_cost, step_seconds

DATA = Path(__file__).resolve().parents[2] / "shared/data/llm"
DEVICE = "RTX-PRO-6000"
RUNS = {"8B": ("Llama-3.1-8B", 1), "30B": ("Qwen3-30B-A3B", 2)}  # key of the run -> model, data-parallel ranks
Plan = list[tuple[int, int]]  # (request, prompt tokens); 0 tokens: it decodes


class Run(NamedTuple):
    """Measured requests, in order of arrival; times in seconds from the start."""

    arrival_s: np.ndarray
    input_tokens: np.ndarray
    output_tokens: np.ndarray
    first_token_s: np.ndarray
    last_token_s: np.ndarray


def measured(key: str, folder: Path = DATA) -> Run:
    """The run whose model's name holds key."""
    with gzip.open(folder / "vllm_measured_runs.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if key in row["run"]]
    rows.sort(key=lambda row: float(row["arrival_s"]))
    return Run(*(np.array([float(row[name]) for row in rows]) for name in Run._fields))


def means(run: Run) -> dict[str, float]:
    """Mean time to first token, per further token and to the end, and when the last request ends."""
    ttft, decode = run.first_token_s - run.arrival_s, run.last_token_s - run.first_token_s
    return {
        "ttft": float(ttft.mean()),
        "tpot": float((decode / (run.output_tokens - 1)).mean()),
        "e2e": float((run.last_token_s - run.arrival_s).mean()),
        "makespan": float(run.last_token_s.max()),
    }


class Rank:
    """vLLM v1: running requests in order, then waiting ones, under one budget of tokens."""

    def __init__(self, run: Run, *, budget: int = 2048, sequences: int = 128) -> None:
        n = len(run.arrival_s)
        self.prompt, self.output = run.input_tokens.astype(int), run.output_tokens.astype(int)
        self.budget, self.sequences = budget, sequences
        self.computed, self.generated = [0] * n, [0] * n
        self.first_s, self.last_s = np.zeros(n), np.zeros(n)
        self.running: list[int] = []
        self.waiting: list[int] = []

    def compose(self) -> Plan:
        """What the next step computes."""
        left, plan = self.budget, []
        for r in self.running:
            chunk = min(left, self.prompt[r] - self.computed[r])
            if left:
                plan.append((r, chunk))
                left -= max(chunk, 1)
        while self.waiting and left and len(self.running) < self.sequences:
            self.running.append(self.waiting.pop(0))
            chunk = min(left, self.prompt[self.running[-1]])
            plan.append((self.running[-1], chunk))
            left -= chunk
        return plan

    def seconds(self, cost: StepCost, plan: Plan) -> float:
        """How long that takes."""
        chunks = [(r, c) for r, c in plan if c]
        decoding = [r for r, c in plan if not c]
        pairs = sum(c * (self.computed[r] + c / 2) for r, c in chunks)
        context = sum(self.prompt[r] + self.generated[r] for r in decoding)
        return step_seconds(cost, int(sum(c for _, c in chunks)), float(pairs), len(decoding), float(context))

    def advance(self, plan: Plan, now: float) -> None:
        """The step has ended."""
        for r, chunk in plan:
            self.computed[r] += chunk
            if self.computed[r] >= self.prompt[r]:
                if not self.generated[r]:
                    self.first_s[r] = now
                self.generated[r] += 1
                self.last_s[r] = now
                if self.generated[r] >= self.output[r]:
                    self.running.remove(r)


def replay_apart(run: Run, cost: StepCost, ranks: int) -> Run:
    """Each rank by itself; they get the requests in turns."""
    first_s, last_s = np.zeros(len(run.arrival_s)), np.zeros(len(run.arrival_s))
    for k in range(ranks):
        mine = slice(k, None, ranks)
        one = replay_together(Run(*(column[mine] for column in run)), cost, 1)
        first_s[mine], last_s[mine] = one.first_token_s, one.last_token_s
    return run._replace(first_token_s=first_s, last_token_s=last_s)


def replay_together(run: Run, cost: StepCost, ranks: int, experts_s: np.ndarray | None = None) -> Run:
    """All ranks in lock-step, requests in turns.

    ``experts_s`` is what the experts of a step take, by tokens of all ranks together: they are computed for all
    at once. Everything else lasts as long as on the slowest rank.
    """
    n, workers = len(run.arrival_s), [Rank(run) for _ in range(ranks)]
    now, arrived = 0.0, 0
    while arrived < n or any(w.running or w.waiting for w in workers):
        while arrived < n and run.arrival_s[arrived] <= now:
            workers[arrived % ranks].waiting.append(arrived)
            arrived += 1
        plans = [w.compose() for w in workers]
        if not any(plans):
            now = float(run.arrival_s[arrived])
            continue
        own = [w.seconds(cost, plan) for w, plan in zip(workers, plans, strict=True)]
        if experts_s is None:
            now += max(own)
        else:
            tokens = [sum(max(chunk, 1) for _, chunk in plan) for plan in plans]
            now += max(s - experts_s[t * ranks] for s, t in zip(own, tokens, strict=True)) + experts_s[sum(tokens)]
        for worker, plan in zip(workers, plans, strict=True):
            worker.advance(plan, now)
    first_s, last_s = (np.max([getattr(w, name) for w in workers], axis=0) for name in ("first_s", "last_s"))
    return run._replace(first_token_s=first_s, last_token_s=last_s)


def replay(run: Run, model: str, ranks: int, *, lock_step: bool = False, device: Device | None = None) -> Run:
    """A measured run as simulated."""
    on, of = device or devices.device(DEVICE), models.model(model)
    cost = step_cost(on, of, ep=ranks)
    if not lock_step:
        return replay_apart(run, cost, ranks)
    tokens = np.arange(ranks * 4096) / ranks
    experts_s = of.expert_layers * roofline.experts_seconds(on, tokens, of, 1, Experts(ranks))
    return replay_together(run, cost, ranks, experts_s)


def with_floor(seconds: float) -> Device:
    """The device with another floor of exchanges between two GPUs."""
    on = devices.device(DEVICE)
    return on._replace(allreduce_floor_s=(seconds, *on.allreduce_floor_s[1:]))


def fitted_floor_s(run: Run, model: str, ranks: int, *, lock_step: bool) -> float:
    """The floor with which the mean TPOT is that measured."""
    aim = means(run)["tpot"]

    def miss(floor_s: float) -> float:
        return means(replay(run, model, ranks, lock_step=lock_step, device=with_floor(floor_s)))["tpot"] - aim

    return float(brentq(miss, 1e-6, 1e-4, xtol=2e-7))


def line(label: str, found: dict[str, float], truth: dict[str, float]) -> str:
    """Simulated means, each with its error."""
    return f"{label:34s}" + "  ".join(f"{k} {v:.4g} ({v / truth[k] - 1:+.1%})" for k, v in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--fit", action="store_true")
    given = parser.parse_args()
    for key, (model, ranks) in RUNS.items():
        run = measured(key, given.data)
        truth = means(run)
        print(line(f"{model}, measured", truth, truth))
        for lock_step in (False, True)[:ranks]:
            way = "in lock-step" if lock_step else "apart" if ranks > 1 else "simulated"
            print(line(f"{model}, {way}", means(replay(run, model, ranks, lock_step=lock_step)), truth))
            if given.fit and ranks > 1:
                floor_s = fitted_floor_s(run, model, ranks, lock_step=lock_step)
                found = means(replay(run, model, ranks, lock_step=lock_step, device=with_floor(floor_s)))
                print(line(f"  with a floor of {1e6 * floor_s:.1f} us", found, truth))


if __name__ == "__main__":
    main()
