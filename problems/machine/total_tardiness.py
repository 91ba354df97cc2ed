"""One machine, total tardiness (1 || sum T_j).

n jobs wait at time 0. The machine runs one job at a time without interruption and never idles, so
a solution is an order of the jobs. A job that completes at C has tardiness max(0, C - due); the
sum over all jobs is to be as small as possible. Times are whole numbers in the instance's own
unit. The problem is NP-hard, but 100 jobs are solved to optimality in about a millisecond
(_decomposition.py), so all distances here are to the optimum.

Champions are chosen by the ratio of sums, 100 (sum of tardiness / sum of optima - 1): a user pays
for late work in all, this counts every unit of it once, also on instances where no job need be
late, and published results are stated in it. The mean gap over positive optima is reported beside
it, but must not lead: a near-zero optimum missed by one job gives thousands of percent there.

Instances are drawn as by Potts and Van Wassenhove [2]_: see _potts_van_wassenhove.py.

References
----------
.. [1] Koulamas (2010), "The single-machine total tardiness scheduling problem: Review and
   extensions", European Journal of Operational Research 202(1):1-7.
.. [2] Potts and Van Wassenhove (1982), "A decomposition algorithm for the single machine total
   tardiness problem", Operations Research Letters 1(5):177-181.
.. [3] Cetinkaya, Buyuktahtakin, Shojaee and Reddy (2025), "Discovering heuristics with large
   language models for mixed-integer programs: single-machine scheduling", arXiv:2510.24013.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from problems._jit import kernel
from problems.machine import _procedures
from problems.machine._csv import Text, read_text
from problems.machine._decomposition import least_total_tardiness
from problems.machine._jobs import Jobs, make_instance
from problems.machine._potts_van_wassenhove import PROBE, SUITES, draw
from problems.machine._references import OPTIMA
from problems.machine._tardiness_trace import explain, narrate
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


class Job(NamedTuple):
    """What a rule may know of one job that has not been placed yet ("left")."""

    duration: Annotated[float, "time", "processing time, > 0"]
    due: Annotated[float, "time", "due date, >= 0"]
    slack: Annotated[float, "time", "due date minus completion if it came next; negative: it will be late"]
    work_due_sooner: Annotated[float, "time", "work left that is due no later than this job, itself included"]
    work_shorter: Annotated[float, "time", "work left in jobs no longer than this one, itself included"]


class Machine(NamedTuple):
    """What a rule may know of the whole at a decision."""

    now: Annotated[float, "time", "completion of the last placed job, 0 at first"]
    work_left: Annotated[float, "time", "total duration of the jobs left"]
    mean_duration_left: Annotated[float, "time", "their mean duration"]
    max_duration_left: Annotated[float, "time", "their longest duration"]
    mean_duration: Annotated[float, "time", "mean duration of all jobs, placed ones included"]
    late_left: Annotated[float, "count", "jobs left with negative slack: late even if they came next"]
    jobs_left: Annotated[float, "count", "jobs left, >= 1"]
    jobs: Annotated[float, "count", "all jobs, placed ones included"]


Priority = Callable[[Job, Machine, np.ndarray], float]  # compiled, with the parameters as last argument


class Schedule(NamedTuple):
    """A solution."""

    order: np.ndarray  # (n,) int64, order[k] is the job that the machine runs k-th


class Backlog(NamedTuple):
    """The jobs left, and what the hook sees of each beyond its data."""

    left: np.ndarray  # (n,) int64, the jobs left come first
    work_due_sooner: np.ndarray  # (n,) float64, by job
    work_shorter: np.ndarray  # (n,) float64, by job


@kernel
def _take(data: Jobs, backlog: Backlog, position: int, left: int) -> int:
    """Remove and return the job at a position of the first left jobs."""
    job = backlog.left[position]
    backlog.left[position] = backlog.left[left - 1]
    duration, due = data.duration[job], data.due[job]
    for j in backlog.left[: left - 1]:
        backlog.work_due_sooner[j] -= duration if due <= data.due[j] else 0
        backlog.work_shorter[j] -= duration if duration <= data.duration[j] else 0
    return job


@kernel
def _survey(data: Jobs, left: np.ndarray, now: float, work: float) -> Machine:
    """All that the hook sees of the machine."""
    longest, late = 0.0, 0.0
    for j in left:
        longest = max(longest, data.duration[j])
        late += 1.0 if now + data.duration[j] > data.due[j] else 0.0
    n, work_left, jobs_left = float(len(data.due)), work - now, float(len(left))
    return Machine(now, work_left, work_left / jobs_left, longest, work / n, late, jobs_left, n)


@kernel
def _choose(data: Jobs, backlog: Backlog, machine: Machine, priority: Priority, theta: np.ndarray) -> int:
    """Position of the lowest priority; ties go to the shorter job, then to the lower number."""
    chosen, lowest, shortest = -1, np.inf, np.inf
    for position in range(int(machine.jobs_left)):
        j = backlog.left[position]
        duration, due = float(data.duration[j]), float(data.due[j])
        slack = due - machine.now - duration
        job = Job(duration, due, slack, backlog.work_due_sooner[j], backlog.work_shorter[j])
        score = priority(job, machine, theta)
        if not math.isfinite(score):
            raise NonFiniteScore("priority returned NaN or an infinity")
        tied = score == lowest and (duration, j) < (shortest, backlog.left[chosen])
        if score < lowest or tied:
            chosen, lowest, shortest = position, score, duration
    return chosen


@kernel
def append(data: Jobs, priority: Priority, theta: np.ndarray) -> Schedule:
    """Place the job of lowest priority next, until all are placed, in O(n^2)."""
    n = len(data.duration)
    backlog = Backlog(np.arange(n), data.work_due_sooner.copy(), data.work_shorter.copy())
    order = np.empty(n, np.int64)
    now, work = 0.0, float(data.duration.sum())
    for k in range(n):
        machine = _survey(data, backlog.left[: n - k], now, work)
        order[k] = _take(data, backlog, _choose(data, backlog, machine, priority, theta), n - k)
        now += data.duration[order[k]]
    return Schedule(order)


@kernel
def _total_tardiness(data: Jobs, order: np.ndarray) -> int:
    now, total = 0, 0
    for j in order:
        now += data.duration[j]
        total += max(0, now - data.due[j])
    return total


def measure(data: Jobs, solution: Schedule) -> Mapping[str, float]:
    """Total tardiness of a feasible order, in the unit of duration."""
    return {"total_tardiness": float(_total_tardiness(data, solution.order))}


def lower_bounds(data: Jobs) -> Mapping[str, float]:
    """Larger of two bounds: k-th shortest-first completion against k-th due date, and EDD's maximum tardiness.

    The second is the least possible maximum. It is 0 only if no job need be late.
    """
    matched = np.maximum(np.cumsum(np.sort(data.duration)) - np.sort(data.due), 0).sum()
    by_due = np.argsort(data.due, kind="stable")
    worst = np.maximum(np.cumsum(data.duration[by_due]) - data.due[by_due], 0).max()
    return {"total_tardiness": float(max(matched, worst))}


@kernel
def _first_fault(order: np.ndarray) -> int:
    """First position of a job that does not exist or came before, or -1."""
    seen = np.zeros(len(order), np.bool_)
    for k, j in enumerate(order):
        if j < 0 or j >= len(order) or seen[j]:
            return k
        seen[j] = True
    return -1


def verify(data: Jobs, solution: Schedule) -> None:
    """Check that order names each job once.

    Raises
    ------
    Infeasible
        At the first entry that breaks this, or if the array has another shape or type.
    """
    order, n = solution.order, len(data.duration)
    if not isinstance(order, np.ndarray) or order.dtype != np.int64:
        raise Infeasible(f"order must be an int64 array, got {getattr(order, 'dtype', type(order).__name__)}")
    if order.shape != (n,):
        raise Infeasible(f"order must have shape ({n},), got {order.shape}")
    k = _first_fault(order)
    if k >= 0 and not 0 <= order[k] < n:
        raise Infeasible(f"order[{k}] must be a job in 0..{n - 1}, got {order[k]}")
    if k >= 0:
        first = int(np.flatnonzero(order == order[k])[0])
        raise Infeasible(f"each job runs once, but job {order[k]} is both order[{first}] and order[{k}]")


def edd(job: Job, machine: Machine) -> float:
    """EDD: earliest due date first; minimises the largest tardiness."""
    return job.due


def spt(job: Job, machine: Machine) -> float:
    """SPT: shortest first; optimal if every job is late in every order."""
    return job.duration


def mdd(job: Job, machine: Machine) -> float:
    """MDD: earliest modified due date, the due date or the earliest completion if that is later."""
    return max(machine.now + job.duration, job.due)


def psk(job: Job, machine: Machine) -> float:
    """PSK as a priority: its pairwise test picks the job of least modified due date, ties to the shorter."""
    return job.due if job.slack > 0.0 else machine.now + job.duration


def atc(job: Job, machine: Machine) -> float:
    """ATC with k = 1 and the mean duration left, as minus its logarithm: exp underflows at long slack."""
    return max(job.slack, 0.0) / machine.mean_duration_left + math.log(job.duration)


def covert(job: Job, machine: Machine) -> float:
    """COVERT with an expected wait of 2 durations; jobs that are not urgent follow by slack."""
    urgency = 1.0 - max(job.slack, 0.0) / (2.0 * job.duration)
    return -urgency / job.duration if urgency > 0.0 else job.slack


def panneerselvam(job: Job, machine: Machine) -> float:
    """Panneerselvam: largest (work left - due date) / duration first."""
    return (job.due - machine.work_left) / job.duration


def mddc(job: Job, machine: Machine) -> float:
    """MDDC: modified due date with inflated duration, penalties for jobs that are long against what is left."""
    modified = max(machine.now + 1.1 * job.duration, job.due)
    share = min(1.0, job.duration / (machine.now + machine.max_duration_left))
    penalty = 1.0 + share * share / (1.0 + share * share)
    return modified * penalty + job.duration / (machine.now + machine.mean_duration_left)


def eddc(data: Jobs) -> Schedule:
    """EDDC: shortest first, then earlier due dates pass predecessors that are on time."""
    return Schedule(_procedures.edd_challenger(data))


def tail_moves(data: Jobs, *, challenger: bool) -> Schedule:
    """MDD, or MDDC if challenger, with the best move of a placed job to the tail after each append."""
    return Schedule(_procedures.rule_order(data, challenger, True))


def swap_descent(data: Jobs, *, steepest: bool) -> Schedule:
    """MDD, then swaps of two jobs while they help: the best of all pairs, or each as it is found."""
    return Schedule(_procedures.swap_descent(data, _procedures.rule_order(data, False, False), steepest))


_STUDY = (
    'Cetinkaya, Buyuktahtakin, Shojaee and Reddy (2025), "Discovering heuristics with large language models for '
    'mixed-integer programs: single-machine scheduling", arXiv:2510.24013'
)
_DESCENT = (
    'Potts and Van Wassenhove (1991), "Single machine tardiness sequencing heuristics", IIE Transactions 23(4):346-354'
)


def _rule(function: Callable[[Job, Machine], float], title: str, citation: str) -> Baseline:
    return Baseline(function.__name__, title, citation, hooks={"priority": function})


BASELINES = (
    _rule(
        edd,
        "EDD",
        'Jackson (1955), "Scheduling a production line to minimize maximum tardiness", Research Report 43, UCLA',
    ),
    _rule(
        spt,
        "SPT",
        'Smith (1956), "Various optimizers for single-stage production", Naval Research Logistics Quarterly 3:59-66',
    ),
    _rule(
        mdd,
        "MDD",
        'Baker and Bertrand (1982), "A dynamic priority rule for scheduling against due-dates", Journal of Operations '
        "Management 3(1):37-42",
    ),
    _rule(
        psk,
        "PSK (same order as MDD)",
        'Panwalkar, Smith and Koulamas (1993), "A heuristic for the single machine tardiness problem", European '
        "Journal of Operational Research 70(3):304-310",
    ),
    _rule(
        atc,
        "ATC, k = 1",
        'Vepsalainen and Morton (1987), "Priority rules for job shops with weighted tardiness costs", Management '
        "Science 33(8):1035-1047",
    ),
    _rule(
        covert,
        "COVERT, k = 2",
        'Carroll (1965), "Heuristic sequencing of single and multiple component jobs", thesis, MIT',
    ),
    _rule(
        panneerselvam,
        "Panneerselvam",
        'Panneerselvam (2006), "Simple heuristic to minimize total tardiness in a single machine scheduling problem", '
        "International Journal of Advanced Manufacturing Technology 30:722-726",
    ),
    _rule(mddc, "MDDC", _STUDY),
    Baseline("eddc", "EDDC", _STUDY, solve=eddc),
    Baseline("mdd_tail_moves", "MDD + tail moves", _STUDY, solve=partial(tail_moves, challenger=False)),
    Baseline("mddc_tail_moves", "MDDC + tail moves", _STUDY, solve=partial(tail_moves, challenger=True)),
    Baseline("mdd_first_swaps", "MDD + first-improvement swaps", _DESCENT, solve=partial(swap_descent, steepest=False)),
    Baseline(
        "mdd_swap_descent", "MDD + steepest swaps", _DESCENT, solve=partial(swap_descent, steepest=True), costly=True
    ),
)


@cache
def probes() -> tuple[Instance, ...]:
    """Twelve instances of 12 jobs."""
    return tuple(Instance(d.name, f"n{len(d.due)}", make_instance(d.duration, d.due)) for d in draw("probe", PROBE))


@cache
def instances(split: str) -> tuple[Instance, ...]:
    """Instances of a split with their optima, see _references.py."""
    return tuple(
        _instance(drawn.name, make_instance(drawn.duration, drawn.due), Reference(float(optimum), "optimum"))
        for drawn, optimum in zip(draw(split, SUITES[split]), OPTIMA[split], strict=True)
    )


def _instance(name: str, data: Jobs, reference: Reference) -> Instance:
    return Instance(name, f"n{len(data.due)}", data, {"total_tardiness": reference})


def read(path: Path) -> Sequence[Instance]:
    """Read a CSV file of jobs, or all those of a folder; see _csv.py.

    Up to 200 jobs the reference is the optimum unless that takes more than about a second, else
    it is the lower bound.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_instance(text) for text in read_text(path)]


