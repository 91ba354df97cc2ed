"""Optimisers on functions whose minimum is known."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluators.admission.parameters import Parameter
from evaluators.optimisers import OPTIMISERS, Space


def least(name, function, start, tries, seed=0):
    search = OPTIMISERS[name](np.array(start), np.random.default_rng(seed))
    points, seen = next(search), []
    while len(seen) < tries:
        assert (points >= 0).all()
        assert (points <= 1).all()
        losses = [function(point) for point in points]
        seen += losses
        points = search.send(np.array(losses))
    return min(seen[:tries])


def bowl(point):
    return float(((point - np.array([0.2, 0.7, 0.4])) ** 2).sum())


@pytest.mark.parametrize(("name", "error"), [("cmaes", 1e-6), ("nelder-mead", 1e-4), ("random", 0.05)])
def test_a_bowl_is_minimised(name, error):
    assert least(name, bowl, [0.95, 0.05, 0.5], 600) < error


@pytest.mark.parametrize("name", OPTIMISERS)
def test_failing_values_are_avoided_and_not_fatal(name):
    assert least(name, lambda p: math.inf if p[0] > 0.5 else bowl(p), [0.9, 0.5, 0.5], 600) < 0.06


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_constant_loss_ends_no_search(name):
    assert least(name, lambda p: 1.0, [0.5, 0.5, 0.5], 2000) == 1.0


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_same_seed_gives_the_same_search(name):
    assert least(name, bowl, [0.9, 0.1, 0.5], 100, seed=3) == least(name, bowl, [0.9, 0.1, 0.5], 100, seed=3)


positive = st.floats(1e-6, 1e6)


@example(1.0000000000000002e-06, 1e-06, True, 0.0)
@given(positive, positive, st.booleans(), st.floats(0, 1))
def test_every_point_has_values_within_bounds(a, b, log, x):
    if a == b:
        return
    space = Space([Parameter("a", a, min(a, b), max(a, b), log)])
    (value,) = space.values(np.array([x]))
    assert min(a, b) <= value <= max(a, b)
    assert space.values(space.point([value]))[0] == pytest.approx(value, rel=1e-9, abs=1e-9 * max(a, b))


def test_the_middle_of_a_logarithmic_scale_is_the_geometric_mean():
    space = Space([Parameter("a", 1.0, 0.01, 100.0, True), Parameter("b", 0.0, -4.0, 4.0)])
    np.testing.assert_allclose(space.values(np.array([0.5, 0.5])), [1.0, 0.0], atol=1e-12)
