"""Ranks and probabilities of improvement, with their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.bench.comparison import improvement, mean_ranks

values = st.lists(st.integers(0, 5).map(float), min_size=3, max_size=3)


def losses(**rows):
    return {name: {"p": np.array(row, dtype=float)} for name, row in rows.items()}


def test_ranks_and_probabilities_by_hand():
    found = losses(a=[1, 1, 1], b=[2, 2, 0], c=[3, 1, 3])
    # seed by seed: a 1, b 2, c 3; a and c 1.5, b 3; b 1, a 2, c 3
    assert mean_ranks(found)["a"].value == pytest.approx(1.5)
    assert mean_ranks(found)["b"].value == pytest.approx(2.0)
    assert mean_ranks(found)["c"].value == pytest.approx(2.5)
    assert improvement(found, "a", "b").value == pytest.approx(6 / 9)


def test_a_strategy_that_always_wins_has_a_certain_interval():
    estimate = improvement(losses(a=[1, 2, 3], b=[4, 5, 6]), "a", "b")
    assert estimate == (1.0, 1.0, 1.0)


def test_equal_strategies_are_not_told_apart():
    rng = np.random.default_rng(3)
    estimate = improvement(losses(a=rng.normal(size=20), b=rng.normal(size=20)), "a", "b")
    assert estimate.low < 0.5 < estimate.high


@given(values, values)
def test_probabilities_of_either_order_sum_to_one(a, b):
    found = losses(a=a, b=b)
    assert improvement(found, "a", "b").value + improvement(found, "b", "a").value == pytest.approx(1.0)


@given(st.lists(values, min_size=2, max_size=5))
def test_mean_ranks_sum_to_what_they_must(rows):
    found = losses(**{f"s{k}": row for k, row in enumerate(rows)})
    n = len(rows)
    assert sum(rank.value for rank in mean_ranks(found).values()) == pytest.approx(n * (n + 1) / 2)


def test_problems_count_equally_whatever_their_unit():
    found = {
        "a": {"small": np.array([1.0, 1.0]), "large": np.array([2e6, 2e6])},
        "b": {"small": np.array([2.0, 2.0]), "large": np.array([1e6, 1e6])},
    }
    assert improvement(found, "a", "b").value == 0.5