def _read_instance(text: Text) -> Instance:
    try:
        data = make_instance(text.duration, text.due)
    except ValueError as error:
        raise BadInstance(f"{text.path}: {error}") from error
    optimum = least_total_tardiness(data.duration, data.due) if len(data.due) <= 200 else None
    if optimum is None:
        reference = Reference(lower_bounds(data)["total_tardiness"], "lower bound")
    else:
        reference = Reference(float(optimum), "optimum")
    return _instance(text.path.stem, data, reference)


_STATEMENT = """\
One machine runs n jobs one after the other, without interruption and without idling; all jobs wait at time 0. Job j
takes `duration` and should complete by its `due` date; a job that completes at C has tardiness max(0, C - due).
**Minimise total tardiness.**

The order is built from the front: again and again `priority(job, machine)` is computed for every job left, and the
**lowest** is placed next (ties: the shorter job, then the lower number). Everything is known in advance, but a rule
sees the other jobs only through the sums, means and counts below. With n jobs it is called n (n + 1) / 2 times, so it
must be cheap. Times are in the instance's own unit: multiplying all of them by a constant should change no decision.

What is known: if all jobs are late in every order, SPT is optimal; if EDD makes at most one job late, EDD is. MDD, the
larger of due date and earliest completion, orders any two neighbours rightly and is within 2 % of the optimum. What is
right for two is not for many: `machine.now + job.work_due_sooner` is when a job would complete if all that is due
sooner went first, `machine.now + job.work_shorter` if all that is shorter did.
"""

PROBLEM = Problem(
    module=__name__,
    title="One machine, total tardiness",
    statement=_STATEMENT,
    hooks=(Hook("priority", {"job": Job, "machine": Machine}, "The job with the lowest value is placed next."),),
    objectives=(
        Objective("ratio_of_sums", "Excess over optimum", "%", "ratio_of_sums", "total_tardiness", resolution=0.01),
        Objective("gap", "Mean gap over positive optima", "%", "gap", "total_tardiness", resolution=0.02),
        Objective("decision_time", "Time per placed job", "ns", "decision_time", resolution=0.25, relative=True),
    ),
    splits={split: partial(instances, split) for split in SUITES},
    probes=probes,
    simulators={"append": append},
    solution=Schedule,
    decisions=lambda data: len(data.due),
    verify=verify,
    measure=measure,
    raw_units={"total_tardiness": "time"},
    lower_bounds=lower_bounds,
    baselines=BASELINES,
    explain=explain,
    narrate=narrate,
    read=read,
    format="CSV, one job 'duration,due' per line, whole numbers, optional header; one file per instance",
)
