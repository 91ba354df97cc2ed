"""Job shop, makespan objective (J || C_max).

Each of n jobs visits all m machines once, in its own given order. An operation occupies its
machine for its processing time without interruption; a machine runs one operation at a time, and
a job one operation at a time. All jobs and machines are available at time 0. The makespan, the
completion of the last operation, is to be as small as possible. Times are positive integers in
the instance's own unit.

A rule ranks waiting operations; a decoder turns ranks into a schedule, and matters more than most
rules. Non-delay: no machine idles while an operation waits for it. Giffler-Thompson: the machine
of the earliest possible completion is decided next; it may wait for what arrives before then [1]_.
Insertion: the best-ranked next operation of all jobs goes into the earliest gap of its machine.

References
----------
.. [1] Giffler and Thompson (1960), "Algorithms for solving production-scheduling problems",
   Operations Research 8(4):487-503.
.. [2] Taillard (1993), "Benchmarks for basic scheduling problems", European Journal of
   Operational Research 64(2):278-285.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._engines import activity
from problems._engines.activity_timeline import open_timeline
from problems._jit import inlined, kernel
from problems.problem import (
    Baseline,
    Hook,
    Infeasible,
    NonFiniteScore,
    Objective,
    Problem,
)
from problems.shop._floor import (
    JobShop,
    Operation,
    Shop,
    arrive,
    describe,
    describe_shop,
    leave,
    make_instance,
    open_floor,
)
from problems.shop._job_shop_instances import SPLITS, lower_bounds, probes, read
from problems.shop._job_shop_rules import RULES
from problems.shop._job_shop_trace import explain, narrate

__all__ = ["PROBLEM", "JobShop", "Operation", "Schedule", "Shop", "make_instance"]


class Schedule(NamedTuple):
    """A solution."""

    start: np.ndarray  # (n, m) int64, start[j, k] of the k-th operation of job j


Rule = Callable[[Operation, Shop, np.ndarray], float]


def _build(instance: JobShop, seed: np.uint64, delay: float, priority: Rule, theta: np.ndarray) -> Schedule:
    """Schedule the operation of lowest priority (ties: of the lowest job), until all are scheduled.

    delay in [0, 1] goes to the event decoder; a negative one stands for the list decoder.
    """
    opened = activity.begin(instance.network), open_floor(instance), open_timeline(instance.network)
    data, (state, floor, timeline) = borrow(instance), borrow(opened)
    network = data.network
    while state.tally[activity.SCHEDULED] < data.machine.size:
        if delay < 0.0:
            activity.eligible(network, state)
        elif delay == 0.0:
            activity.startable(network, state)
        else:
            activity.conflict_set(network, state, delay)
        arrive(data, state, floor)
        shop = describe_shop(data, state)
        chosen, lowest = state.candidate[0], np.inf
        # This loop is no verb of its own: functions that pass on a hook's exception inline badly.
        for i in range(state.tally[activity.CANDIDATES]):
            a = state.candidate[i]
            score = priority(describe(data, state, floor, seed, a), shop, theta)
            if not math.isfinite(score):
                raise NonFiniteScore("priority returned NaN or an infinity")
            if score < lowest or (score == lowest and a < chosen):
                chosen, lowest = a, score
        if delay < 0.0:
            activity.insert(network, state, timeline, chosen)
        else:
            activity.schedule(network, state, chosen)
        leave(data, state, floor, chosen)
    start = np.empty(data.machine.shape, np.int64)
    for a in range(start.size):
        start.flat[a] = opened[0].start[a]  # of what was opened, not of the view: keeps all three alive until here
    return Schedule(start)


_build_with_hook = kernel(_build)


@kernel
def non_delay(data: JobShop, priority: Rule, theta: np.ndarray) -> Schedule:
    """Leave no machine idle while an operation waits for it."""
    return _build_with_hook(data, data.seed[0], 0.0, priority, theta)


@kernel
def giffler_thompson(data: JobShop, priority: Rule, theta: np.ndarray) -> Schedule:
    """Build an active schedule [1]_."""
    return _build_with_hook(data, data.seed[0], 1.0, priority, theta)


@kernel
def insertion(data: JobShop, priority: Rule, theta: np.ndarray) -> Schedule:
    """Place the best of all next operations in the earliest gap that it fits."""
    return _build_with_hook(data, data.seed[0], -1.0, priority, theta)


def verify(data: JobShop, solution: Schedule) -> None:
    """Check every rule of the shop.

    Raises
    ------
    Infeasible
        Naming the operation, the rule and the value.
    """
    start, shape = solution.start, data.duration.shape
    if start.dtype != np.int64 or start.shape != shape:
        raise Infeasible(f"start must be an int64 array of shape {shape}, got {start.dtype} of shape {start.shape}")
    j, k, g, h = _broken(data.machine, data.duration, start)
    if j < 0:
        return
    if h < 0:
        raise Infeasible(f"a start must be in 0..2**53-1, got {start[j, k]} at job {j}, operation {k}")
    finish = start[j, k] + data.duration[j, k]
    if g == j:
        raise Infeasible(f"operation {h} of job {j} starts at {start[j, h]}, before operation {k} finishes at {finish}")
    raise Infeasible(
        f"on machine {data.machine[j, k]}, operation {h} of job {g} starts at {start[g, h]}, "
        f"before operation {k} of job {j} finishes at {finish}"
    )


@kernel
def _broken(machine: np.ndarray, duration: np.ndarray, start: np.ndarray) -> tuple[int, int, int, int]:
    """The first broken rule: job and operation, then those that start before these have finished.

    The latter are -1 where a start is out of bounds, all are where no rule is broken. Compiled,
    because every schedule of every candidate comes through here.
    """
    jobs, machines = start.shape
    for j in range(jobs):
        for k in range(machines):
            if not 0 <= start[j, k] < 2**53:
                return j, k, -1, -1
    for j in range(jobs):
        for k in range(machines - 1):
            if start[j, k + 1] < start[j, k] + duration[j, k]:
                return j, k, j, k + 1
    # Per machine the jobs in order of start, ties by number: one that overlaps another overlaps its neighbour.
    queue = np.empty((machines, jobs), np.int64)  # operations, as j * machines + k
    for j in range(jobs):
        for k in range(machines):
            i = machine[j, k]
            place = j
            while place > 0 and start.flat[queue[i, place - 1]] > start[j, k]:
                queue[i, place] = queue[i, place - 1]
                place -= 1
            queue[i, place] = j * machines + k
    for i in range(machines):
        for place in range(1, jobs):
            first, second = queue[i, place - 1], queue[i, place]
            if start.flat[second] < start.flat[first] + duration.flat[first]:
                return first // machines, first % machines, second // machines, second % machines
    return -1, -1, -1, -1


def measure(data: JobShop, solution: Schedule) -> dict[str, float]:
    """Completion of the last operation."""
    return {"makespan": float((solution.start[:, -1] + data.duration[:, -1]).max())}


@kernel
def _noisy_p_over_work_left(op: Operation, shop: Shop, theta: np.ndarray) -> float:
    return op.duration / op.work_left * math.exp(theta[0] * (op.noise - 0.5))


# Compiled for this one rule, and into its caller: passed on by address it would be slower, and not cached.
_build_with_noise = inlined(_build)


@kernel
def _best_of(data: JobShop, passes: int, quiet: np.ndarray, loud: np.ndarray) -> Schedule:
    best = _build_with_noise(data, data.seed[0], 0.0, _noisy_p_over_work_left, quiet)
    for k in range(1, passes):
        other = _build_with_noise(data, data.seed[0] + np.uint64(k), 0.0, _noisy_p_over_work_left, loud)
        if _makespan(data, other) < _makespan(data, best):
            best = other
    return best


@inlined
def _makespan(data: JobShop, schedule: Schedule) -> int:
    makespan = 0
    for j in range(len(schedule.start)):
        makespan = max(makespan, schedule.start[j, -1] + data.duration[j, -1])
    return makespan


def best_of(passes: int, data: JobShop) -> Schedule:
    """Best of one non-delay pass of p / work left and passes - 1 with its priorities disturbed.

    Each priority is multiplied by exp(0.6 (u - 0.5)), u uniform. The 0.6 was chosen on 70 generated
    instances, where 0.4 to 0.7 differ by 0.1 points (K = 128); on Taillard's 80 it gives 9.73 % with
    128 passes and 8.72 % with 1024.
    """
    return _best_of(data, passes, np.array([0.0]), np.array([0.6]))


# Random perturbation of a rule's priorities, sampled many times.
_NOISE = (
    'Storer, Wu and Vaccari (1992), "New search spaces for sequencing problems with application to job shop '
    'scheduling", Management Science 38(10):1495-1509'
)

STATEMENT = """\
A job shop has n jobs and m machines. Every job visits every machine once, in its own given order;
an operation holds its machine for its whole processing time, without interruption. A machine runs
one operation at a time, and so does a job. Everything is available at time 0, and all numbers are
known beforehand: nothing is random. Make the makespan, the time when all is done, small.

