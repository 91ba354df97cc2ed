"""Strategies that tune: how often, and whose constants."""

import dataclasses

import numpy as np
import pytest
from stories import GENETIC, ok, story, told, view

from evolve.strategies import registry

tuning = pytest.mark.parametrize("name", [name for name in registry.names() if registry.load(name).tunes])


def asks(strategy, tuning, count):
    offered = dataclasses.replace(view((*GENETIC, "expand", "tune")), tuning=tuning)
    return [strategy.ask(offered, np.random.default_rng(seed)) for seed in range(count)]


@tuning
def test_tunings_take_their_share_of_evaluations(name):
    tuned = sum(proposal.operator in ("tune", "expand") for proposal in asks(told(name, story()), 4, 600))
    assert 80 <= tuned <= 120 + 40  # a sixth: each costs five evaluations, any other one


@tuning
def test_nothing_is_tuned_where_there_is_no_tuning(name):
    assert {proposal.operator for proposal in asks(told(name, story()), 0, 200)} == set(GENETIC)


@tuning
def test_a_program_is_tuned_once_and_only_if_it_has_constants(name):
    written = "def f(x):\n    return 0.5 * x\n"
    candidates = [ok(0, 1.0), ok(1, 2.0, source=written), ok(2, 3.0, source=written)]
    strategy = told(name, [*candidates, ok(3, 1.5, source=written, parents=(1,), operator="tune")])
    assert {p.parents[0].program.id for p in asks(strategy, 1, 300) if p.operator == "tune"} == {2}
