"""Objectives from verified solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM, Sequence, make_instance, solve_exactly

from evaluators.outcome import Infeasible, Ok
from evaluators.scoring import BoundBeaten, aggregate, score
from problems.problem import Instance, Objective, Reference

INSTANCES = [make_instance("a", [1, 3], [1, 1]), make_instance("b", [2], [5]), make_instance("c", [4, 2], [1, 1])]


def instances(references: list[float]) -> list[Instance]:
    return [Instance(str(i), "all", None, {"cost": Reference(r, "best known")}) for i, r in enumerate(references)]


def test_mean_gap_of_two_instances_leaves_out_the_one_whose_reference_is_zero():
    gap = Objective("gap", "", "%", "gap", of="cost")
    value, values = aggregate(gap, instances([10, 0, 20]), [11, 5, 26], [1, 1, 1])
    assert value == pytest.approx(20.0)  # (10 + 30) / 2
    assert values[0] == pytest.approx(10.0)
    assert math.isnan(values[1])


def test_ratio_of_sums_of_three_instances():
    ratio = Objective("ratio", "", "%", "ratio_of_sums", of="cost")
    value, _ = aggregate(ratio, instances([10, 0, 20]), [11, 5, 26], [1, 1, 1])
    assert value == pytest.approx(100 * (42 / 30 - 1))


def test_decision_time_is_per_decision():
    time = Objective("t", "", "ns", "decision_time")
    assert aggregate(time, instances([1, 1]), [100, 300], [10, 100]) == (6.5, [10.0, 3.0])


def test_a_group_without_a_usable_reference_has_no_gap():
    value, values = aggregate(Objective("gap", "", "%", "gap", of="cost"), instances([0]), [1], [1])
    assert math.isnan(value)
    assert math.isnan(values[0])


@settings(deadline=None)
@given(
    st.sampled_from(["mean", "gap", "ratio_of_sums", "decision_time"]),
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6), st.integers(1, 1000)), min_size=1, max_size=20),
)
def test_an_objective_is_the_mean_of_its_values(kind, rows):
    references, raw, decisions = zip(*rows, strict=True)
    value, values = aggregate(Objective("o", "", "", kind, of="cost"), instances(references), raw, decisions)
    assert value == pytest.approx(np.mean(values), rel=1e-12, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=20))
def test_the_mean_of_shares_is_the_ratio_of_sums(rows):
    references, raw = zip(*rows, strict=True)
    ratio = Objective("o", "", "", "ratio_of_sums", of="cost")
    value, _ = aggregate(ratio, instances(references), raw, [1] * len(rows))
    assert value == pytest.approx(100 * (sum(raw) / sum(references) - 1), rel=1e-9, abs=1e-6)


def test_groups_are_scored_by_themselves():
    outcome = score(PROBLEM, INSTANCES, [solve_exactly(i.data) for i in INSTANCES], [10.0, 20.0, 30.0])
    assert isinstance(outcome, Ok)
    assert outcome.groups["n=2"]["cost"] == (1 + 4 + 2 + 6) / 2
    assert outcome.groups["n=1"]["cost"] == 10
    assert outcome.objectives["gap"] == 0.0
    assert outcome.objectives["decision_ns"] == pytest.approx((5 + 20 + 15) / 3)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ([1.0, 3.5], "instance a: two jobs overlap"),
        ([0.5, 4.0], "instance a: a job starts before time 0"),
        ([math.nan, 4.0], "instance a: a job starts before time 0, or never"),
        ([1.0], "instance a: completion must have shape"),
    ],
)
def test_a_solution_that_breaks_a_rule_is_infeasible(completion, reason):
    outcome = score(PROBLEM, INSTANCES[:1], [Sequence(np.array(completion))], [1.0])
    assert isinstance(outcome, Infeasible)
    assert outcome.reason.startswith(reason)


def test_a_measure_that_is_not_finite_is_infeasible(monkeypatch):
    import dataclasses

    broken = dataclasses.replace(PROBLEM, measure=lambda data, solution: {"cost": math.nan})
    outcome = score(broken, INSTANCES[:1], [solve_exactly(INSTANCES[0].data)], [1.0])
    assert outcome == Infeasible("verify", "instance a: cost is nan")


@pytest.mark.parametrize(("kind", "raises"), [("optimum", True), ("lower bound", True), ("best known", False)])
def test_only_a_proved_reference_cannot_be_beaten(kind, raises):
    solved = INSTANCES[0]
    claimed = Instance(
        solved.name, solved.group, solved.data, {"cost": Reference(solved.references["cost"].value + 1, kind)}
    )
    solutions = [solve_exactly(solved.data)]
    if raises:
        with pytest.raises(BoundBeaten, match=rf"instance a: cost 5.0 beats the {kind} 6.0"):
            score(PROBLEM, [claimed], solutions, [1.0])
    else:
        assert score(PROBLEM, [claimed], solutions, [1.0]).objectives["gap"] < 0
