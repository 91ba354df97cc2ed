"""A tiny problem with two rules, and candidates that were never run."""

from typing import Annotated, NamedTuple

from evaluators.outcome import Ok, Outcome
from evolve.program import Candidate, Program
from problems.problem import Baseline, Hook, Objective, Problem


class Job(NamedTuple):
    """A job that waits."""

    duration: Annotated[float, "time", "processing time, > 0"]
    due: Annotated[float, "time", "due date"]


class Machine(NamedTuple):
    """The machine."""

    now: Annotated[float, "time", "completion of the last job"]


def spt(job: Job, machine: Machine) -> float:
    return job.duration


def edd(job: Job, machine: Machine) -> float:
    return job.due


PROBLEM = Problem(
    module="problems.tiny.one_machine",
    title="One tiny machine",
    statement="Order the jobs. **Minimise lateness.**",
    hooks=(Hook("priority", {"job": Job, "machine": Machine}, "The lowest is placed next."),),
    objectives=(
        Objective("gap", "Mean gap", "%", "gap", "lateness"),
        Objective("profit", "Profit", "$", "mean", "profit", direction="max"),
        Objective("decision_time", "Time per job", "ns", "decision_time"),
    ),
    splits={},
    probes=lambda: [],
    simulators={},
    solution=Job,
    decisions=lambda data: 1,
    verify=lambda data, solution: None,
    measure=lambda data, solution: {},
    raw_units={},
    lower_bounds=lambda data: {},
    baselines=(
        Baseline("spt", "Shortest first", "folklore", hooks={"priority": spt}),
        Baseline("edd", "Earliest due date", "folklore", hooks={"priority": edd}),
    ),
    read=lambda path: [],
    format="none",
)
PARENT = "def priority(job, machine):\n    return job.duration\n"
CHILD = "def priority(job, machine):\n    return job.duration * job.due\n"


def ok(gap: float, small: float, large: float, profit: float = 1.0) -> Ok:
    groups = {g: {"gap": v, "profit": profit, "decision_time": 7.0} for g, v in (("small", small), ("large", large))}
    values = {"gap": [small, large], "profit": [profit] * 2, "decision_time": [12.5] * 2}
    return Ok({"gap": gap, "profit": profit, "decision_time": 12.5}, groups, values, {})


def candidate(
    number: int, outcome: Outcome, source: str = PARENT, origin: str = "llm", operator: str = "rewrite"
) -> Candidate:
    return Candidate(Program(number, source, origin, operator, thought=f"Thought {number}."), outcome)


BASELINES = (
    candidate(0, ok(20.0, 10.0, 30.0, 5.0), PROBLEM.baselines[0].source, "baseline", "spt"),
    candidate(1, ok(22.0, 14.0, 29.0, 6.0), PROBLEM.baselines[1].source, "baseline", "edd"),
)
PARENTS = (candidate(2, ok(17.2345, 11.0, 23.0)),)
