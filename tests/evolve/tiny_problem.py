"""A tiny problem, its evaluated programs, and what a model may say of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from loopback import Answer, Loopback

from evaluators.outcome import Ok, Outcome
from evolve.budget import Budget, BudgetExhausted
from evolve.llm import LLM, LLMConfig, LLMFatal
from evolve.program import Candidate, Program
from evolve.proposers.llm import LLMProposer
from evolve.proposers.proposer import Draft, EditRefused
from evolve.strategies.strategy import Proposal
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
SAID = f"Long jobs that are due late can wait. So multiply.\n\n```python\n{CHILD}```\n"
SEARCH = "<<<<<<< SEARCH\n    return job.duration\n=======\n    return job.duration * job.due\n>>>>>>> REPLACE\n"


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


def propose(
    *answers: Answer,
    operator: str = "rewrite",
    parents: Sequence[Candidate] = PARENTS,
    budget: Budget | None = None,
    times: int = 1,
) -> tuple[Draft | BaseException, Loopback]:
    """The last of several proposals, and the server with its requests."""

    async def main() -> Draft | BaseException:
        async with LLM(LLMConfig("scripted", server.url, retries=2), budget, prices={"scripted": (1.0, 10.0)}) as llm:
            proposer = LLMProposer(PROBLEM, [llm])
            for _ in range(times):
                try:
                    last: Draft | BaseException = await proposer.propose(
                        Proposal(operator, tuple(parents)), np.random.default_rng(0)
                    )
                except (EditRefused, LLMFatal, BudgetExhausted) as error:
                    last = error
        return last

    with Loopback(*answers) as server:
        return asyncio.run(main()), server


# replies
