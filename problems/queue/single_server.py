"""One server, jobs with predicted sizes, mean flow time (1 | online, r_j, pmtn | sum F_j).

Jobs arrive over time. A job's size is unknown until it completes; what is known at its arrival is
a prediction. The server works on one job at a time, never idles while a job is present, and may
preempt a job and resume it later without loss. A job that arrives at a and completes at C has flow
time C - a; the mean over all jobs is to be as small as possible.

Decisions are taken at arrivals and completions, and whenever the job in service has run for a
quarter of the mean size while others wait. With the decoder ``non_preemptive`` they are taken at
completions only. Times are whole ticks, 1000 to the mean size.

If sizes were known, serving the least remaining size (SRPT) would be optimal [1]_, so all distances
are to SRPT with true sizes. Predictions may mislead: a long job predicted to be short has, by its
prediction, soon less than nothing left, and then blocks the others [2]_.

References
----------
.. [1] Schrage (1968), "A proof of the optimality of the shortest remaining processing time
   discipline", Operations Research 16(3):687-690.
.. [2] Mitzenmacher (2020), "Scheduling with predictions and the price of misprediction", ITCS,
   LIPIcs 151, 14:1-14:18.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from problems._jit import kernel
from problems.problem import (
    Baseline,
    Future,
    Hidden,
    Hook,
    Infeasible,
    Instance,
    NonFiniteScore,
    Objective,
    Problem,
    Reference,
)
from problems.queue._jobs import PROBE, SUITES, Jobs, drawn, make_instance, read_csv
from problems.queue._service_trace import explain, narrate


class Job(NamedTuple):
    """What a rule may know of one job that is present."""

    predicted: Annotated[float, "tick", "predicted size, > 0; often wrong by a factor of e"]
    attained: Annotated[float, "tick", "service received so far, >= 0; the true size is larger"]
    wait: Annotated[float, "tick", "time since arrival, >= 0, service included"]
    running: Annotated[float, "0/1", "1 if it was in service until now"]


class Server(NamedTuple):
    """What a rule may know of the whole at a decision."""

    jobs: Annotated[float, "count", "jobs present, >= 1"]
    mean_predicted: Annotated[float, "tick", "their mean predicted size, > 0"]
    now: Annotated[float, "tick", "time since the start"]


Priority = Callable[[Job, Server, np.ndarray], float]  # compiled, with the parameters as last argument


class Service(NamedTuple):
    """A solution: who was served when. Segments ascend in time; a job may have several."""

    job: np.ndarray  # (k,) int64
    start: np.ndarray  # (k,) int64, ticks
    end: np.ndarray  # (k,) int64, ticks, > start


@kernel
def _choose(
    data: Jobs,
    present: np.ndarray,
    attained: np.ndarray,
    now: int,
    running: int,
    priority: Priority,
    theta: np.ndarray,
) -> int:
    """The job present of lowest priority; ties go to the earlier arrival."""
    total = 0
    for j in present:
        total += data.predicted[j]
    server = Server(float(len(present)), total / len(present), float(now))
    chosen, lowest = -1, np.inf
    for j in present:
        job = Job(
            float(data.predicted[j]), float(attained[j]), float(now - data.arrival[j]), 1.0 if j == running else 0.0
        )
        score = priority(job, server, theta)
        if not math.isfinite(score):
            raise NonFiniteScore("priority returned NaN or an infinity")
        if score < lowest or (score == lowest and j < chosen):
            chosen, lowest = j, score
    return chosen


@kernel
def _serve(data: Jobs, priority: Priority, theta: np.ndarray, preemptive: bool) -> Service:
    """Serve the job of lowest priority until the next decision, until all have completed."""
    n = len(data.size)
    log = np.empty((3, 2 * n + data.size.sum() // data.review[0] + 1), np.int64)
    attained = np.zeros(n, np.int64)
    present = np.empty(n, np.int64)
    count, arrived, segments, now, running = 0, 0, 0, 0, -1
    while arrived < n or count > 0:
        if count == 0:
            now = max(now, data.arrival[arrived])
        while arrived < n and data.arrival[arrived] <= now:
            present[count] = arrived
            count, arrived = count + 1, arrived + 1
        j = _choose(data, present[:count], attained, now, running, priority, theta)
        until = now + data.size[j] - attained[j]
        if preemptive:
            until = min(until, data.arrival[arrived]) if arrived < n else until
            until = min(until, now + data.review[0]) if count > 1 else until
        if running != j or log[2, segments - 1] != now:
            log[0, segments], log[1, segments] = j, now
            segments += 1
        log[2, segments - 1] = until
        attained[j] += until - now
        now, running = until, j
        if attained[j] == data.size[j]:
            for position in range(count):
                if present[position] == j:
                    present[position] = present[count - 1]
            count, running = count - 1, -1
    return Service(log[0, :segments].copy(), log[1, :segments].copy(), log[2, :segments].copy())


@kernel
def preemptive(data: Jobs, priority: Priority, theta: np.ndarray) -> Service:
    """Decide at arrivals, completions and reviews; preempted jobs resume without loss."""
    return _serve(data, priority, theta, True)


@kernel
def non_preemptive(data: Jobs, priority: Priority, theta: np.ndarray) -> Service:
    """Decide at completions, and at arrivals at an empty server."""
    return _serve(data, priority, theta, False)


def measure(data: Jobs, solution: Service) -> Mapping[str, float]:
    """Total flow time, and its 99th percentile over jobs, in ticks."""
    completion = np.zeros(len(data.size), np.int64)
    np.maximum.at(completion, solution.job, solution.end)
    flow = completion - data.arrival
    return {"total_flow": float(flow.sum()), "p99_flow": float(np.percentile(flow, 99))}


def srpt(data: Jobs) -> Service:
    """SRPT with true sizes: the least total flow time of any schedule. Clairvoyant."""
    waiting: list[tuple[int, int]] = []  # remaining size, job
    segments: list[tuple[int, int, int]] = []
    now, arrived, n = 0, 0, len(data.size)
    while arrived < n or waiting:
        now = now if waiting else int(data.arrival[arrived])
        while arrived < n and data.arrival[arrived] <= now:
            heapq.heappush(waiting, (int(data.size[arrived]), arrived))
            arrived += 1
        left, j = heapq.heappop(waiting)
        end = now + left if arrived == n else min(now + left, int(data.arrival[arrived]))
        if segments and segments[-1][0] == j and segments[-1][2] == now:
            segments[-1] = (j, segments[-1][1], end)
        else:
            segments.append((j, now, end))
        if now + left > end:
            heapq.heappush(waiting, (now + left - end, j))
        now = end
    return Service(*np.array(segments, np.int64).T.copy())


def lower_bounds(data: Jobs) -> Mapping[str, float]:
    """SRPT's total flow time, which is optimal; no flow time is below its size."""
    return {"total_flow": measure(data, srpt(data))["total_flow"], "p99_flow": float(np.percentile(data.size, 99))}


