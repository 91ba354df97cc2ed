"""The archive's hash: the same on every machine, another for every difference that counts."""

import dataclasses

import pytest

from evaluators.outcome import Infeasible, Ok
from evolve.archives.digest import archive_hash, link
from evolve.program import Candidate, Program
from problems import registry

OBJECTIVES = registry.load("shop/job_shop").objectives
OK = Ok({"gap": 14.0, "decision_time": 500.0}, {}, {}, {})
ONE = Candidate(Program(3, "x = 1", "llm"), OK)


def test_a_decision_time_does_not_count():
    slower = Candidate(ONE.program, dataclasses.replace(OK, objectives={"gap": 14.0, "decision_time": 900.0}))
    assert link("", ONE, OBJECTIVES) == link("", slower, OBJECTIVES)


@pytest.mark.parametrize(
    "other",
    [
        Candidate(Program(4, "x = 1", "llm"), OK),
        Candidate(Program(3, "x = 2", "llm"), OK),
        Candidate(ONE.program, Infeasible("verify", "late")),
        Candidate(ONE.program, dataclasses.replace(OK, objectives={"gap": 14.000000000000002, "decision_time": 500.0})),
    ],
    ids=["number", "source", "kind", "last digit"],
)
def test_number_source_kind_and_the_last_digit_count(other):
    assert link("", ONE, OBJECTIVES) != link("", other, OBJECTIVES)


def test_order_and_front_count():
    two = Candidate(Program(4, "x = 2", "llm"), OK)
    forth = link(link("", ONE, OBJECTIVES), two, OBJECTIVES)
    back = link(link("", two, OBJECTIVES), ONE, OBJECTIVES)
    assert forth != back
    assert archive_hash(forth, [3]) != archive_hash(forth, [3, 4])
    assert archive_hash(forth, [4, 3]) == archive_hash(forth, [3, 4])
