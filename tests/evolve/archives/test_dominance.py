"""Fronts and crowding against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evolve.archives.dominance import crowding, fronts

# few different values, so that ties and equal points are common
some = st.tuples(st.integers(1, 25), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def peeled(points):
    """The definition: take away what nothing left dominates, and again."""
    found, left, rank = {}, set(range(len(points))), 0
    while left:
        free = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        found |= dict.fromkeys(free, rank)
        left, rank = left - free, rank + 1
    return [found[i] for i in range(len(points))]


@given(some)
def test_fronts_are_peeled_one_by_one(points):
    assert fronts(points).tolist() == peeled(points.tolist())


@given(some, st.randoms())
def test_fronts_do_not_depend_on_the_order(points, random):
    order = random.sample(range(len(points)), len(points))
    assert fronts(points[order]).tolist() == fronts(points)[order].tolist()


def test_equal_points_share_a_front():
    assert fronts(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [0, 0, 1]


def test_crowding_of_a_line_by_hand():
    # Second of four: (3 - 0) / 10 on both objectives; third: (10 - 1) / 10 on both.
    points = np.array([[0.0, 10.0], [1.0, 9.0], [3.0, 7.0], [10.0, 0.0]])
    assert crowding(points).tolist() == pytest.approx([math.inf, 0.6, 1.8, math.inf])


def test_an_objective_without_spread_adds_nothing():
    points = np.array([[0.0, 5.0], [1.0, 5.0], [4.0, 5.0]])
    assert crowding(points).tolist() == pytest.approx([math.inf, 1.0, math.inf])
    assert crowding(np.ones((3, 2))).tolist() == [0.0, 0.0, 0.0]


@given(some, st.floats(0.5, 4.0))
def test_crowding_does_not_depend_on_units_and_origin(points, scale):
    assert crowding(points * scale + 3.0) == pytest.approx(crowding(points))
