"""One machine, jobs that arrive over time with predicted sizes; the true ones leak where an instance says so."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np

from problems._jit import kernel
from problems.problem import (
    BadInstance,
    Baseline,
    Future,
    Hidden,
    Hook,
    Infeasible,
    Instance,
    NonFiniteScore,
    Objective,
    Problem,
)


class Jobs(NamedTuple):
    arrival: np.ndarray  # (n,) float64, ascending
    size: np.ndarray  # (n,) float64, hidden until completion
    predicted: np.ndarray  # (n,) float64
    leaks: float  # 1 if peek is the size, 0 if it is the prediction


class Job(NamedTuple):
    predicted: Annotated[float, "time", "predicted size"]
    peek: Annotated[float, "time", "what should be the prediction"]
    wait: Annotated[float, "time", "since arrival"]


class Machine(NamedTuple):
    now: Annotated[float, "time", "clock"]


class Schedule(NamedTuple):
    start: np.ndarray  # (n,) float64


@kernel
def dispatch(data, priority, theta):
    n = len(data.size)
    start = np.full(n, np.inf)
    now = data.arrival[0]
    for _ in range(n):
        upcoming = np.inf
        for j in range(n):
            if start[j] == np.inf:
                upcoming = min(upcoming, data.arrival[j])
        now = max(now, upcoming)
        chosen, lowest = -1, np.inf
        for j in range(n):
            if start[j] == np.inf and data.arrival[j] <= now:
                peek = data.size[j] if data.leaks > 0.0 else data.predicted[j]
                score = priority(Job(data.predicted[j], peek, now - data.arrival[j]), Machine(now), theta)
                if not math.isfinite(score):
                    raise NonFiniteScore("priority returned NaN or an infinity")
                if score < lowest:
                    chosen, lowest = j, score
        start[chosen] = now
        now += data.size[chosen]
    return Schedule(start)


def draw(seed: int, leaks: float, n: int = 30) -> Instance:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 20, n).astype(float)
    predicted = np.maximum(1.0, np.round(size * rng.lognormal(0.0, 1.0, n)))
    data = Jobs(np.cumsum(rng.integers(0, 15, n)).astype(float), size, predicted, leaks)
    for array in data[:3]:
        array.setflags(write=False)
    return Instance(f"{seed}-{leaks:g}", "all", data)


def verify(data: Jobs, solution: Schedule) -> None:
    order = np.argsort(solution.start, kind="stable")
    end = solution.start + data.size
    if solution.start.shape != data.size.shape or not np.isfinite(solution.start).all():
        raise Infeasible("each job starts once")
    if (solution.start < data.arrival).any() or (solution.start[order[1:]] < end[order[:-1]]).any():
        raise Infeasible("a job starts before its arrival, or two jobs overlap")


def permute(data: Jobs, solution: Schedule, rng: np.random.Generator) -> Future:
    """At the start of some job only the sizes of those that started before it are known."""
    until = float(rng.choice(solution.start))
    size, predicted = data.size.copy(), data.predicted.copy()
    unknown = np.flatnonzero(solution.start >= until)
    size[unknown] = size[rng.permutation(unknown)]
    later = np.flatnonzero(data.arrival > until)
    predicted[later] = predicted[rng.permutation(later)]
    for array in (size, predicted):
        array.setflags(write=False)
    return Future(data._replace(size=size, predicted=predicted), until)


def decided(solution: Schedule, until: float) -> tuple[np.ndarray, ...]:
    return (np.where(solution.start <= until, solution.start, np.inf),)


def fcfs(job, machine):
    return -job.wait


def predicted_shortest(job, machine):
    return job.predicted


def longest_wait_per_size(job, machine):
    return -job.wait / job.predicted


def read(path):
    raise BadInstance(f"{path}: no format")


def make_problem(module: str, leaks: float) -> Problem:
    return Problem(
        module=module,
        title="online machine",
        statement="",
        hooks=(Hook("priority", {"job": Job, "machine": Machine}, "The lowest is next."),),
        objectives=(
            Objective("flow", "flow", "time", "mean", of="flow", resolution=0.01),
            Objective("decision_ns", "decision time", "ns", "decision_time", resolution=0.1),
        ),
        splits={"train": lambda: [draw(seed, leaks) for seed in range(3)]},
        probes=lambda: [draw(seed, leaks) for seed in range(10, 13)],
        simulators={"forward": dispatch},
        solution=Schedule,
        decisions=lambda data: len(data.size),
        verify=verify,
        measure=lambda data, solution: {"flow": float((solution.start + data.size - data.arrival).mean())},
        raw_units={"flow": "time"},
        lower_bounds=lambda data: {"flow": float(data.size.mean())},
        baselines=tuple(
            Baseline(f.__name__, f.__name__, "none", {"priority": f})
            for f in (fcfs, predicted_shortest, longest_wait_per_size)
        ),
        read=read,
        format="none",
        hidden=Hidden("sizes of jobs that have not completed, and all future arrivals", permute, decided),
    )


PROBLEM = make_problem(__name__, 0.0)