def verify(data: Jobs, solution: Service) -> None:
    """Check that each job gets its size, after its arrival, one at a time and without idling.

    Raises
    ------
    Infeasible
        At the first segment or job that breaks this, or if an array has another shape or type.
    """
    job, start, end = solution
    for name, array in solution._asdict().items():
        if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != 1:
            raise Infeasible(f"{name} must be a one-dimensional int64 array")
        if array.shape != job.shape:
            raise Infeasible(f"{name} must have shape {job.shape}, got {array.shape}")
    n = len(data.size)
    for k in np.flatnonzero((job < 0) | (job >= n))[:1]:
        raise Infeasible(f"job[{k}] must be a job in 0..{n - 1}, got {job[k]}")
    previous = np.concatenate(([0], end[:-1]))
    for k in np.flatnonzero((start < previous) | (end <= start) | (start < data.arrival[job]))[:1]:
        raise Infeasible(f"segment {k} serves job {job[k]} in [{start[k]}, {end[k]}], before it can")
    served = np.zeros(n, np.int64)
    np.add.at(served, job, end - start)
    for j in np.flatnonzero(served != data.size)[:1]:
        raise Infeasible(f"job {j} has size {data.size[j]}, but is served for {served[j]}")
    # Before an idle time all that has arrived is done; then the next arrival is served at once.
    before = np.concatenate(([0], np.cumsum(end - start)[:-1]))
    work = np.concatenate(([0], np.cumsum(data.size)))
    for k in np.flatnonzero((start > previous) & (before != work[np.searchsorted(data.arrival, start)]))[:1]:
        raise Infeasible(f"the server idles before {start[k]} although a job is present")


def permute(data: Jobs, solution: Service, rng: np.random.Generator) -> Future:
    """At the start of some segment: permute remaining sizes, predictions to come and gaps between arrivals."""
    until = int(rng.choice(solution.start))
    attained = np.zeros(len(data.size), np.int64)
    np.add.at(attained, solution.job, np.maximum(0, np.minimum(solution.end, until) - solution.start))
    left = data.size - attained
    present = np.flatnonzero(left > 0)  # and those to come
    left[present] = left[rng.permutation(present)]
    later = np.flatnonzero(data.arrival > until)
    predicted, arrival = data.predicted.copy(), data.arrival.copy()
    predicted[later] = predicted[rng.permutation(later)]
    gaps = np.diff(arrival[later], prepend=until)
    apart = np.flatnonzero(gaps > 0)  # the first gap must stay positive
    gaps[apart] = gaps[rng.permutation(apart)]
    arrival[later] = until + np.cumsum(gaps)
    return Future(make_instance(arrival, attained + left, predicted), float(until))


def decided(solution: Service, until: float) -> tuple[np.ndarray, ...]:
    """Who was served from when to when, as far as decided up to a time."""
    known = solution.start <= until
    return solution.job[known], solution.start[known], np.minimum(solution.end[known], int(until))


