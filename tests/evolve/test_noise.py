"""The noise floor: the standard error of a paired difference between the two best rules."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from evaluators.outcome import Ok
from evolve.noise import in_words, noise_floor
from evolve.statistics import standard_error
from problems.problem import Instance, Objective, Reference

GAP = Objective("gap", "gap", "%", "gap", of="cost")
RATIO = Objective("ratio", "ratio", "%", "ratio_of_sums", of="cost")


def problem(objective=GAP):
    return SimpleNamespace(name="tiny/one", primary=objective, objectives=(objective,))


def instances(*references):
    return [Instance(f"i{k}", "", None, {"cost": Reference(r, "optimum")}) for k, r in enumerate(references)]


def outcome(*values, name="gap"):
    return Ok({name: float(np.nanmean(values))}, {}, {name: list(values)}, {"cost": list(values)})


def test_the_error_of_a_mean_by_hand():
    # differences 1, 2, 3: deviation 1 over 3 instances
    assert standard_error(problem(), GAP, outcome(2, 4, 6), outcome(1, 2, 3), instances(1, 1, 1)) == pytest.approx(
        1 / math.sqrt(3)
    )


def test_the_error_of_a_ratio_of_sums_by_hand():
    # differences 1 and 5 over references 1 and 3: ratio 150 %, residuals 100 (1 - 1.5) and 100 (5 - 4.5)
    a, b = outcome(2, 8, name="ratio"), outcome(1, 3, name="ratio")
    expected = math.sqrt(50**2 + 50**2) * math.sqrt(2) / 4
    assert standard_error(problem(RATIO), RATIO, a, b, instances(1, 3)) == pytest.approx(expected)


def test_it_says_how_far_differences_scatter_over_sets_of_instances():
    rng = np.random.default_rng(3)
    found, errors = [], []
    for _ in range(300):
        a, b = rng.normal(5.0, 2.0, 50), rng.normal(5.0, 1.0, 50)
        found.append(a.mean() - b.mean())
        errors.append(standard_error(problem(), GAP, outcome(*a), outcome(*b), instances(*[1] * 50)))
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.15)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_is_between_the_two_best_rules_that_decide_otherwise(sign):
    turned = problem(Objective("gap", "gap", "%", "gap", of="cost", direction="min" if sign > 0 else "max"))
    values = {"poor": (9, 2, 7), "best": (1, 2, 3), "twin": (1, 2, 3), "next": (2, 4, 6)}
    rules = {name: outcome(*(sign * x for x in row)) for name, row in values.items()}
    floor = noise_floor(turned, rules, instances(1, 1, 1))
    assert floor == {"rules": ["best", "next"], "error": pytest.approx(1 / math.sqrt(3)), "instances": 3}


def test_without_two_rules_that_differ_on_two_instances_there_is_none():
    assert noise_floor(problem(), {"best": outcome(1, 2)}, instances(1, 1)) is None
    assert noise_floor(problem(), {"best": outcome(1, 2), "twin": outcome(1, 2)}, instances(1, 1)) is None
    assert noise_floor(problem(), {"best": outcome(1, math.nan), "next": outcome(2, 3)}, instances(1, 1)) is None
    assert in_words(problem(), {}) == ""


def test_the_words_name_error_split_rules_and_instances():
    words = in_words(problem(), {"train": {"rules": ["best", "next"], "error": 0.2564, "instances": 336}})
    assert "a standard error of 0.26 points on train (best and next, 336 instances)" in words
