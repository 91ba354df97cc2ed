"""The ledger of ideas: what came of each, bounded, the same for the same beginning."""

import math

from hypothesis import given
from hypothesis import strategies as st

from evaluators.outcome import CompileError, Dropped, Ok
from evolve.ledger import Ledger
from evolve.program import Candidate, Program
from problems.problem import Objective

GAP = Objective("gap", "gap", "%", "gap", of="makespan", resolution=0.05)
PROFIT = Objective("gap", "profit", "$", "mean", of="profit", direction="max", resolution=0.01, relative=True)
PARENT = Candidate(Program(0, "x = 1", "baseline"), Ok({"gap": 10.0}, {}, {}, {}))


def child(thought, outcome):
    outcome = Ok({"gap": outcome}, {}, {}, {}) if isinstance(outcome, float) else outcome
    return Candidate(Program(1, "x = 2", "llm", "diff", (0,), thought), outcome)


def ledger(*children, objective=GAP):
    found = Ledger(objective)
    for position, candidate in enumerate(children):
        found.add(position, candidate, PARENT)
    return found


def test_each_idea_has_its_result_relative_to_its_parent_the_best_first():
    found = ledger(
        child("Wait.", 12.5),
        child("Sort.", 9.0),
        child("Sort by load.", 8.5),
        child("Twice.", 10.01),
        child("Loop.", CompileError("compile", "no float")),
        child("Guess.", Dropped("race", "worse", 3, 20.0, [])),
    )
    assert found.tried(6) == (
        "Sort by load. Result: better by 1.5 points.",
        "Sort. Result: better by 1 points.",
        "Wait. Result: worse by 2.5 points.",
        "Guess. Result: clearly worse, dropped before all instances were run.",
        "Twice. Result: no difference.",
        "Loop. Result: compile error: no float.",
    )
    assert found.insights(6) == found.tried(6)[:3]


def test_better_follows_the_direction_and_a_relative_resolution():
    lines = ledger(child("More.", 10.05), child("Less.", 5.0), child("Even more.", 12.0), objective=PROFIT).tried(3)
    assert lines == (
        "Even more. Result: better by 2 $.",
        "Less. Result: worse by 5 $.",
        "More. Result: no difference.",
    )


def test_only_what_was_told_before_counts():
    found = ledger(child("First.", 9.0), child("Second.", 8.0))
    assert [len(found.tried(told)) for told in range(4)] == [0, 1, 2, 2]
    assert found.tried(1) == ("First. Result: better by 1 points.",)


def test_an_idea_that_comes_again_is_told_once_with_its_best_result():
    found = ledger(child("Look at `the` load!", 9.0), child("look at the load", 8.0), child("Look at the load.", 11.0))
    assert found.tried(3) == ("look at the load. Result: better by 2 points.",)


def test_children_without_a_thought_or_a_parent_that_is_ok_say_nothing():
    found = Ledger(GAP)
    found.add(0, child("", 9.0), PARENT)
    found.add(1, child("Why?", 9.0), None)
    found.add(2, child("Why?", 9.0), child("", CompileError("compile", "x")))
    assert found.tried(9) == ()


@given(st.lists(st.tuples(st.text(max_size=600), st.floats(0, 1e6) | st.just(math.nan)), max_size=60))
def test_a_ledger_is_bounded_whatever_models_say(said):
    found = ledger(*(child(thought, value) for thought, value in said))
    for lines, most in ((found.tried(60), 16), (found.insights(60), 5)):
        assert len(lines) <= most
        assert all(len(line) <= 300 and "\n" not in line and "`" not in line for line in lines)
