"""NSGA-II: who stays under several objectives."""

from stories import ok, problem

from evaluators.outcome import Ok
from evolve.program import Candidate, Program
from evolve.strategies.nsga2 import Nsga2, Nsga2Config


def point(number, *values):
    names = ("cost", "cost2")
    outcome = Ok(dict(zip(names, values, strict=True)), {}, {}, {})
    return Candidate(Program(number, "x = 1", "import"), outcome)


def population(candidates, size):
    strategy = Nsga2(problem(objectives=2), Nsga2Config(population=size))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy.state()["population"]


def test_a_dominated_program_leaves_first():
    assert set(population([point(0, 0.0, 1.0), point(1, 1.0, 0.0), point(2, 1.0, 1.0)], 2)) == {0, 1}


def test_a_balanced_program_between_the_extremes_stays():
    # F12: a pool of champions by objective would lose (0.9, 0.9) as a maximum, here (0.1, 0.1)
    assert 2 in population([point(0, 0.0, 1.0), point(1, 1.0, 0.0), point(2, 0.1, 0.1), point(3, 2.0, 2.0)], 3)


def test_of_one_front_the_most_crowded_leaves():
    front = [point(0, 0.0, 10.0), point(1, 10.0, 0.0), point(2, 5.0, 5.0), point(3, 5.1, 4.9), point(4, 2.0, 8.0)]
    # neighbours of 2 span 3.1 of 10 on each axis, those of 3 span 5
    assert 2 not in population(front, 4)


def test_the_best_program_is_never_lost():
    assert population([ok(0, 1.0, objectives=2), ok(1, 5.0, objectives=2)], 1) == [0]
