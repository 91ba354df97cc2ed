from __future__ import annotations

import ast
import math
from dataclasses import replace
from typing import Annotated, NamedTuple

import pytest

from problems.machine.total_tardiness import PROBLEM
from problems.problem import Baseline, Hook, Objective, Quantity, quantities


class Job(NamedTuple):
    duration: Annotated[float, "time", "processing time, > 0"]
    due: Annotated[float, "time", "due date"]


class Whole(NamedTuple):
    jobs: Annotated[int, "count", "number of jobs"]


class Bare(NamedTuple):
    duration: float


class Unexplained(NamedTuple):
    duration: Annotated[float, "time"]


def longest_first(job: Job, other: Job) -> float:
    """LPT."""
    return -job.duration


def logarithmic(
    job: Job,
    other: Job,
) -> float:
    return math.log(job.duration)


def test_quantities_are_name_unit_and_text():
    assert quantities(Job) == [
        Quantity("duration", "time", "processing time, > 0"),
        Quantity("due", "time", "due date"),
    ]


@pytest.mark.parametrize("argument", [Whole, Bare, Unexplained])
def test_a_field_without_type_unit_and_text_is_refused(argument):
    with pytest.raises(TypeError, match=rf"{argument.__name__}\.\w+ must be Annotated\[float, unit, doc\]"):
        quantities(argument)


def test_a_hook_prints_as_its_signature():
    assert (
        Hook("priority", {"job": Job, "machine": Job}, "Lowest first.").signature == "priority(job, machine) -> float"
    )


def test_a_rule_reads_as_a_program_with_the_name_of_its_hook():
    source = Baseline("lpt", "LPT", "", {"priority": longest_first}).source
    assert source == 'def priority(job, other):\n    """LPT."""\n    return -job.duration\n'


def test_a_rule_imports_math_only_if_it_uses_it():
    source = Baseline("log", "", "", {"priority": logarithmic}).source
    assert source == "import math\n\n\ndef priority(job, other):\n    return math.log(job.duration)\n"


def test_a_rule_of_two_hooks_is_one_program():
    source = Baseline("both", "", "", {"priority": longest_first, "delay": logarithmic}).source
    names = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    assert names == ["priority", "delay"]


def test_a_baseline_that_solves_is_no_rule():
    assert Baseline("lpt", "", "", {"priority": longest_first}).is_rule
    assert not Baseline("solver", "", "", solve=lambda data: None).is_rule


def test_loss_is_lower_for_the_better_value():
    smaller = Objective("gap", "Gap", "%", "gap", "makespan")
    larger = replace(smaller, direction="max")
    assert smaller.loss(1.0) < smaller.loss(2.0)
    assert larger.loss(2.0) < larger.loss(1.0)


def test_a_problem_finds_its_parts_by_name():
    assert PROBLEM.name == "machine/total_tardiness"
    assert PROBLEM.primary is PROBLEM.objectives[0]
    assert PROBLEM.default_decoder == "append"
    assert PROBLEM.baseline("mdd") in PROBLEM.rules
    assert PROBLEM.baseline("eddc") not in PROBLEM.rules
    assert PROBLEM.baseline("no such rule") is None
