"""What a replay takes from its record: measured times and limits, by the program that was told."""

import dataclasses

import pytest

from evaluators.outcome import Ok, Rejected, TimedOut
from evolve.config import RunConfig
from evolve.program import Candidate, Program
from evolve.record import Record
from evolve.store import Ask, Store
from problems import registry

OBJECTIVES = registry.load("shop/job_shop").objectives
THEN = Ok({"gap": 14.0, "decision_time": 500.0}, {"6x6": {"gap": 14.0, "decision_time": 500.0}}, {}, {}, "ab")
NOW = Ok({"gap": 14.0, "decision_time": 900.0}, {"6x6": {"gap": 14.0, "decision_time": 900.0}}, {}, {}, "ab")


@pytest.fixture
def record(tmp_path):
    """Programs 1 and 2 are equal but for a comment; 2 was evaluated, and 1 was told first."""
    told = {1: THEN, 2: Rejected("admit", "the same program as 1"), 3: TimedOut("run", "no end within 10 s")}
    with Store.create(RunConfig.make(problem="shop/job_shop", out=tmp_path / "run"), {}) as store, store.transaction():
        for number, outcome in told.items():
            store.add_program(Program(number, f"x = 1  # {number}", "llm"))
            store.add_ask(Ask(number, "diff", (), (), 0))
            store.add_outcome(number, "train", outcome)
            store.add_tell(number)
    return Record(tmp_path / "run")


def test_a_program_has_the_times_of_its_record_whichever_of_its_equals_is_evaluated(record):
    candidate = record.corrected(Candidate(Program(1, "x = 1  # 1", "llm"), NOW), OBJECTIVES)
    assert candidate.outcome == THEN


def test_what_is_no_measured_time_is_not_taken_from_the_record(record):
    other = dataclasses.replace(NOW, objectives={"gap": 13.0, "decision_time": 900.0})
    candidate = record.corrected(Candidate(Program(1, "x = 1  # 1", "llm"), other), OBJECTIVES)
    assert candidate.outcome.objectives == {"gap": 13.0, "decision_time": 500.0}


def test_a_program_that_ran_into_a_limit_does_so_again(record):
    candidate = record.corrected(Candidate(Program(3, "x = 1  # 3", "llm"), NOW), OBJECTIVES)
    assert candidate.outcome == TimedOut("run", "no end within 10 s")
