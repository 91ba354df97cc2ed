"""Champions by instance."""

import numpy as np
from stories import EOH, asked, story, told, view

from evaluators.outcome import Ok
from evolve.program import Candidate, Program


def vector(number, *values):
    return Candidate(
        Program(number, "x = 1", "import"), Ok({"cost": float(np.mean(values))}, {}, {"cost": list(values)}, {})
    )


def test_a_program_that_is_best_on_one_instance_may_be_a_parent():
    strategy = told("reflective_pareto", [vector(0, 1.0, 1.0, 9.0), vector(1, 5.0, 5.0, 0.0), vector(2, 6.0, 6.0, 8.0)])
    assert strategy.state()["champions"] == [0, 0, 1]
    assert {parents[0] for _, parents, _ in asked(strategy)} == {0, 1}


def test_parents_are_drawn_by_the_instances_they_win():
    strategy = told("reflective_pareto", [vector(0, *[1.0] * 9, 9.0), vector(1, *[5.0] * 9, 0.0)])
    drawn = [parents[0] for _, parents, _ in asked(strategy)]
    assert drawn.count(0) > 3 * drawn.count(1) > 0


def test_a_balanced_program_on_the_front_is_selectable_though_it_wins_nowhere():
    strategy = told("reflective_pareto", story())
    outsider = vector(999, 9.0, 9.0, 9.0, 9.0)
    drawn = [strategy.ask(view(front=[outsider]), np.random.default_rng(seed)) for seed in range(100)]
    assert any(proposal.parents[0] is outsider for proposal in drawn)


def test_it_reflects_where_the_proposer_can():
    operators = [operator for operator, _, _ in asked(told("reflective_pareto", story()), EOH)]
    assert operators.count("reflect") > 25
