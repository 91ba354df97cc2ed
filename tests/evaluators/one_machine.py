"""One machine, total weighted completion time (1 || sum w C): small enough to check by hand.

Smith's rule is optimal, so that references are optima without any search.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from problems._jit import kernel
from problems.problem import (
    BadInstance,
    Baseline,
    Hook,
    Infeasible,
    Instance,
    NonFiniteScore,
    Objective,
    Problem,
    Reference,
)


class Jobs(NamedTuple):
    duration: np.ndarray  # (n,) float64
    weight: np.ndarray  # (n,) float64


class Job(NamedTuple):
    duration: Annotated[float, "time", "processing time, > 0"]
    weight: Annotated[float, "1", "weight, > 0"]


class Machine(NamedTuple):
    now: Annotated[float, "time", "completion of the previous job"]
    jobs: Annotated[float, "count", "number of jobs"]


class Sequence(NamedTuple):
    completion: np.ndarray  # (n,) float64


@kernel
def dispatch(data, priority, theta):
    n = len(data.duration)
    completion = np.full(n, np.inf)
    now = 0.0
    for _ in range(n):
        chosen, lowest = -1, np.inf
        for j in range(n):
            if completion[j] == np.inf:
                score = priority(Job(data.duration[j], data.weight[j]), Machine(now, float(n)), theta)
                if not math.isfinite(score):
                    raise NonFiniteScore("priority returned NaN or an infinity")
                if score < lowest:
                    chosen, lowest = j, score
        now += data.duration[chosen]
        completion[chosen] = now
    return Sequence(completion)


def make_instance(name: str, duration, weight) -> Instance:
    data = Jobs(np.array(duration, np.float64), np.array(weight, np.float64))
    for array in data:
        array.setflags(write=False)
    return Instance(name, f"n={len(data.duration)}", data, {"cost": Reference(optimum(data), "optimum")})


def optimum(data: Jobs) -> float:
    order = np.argsort(data.duration / data.weight, kind="stable")
    return float((data.weight[order] * np.cumsum(data.duration[order])).sum())


def draw(seed: int, n: int) -> Instance:
    rng = np.random.default_rng(seed)
    return make_instance(f"{n}-{seed}", rng.integers(1, 20, n), rng.integers(1, 10, n))


def train() -> list[Instance]:
    return [draw(seed, n) for n in (5, 20) for seed in range(3)]


def verify(data: Jobs, solution: Sequence) -> None:
    if solution.completion.shape != data.duration.shape:
        raise Infeasible(f"completion must have shape {data.duration.shape}, got {solution.completion.shape}")
    start = solution.completion - data.duration
    order = np.argsort(start)
    if not np.isfinite(start).all() or start[order[0]] < 0:
        raise Infeasible("a job starts before time 0, or never")
    if (start[order[1:]] < solution.completion[order[:-1]]).any():
        raise Infeasible("two jobs overlap")


def measure(data: Jobs, solution: Sequence) -> dict[str, float]:
    return {"cost": float((data.weight * solution.completion).sum())}


def smith(job, machine):
    return job.duration / job.weight


def longest_first(job, machine):
    return -job.duration


def solve_exactly(data: Jobs) -> Sequence:
    order = np.argsort(data.duration / data.weight, kind="stable")
    completion = np.empty(len(order))
    completion[order] = np.cumsum(data.duration[order])
    return Sequence(completion)


def read(path: Path) -> list[Instance]:
    try:
        rows = [[float(x) for x in line.split(",")] for line in path.read_text().splitlines()]
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from None
    return [make_instance(path.stem, *zip(*rows, strict=True))]


PROBLEM = Problem(
    module=__name__,
    title="one machine",
    statement="",
    hooks=(Hook("priority", {"job": Job, "machine": Machine}, "The lowest is next."),),
    objectives=(
        Objective("gap", "gap", "%", "gap", of="cost"),
        Objective("cost", "cost", "time", "mean", of="cost"),
        Objective("decision_ns", "decision time", "ns", "decision_time"),
    ),
    splits={"train": train, "valid": lambda: [draw(seed, 10) for seed in range(10, 14)]},
    probes=lambda: [draw(seed, 4) for seed in range(20, 23)],
    simulators={"forward": dispatch},
    solution=Sequence,
    decisions=lambda data: len(data.duration),
    verify=verify,
    measure=measure,
    raw_units={"cost": "time"},
    lower_bounds=lambda data: {"cost": optimum(data)},
    baselines=(
        Baseline("smith", "Smith", "Smith 1956", {"priority": smith}),
        Baseline("longest", "longest first", "none", {"priority": longest_first}),
        Baseline("exact", "exact", "Smith 1956", solve=solve_exactly),
    ),
    read=read,
    format="one line per job: duration,weight",
)