def fcfs(job: Job, server: Server) -> float:
    """FCFS: longest wait first."""
    return -job.wait


def pspjf(job: Job, server: Server) -> float:
    """PSPJF: smallest predicted size first; without preemption SPJF."""
    return job.predicted


def sprpt(job: Job, server: Server) -> float:
    """SPRPT: smallest predicted remaining size first, also where it is negative."""
    return job.predicted - job.attained


def las(job: Job, server: Server) -> float:
    """LAS: least attained service first; blind to predictions."""
    return job.attained


def hrrn(job: Job, server: Server) -> float:
    """HRRN: highest ratio of wait and predicted size to predicted size first, an aging rule."""
    return -(job.wait + job.predicted) / job.predicted


_PREDICTIONS = (
    'Mitzenmacher (2020), "Scheduling with predictions and the price of misprediction", ITCS, LIPIcs 151, 14:1-14:18'
)


def _rule(function: Callable[[Job, Server], float], title: str, citation: str) -> Baseline:
    return Baseline(function.__name__, title, citation, hooks={"priority": function})


BASELINES = (
    _rule(fcfs, "FCFS", 'Kleinrock (1975), "Queueing systems, volume 1: Theory", Wiley'),
    _rule(pspjf, "PSPJF", _PREDICTIONS),
    _rule(sprpt, "SPRPT", _PREDICTIONS),
    _rule(
        las,
        "LAS",
        'Nuyens and Wierman (2008), "The foreground-background queue: a survey", Performance Evaluation 65:286-307',
    ),
    _rule(hrrn, "HRRN", 'Brinch Hansen (1971), "An analysis of response ratio scheduling", IFIP Congress'),
    Baseline(
        "srpt",
        "SRPT, true sizes",
        'Schrage (1968), "A proof of the optimality of the shortest remaining processing time discipline", Operations '
        "Research 16(3):687-690",
        solve=srpt,
    ),
)


def _instance(name: str, group: str, data: Jobs) -> Instance:
    return Instance(name, group, data, {"total_flow": Reference(lower_bounds(data)["total_flow"], "optimum")})


@cache
def probes() -> tuple[Instance, ...]:
    """Six instances of 40 jobs."""
    return tuple(Instance(*one) for one in drawn(PROBE))


@cache
def instances(split: str) -> tuple[Instance, ...]:
    """Instances of a split with SRPT's total flow time, which is optimal."""
    return tuple(_instance(*one) for one in drawn(SUITES[split]))


def read(path: Path) -> Sequence[Instance]:
    """Read CSV files of jobs; see _jobs.py."""
    return [_instance(name, "own", data) for name, data in read_csv(path)]


_STATEMENT = """\
One server; jobs arrive over time and nothing is known of those to come. A job's size is unknown until it completes: at
its arrival there is a prediction, wrong by a lognormal factor (median 1, sigma 1, so often by e and sometimes by 10).
The server works on one job at a time, never idles while a job is present, and may preempt and resume without loss.
**Minimise mean flow time** (completion minus arrival).

At every arrival and completion, and whenever the job in service has run for a quarter of the mean size while others
wait, `priority(job, server)` is computed for each job present, and the **lowest** is served until the next decision
(ties: the earlier arrival). Times are ticks, 1000 to the mean size. Sizes are exponential, Weibull (shape 0.5) or
bounded Pareto (index 1.5), at loads of 0.7 and 0.9; one rule has to do for all.

What is known: with true sizes, least remaining size first is optimal. With predictions, least predicted remaining size
fails on heavy tails: a long job that was predicted short has, by its prediction, less than nothing left and blocks the
server. Attained service says what the prediction does not: for heavy tails, who has run long will run longer.
"""

PROBLEM = Problem(
    module=__name__,
    title="One server, predicted sizes",
    statement=_STATEMENT,
    hooks=(Hook("priority", {"job": Job, "server": Server}, "The job with the lowest value is served."),),
    objectives=(
        Objective("excess", "Excess flow time over SRPT", "%", "ratio_of_sums", "total_flow", resolution=0.1),
        Objective("p99", "99th percentile of flow time", "tick", "mean", "p99_flow", resolution=0.01, relative=True),
        Objective(
            "decision_time", "Time per arrival or completion", "ns", "decision_time", resolution=0.25, relative=True
        ),
    ),
    splits={split: partial(instances, split) for split in SUITES},
    probes=probes,
    simulators={"preemptive": preemptive, "non_preemptive": non_preemptive},
    solution=Service,
    decisions=lambda data: 2 * len(data.size),
    verify=verify,
    measure=measure,
    raw_units={"total_flow": "tick", "p99_flow": "tick"},
    lower_bounds=lower_bounds,
    baselines=BASELINES,
    read=read,
    format="CSV, one job 'arrival,size,predicted' per line, whole ticks, ascending arrivals; one file per instance",
    explain=explain,
    narrate=narrate,
    hidden=Hidden("sizes of jobs that have not completed, and all arrivals to come", permute, decided),
)