`priority(op, shop)` returns one finite number for each operation that competes for a machine; the
**lowest** is started, ties go to the job of the lowest index. It is called anew for every decision.

The default decoder is *non-delay*: time moves to the next moment at which some waiting operation
finds its machine free, all such operations compete, on whatever machine, and the chosen one
starts; a machine never idles while work waits for it. *Giffler-Thompson* lets a machine wait for an
operation that will arrive before any waiting one could complete on it; *insertion* ranks the next
operation of every job and places the best in the earliest gap of its machine. Rules that are good
in one decoder can be poor in another.

Times are in the instance's own unit: 1 to 99 in most instances, up to 200 in some. A good rule
does not depend on the unit (divide times by one another or by `shop.mean_duration`) nor on the
size: it is judged on 10 to 200 jobs and 10 to 20 machines, not only on those it was trained on.
`op.noise` is there for randomised rules and as a tie-break; it depends on instance, decision and
operation only, so a rule gives the same schedule each time.

Known to help: little processing time, much work left in the job (`duration / work_left` is the
rule to beat), and looking at the state of the next machine.
"""

PROBLEM = Problem(
    module=__name__,
    title="Job shop, makespan",
    statement=STATEMENT,
    hooks=(
        Hook(
            "priority",
            {"op": Operation, "shop": Shop},
            "Rank of an operation that competes for its machine; the lowest is started first.",
        ),
    ),
    objectives=(
        Objective("gap", "Mean gap to best known makespan or lower bound", "%", "gap", of="makespan", resolution=0.05),
        Objective(
            "decision_time", "Time per scheduled operation", "ns", "decision_time", resolution=0.25, relative=True
        ),
    ),
    splits=SPLITS,
    probes=probes,
    simulators={"non-delay": non_delay, "giffler-thompson": giffler_thompson, "insertion": insertion},
    solution=Schedule,
    decisions=lambda data: data.machine.size,
    verify=verify,
    measure=measure,
    raw_units={"makespan": "time"},
    lower_bounds=lower_bounds,
    baselines=(
        *RULES,
        Baseline("best_of_128", "p / work left, best of 128 noisy passes", _NOISE, solve=partial(best_of, 128)),
        Baseline(
            "best_of_1024",
            "p / work left, best of 1024 noisy passes",
            _NOISE,
            solve=partial(best_of, 1024),
            costly=True,
        ),
    ),
    read=read,
    explain=explain,
    narrate=narrate,
    format="`n m` (jobs, machines), then per job one line of m pairs `machine duration`, machines from 0 (JSPLIB)",
)
