"""The audit: anticipation and chance are found and named; honest programs pass."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import leaky_machine
import numpy as np
import online_machine
import pytest
from conftest import needs_sandbox
from nosy import nosy
from one_machine import PROBLEM as OFFLINE

from evaluators import audit
from evaluators.audit import Auditor, compare
from evaluators.compiler.compile import compile_hooks, simulate
from evaluators.evaluator import Evaluator
from evaluators.outcome import Anticipative, Crashed, NonDeterministic, Ok, Outcome, TimedOut
from problems.problem import Problem

CLAIRVOYANT = "def priority(job, machine):\n    return job.peek\n"
HONEST = [rule.source for rule in online_machine.PROBLEM.rules]


def verdicts(problem: Problem, sources: list[str]) -> list[Outcome]:
    """Evaluate each program and audit it, with one evaluator; nothing is left running."""

    async def run() -> list[Outcome]:
        found: list[Outcome] = []
        async with Evaluator(problem, workers=1) as evaluator:
            auditor = Auditor(evaluator)
            try:
                for source in sources:
                    outcome = await evaluator.evaluate(source, "train")
                    assert isinstance(outcome, Ok), outcome
                    found.append(await auditor.audit(source, "train", outcome))
            finally:
                await auditor.close()
        return found

    return asyncio.run(run())


@needs_sandbox
def test_a_program_that_reads_true_sizes_is_anticipative_and_the_others_are_ok():
    *honest, clairvoyant = verdicts(leaky_machine.PROBLEM, [*HONEST, CLAIRVOYANT])
    assert all(isinstance(outcome, Ok) for outcome in honest)
    assert isinstance(clairvoyant, Anticipative)
    assert clairvoyant.stage == "audit"
    assert "sizes of jobs that have not completed" in clairvoyant.reason


@needs_sandbox
def test_the_same_program_is_ok_where_nothing_leaks():
    assert all(isinstance(outcome, Ok) for outcome in verdicts(online_machine.PROBLEM, [*HONEST, CLAIRVOYANT]))


@needs_sandbox
def test_a_problem_without_hidden_information_needs_no_second_zygote():
    async def run() -> int:
        async with Evaluator(OFFLINE, workers=1) as evaluator:
            auditor = Auditor(evaluator)
            source = OFFLINE.rules[0].source
            outcome = await evaluator.evaluate(source, "train")
            assert isinstance(outcome, Ok)
            assert await auditor.audit(source, "train", outcome) is outcome
            found = auditor._resimulator
            await auditor.close()
        return found

    assert asyncio.run(run()) is None


def first(problem: Problem, source: str, data: Any) -> Any:
    return simulate(problem, "forward", data, compile_hooks(source, problem))


@pytest.mark.parametrize("source", HONEST)
@pytest.mark.parametrize("seed", range(20))
def test_non_anticipative_rules_decide_alike_up_to_the_cut(source, seed):
    problem, data = online_machine.PROBLEM, online_machine.draw(seed, 0.0).data
    assert problem.hidden is not None
    solution = first(problem, source, data)
    future = problem.hidden.permute(data, solution, np.random.default_rng(seed))
    assert compare(problem, problem.hidden, future, solution, first(problem, source, future.data)) is None


def anticipations(problem: Problem, leaks: float) -> list[Any]:
    """What the audit says of a rule that reads every field, on 20 instances."""
    program, found = compile_hooks(nosy(problem), problem), []
    assert problem.hidden is not None
    for seed in range(20):
        data = online_machine.draw(seed, leaks).data
        solution = simulate(problem, "forward", data, program)
        future = problem.hidden.permute(data, solution, np.random.default_rng(seed))
        found.append(
            compare(problem, problem.hidden, future, solution, simulate(problem, "forward", future.data, program))
        )
    return found


def test_one_rule_that_reads_every_field_finds_a_leak_and_nothing_else():
    assert anticipations(online_machine.PROBLEM, 0.0) == [None] * 20
    assert any(isinstance(found, Anticipative) for found in anticipations(leaky_machine.PROBLEM, 1.0))


class Fickle:
    """An evaluator whose second answer is another one."""

    def __init__(self, again: Outcome) -> None:
        self.problem = OFFLINE
        self.again = again

    async def evaluate(self, source: str, split: str) -> Outcome:
        return self.again


OK = Ok(
    {"gap": 1.0, "cost": 2.0, "decision_ns": 3.0}, {}, {"gap": [1.0], "cost": [2.0], "decision_ns": [3.0]}, {}, "ab"
)
SECOND = {
    "value": dataclasses.replace(OK, values={**OK.values, "cost": [2.5]}),
    "fingerprint": dataclasses.replace(OK, fingerprint="cd"),
    "crash": Crashed("run", "index out of bounds"),
}


@pytest.mark.parametrize("what", SECOND)
def test_another_answer_the_second_time_is_non_deterministic(what):
    outcome = asyncio.run(Auditor(Fickle(SECOND[what])).audit("", "train", OK))
    assert isinstance(outcome, NonDeterministic)
    assert outcome.stage == "audit"
    assert outcome.reason


def test_another_decision_time_is_not():
    slower = dataclasses.replace(OK, values={**OK.values, "decision_ns": [30.0]}, objectives={"decision_ns": 30.0})
    assert asyncio.run(Auditor(Fickle(slower)).audit("", "train", OK)) is OK


def test_a_limit_that_the_second_run_exceeds_is_named_as_such():
    late = TimedOut("run", "killed after 10 s of wall-clock time")
    assert asyncio.run(Auditor(Fickle(late)).audit("", "train", OK)) is late


def test_data_survive_the_way_to_the_worker():
    data = online_machine.draw(3, 1.0).data
    again = audit._decode(data, iter(audit._encode(data)))
    assert type(again) is type(data)
    assert again.leaks == data.leaks
    for a, b in zip(data[:3], again[:3], strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype
        assert not b.flags.writeable
