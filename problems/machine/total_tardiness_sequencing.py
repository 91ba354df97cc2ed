"""One machine, total tardiness (1 || sum T_j), solved by whole programs.

The problem, its instances, optima, bound and verifier are those of total_tardiness.py. There a rule
ranks the jobs left, one decision at a time; here a program sees all jobs at once and returns their
order, so that local search, look-ahead and decomposition can be written.

References
----------
.. [1] Koulamas (2010), "The single-machine total tardiness scheduling problem: Review and
   extensions", European Journal of Operational Research 202(1):1-7.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import numpy as np

from problems.machine import total_tardiness
from problems.machine._jobs import Jobs
from problems.machine._sequencing import (
    earliest_due_date,
    earliest_due_date_challenger,
    modified_due_date,
    modified_due_date_with_tail_moves,
    shortest_processing_time,
)
from problems.machine.total_tardiness import Schedule
from problems.problem import Baseline, Objective, Problem, Solver


class Instance(NamedTuple):
    """What a program sees: the jobs 0..n-1."""

    duration: Annotated[np.ndarray, "(n,) int64 array", "time", "processing times, > 0"]
    due: Annotated[np.ndarray, "(n,) int64 array", "time", "due dates, >= 0"]


def view(data: Jobs) -> Instance:
    """Durations and due dates, and nothing that is derived from them."""
    return Instance(data.duration, data.due)


def answer(data: Jobs, solve: Callable[[Instance], Any], theta: np.ndarray) -> Schedule:
    """The order that a program returns, in the trusted process: for tests and a user's own code."""
    return Schedule(np.asarray(solve(view(data)), dtype=np.int64))


def _program(module: ModuleType, name: str) -> Baseline:
    known = total_tardiness.PROBLEM.baseline(name)
    assert known is not None
    return Baseline(name, known.title, known.citation, text=inspect.getsource(module))


BASELINES = (
    _program(earliest_due_date, "edd"),
    _program(shortest_processing_time, "spt"),
    _program(modified_due_date, "mdd"),
    _program(earliest_due_date_challenger, "eddc"),
    _program(modified_due_date_with_tail_moves, "mdd_tail_moves"),
)

_STATEMENT = """\
One machine runs n jobs one after the other, without interruption and without idling; all jobs wait at time 0. Job j
takes `duration[j]` and should complete by `due[j]`; a job that completes at C has tardiness max(0, C - due[j]).
**Minimise total tardiness.**

`solve(instance)` returns the order of all jobs: an array or list of the n numbers 0..n-1, each once; the machine runs
`order[0]` first. Everything is known in advance. Instances have 12 to 500 jobs.

What is known: if all jobs are late in every order, SPT is optimal; if EDD makes at most one job late, EDD is. MDD, the
larger of due date and earliest completion, is within 2 % of the optimum. Moving or swapping jobs of its order gains
most of the rest. Between a job and its best place lie decomposition theorems: the longest job comes at one of a few
positions after the jobs that are due no later than it.
"""

PROBLEM = Problem(
    module=__name__,
    title="One machine, total tardiness, whole programs",
    statement=_STATEMENT,
    hooks=(),
    solver=Solver(
        Instance,
        view,
        {"order": ("int64", 1)},
        "The order of the jobs: (n,) integers, order[k] is the job that the machine runs k-th.",
        seconds=2.0,
    ),
    objectives=(
        Objective("ratio_of_sums", "Excess over optimum", "%", "ratio_of_sums", "total_tardiness", resolution=0.01),
        Objective("gap", "Mean gap over positive optima", "%", "gap", "total_tardiness", resolution=0.02),
    ),
    splits=total_tardiness.PROBLEM.splits,
    probes=total_tardiness.probes,
    simulators={"solve": answer},
    solution=Schedule,
    decisions=total_tardiness.PROBLEM.decisions,
    verify=total_tardiness.verify,
    measure=total_tardiness.measure,
    raw_units=total_tardiness.PROBLEM.raw_units,
    lower_bounds=total_tardiness.lower_bounds,
    baselines=BASELINES,
    read=total_tardiness.read,
    format=total_tardiness.PROBLEM.format,
)
