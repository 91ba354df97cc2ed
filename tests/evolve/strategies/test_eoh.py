"""EoH: operators in turn, no equal objectives."""

import numpy as np
from stories import EOH, GENETIC, asked, ok, told, view


def test_the_five_operators_take_turns():
    strategy = told("eoh", [ok(k, float(k)) for k in range(5)])
    turns = [strategy.ask(view(EOH, pending=k), np.random.default_rng(0)).operator for k in range(5)]
    assert turns == ["e1", "e2", "m1", "m2", "m3"]


def test_a_proposer_without_its_operators_combines_and_refines():
    strategy = told("eoh", [ok(k, float(k)) for k in range(5)])
    turns = [strategy.ask(view(GENETIC, pending=k), np.random.default_rng(0)).operator for k in range(5)]
    assert turns == ["crossover", "crossover", "mutate", "mutate", "mutate"]


def test_equal_objectives_are_duplicates():
    assert told("eoh", [ok(0, 1.0), ok(1, 1.0), ok(2, 0.5)]).state()["population"] == [2, 0]


def test_better_ranked_parents_are_drawn_more_often():
    strategy = told("eoh", [ok(k, float(k)) for k in range(20)])
    drawn = [parents[0] for _, parents, _ in asked(strategy)]
    assert np.mean(drawn) < 9.5
