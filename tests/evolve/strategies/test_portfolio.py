"""The portfolio: champions by group, credit, nursery."""

from collections import Counter

import numpy as np
from stories import LLM, asked, ok, problem, story, view

from evaluators.outcome import Ok
from evolve.program import Candidate, Program
from evolve.strategies.portfolio import Portfolio, PortfolioConfig


def told(candidates, **settings):
    strategy = Portfolio(problem(), PortfolioConfig(**settings))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy


def specialist(number, cost, small, large):
    groups = {"small": {"cost": small}, "large": {"cost": large}}
    return Candidate(Program(number, f"x = {number}", "import"), Ok({"cost": cost}, groups, {}, {}))


def test_the_champion_of_a_group_is_a_parent_though_it_ranks_low():
    candidates = [specialist(k, 1.0 + k, 1.0 + k, 1.0 + k) for k in range(20)] + [specialist(20, 50.0, 0.0, 99.0)]
    drawn = Counter(parents[0] for _, parents, _ in asked(told(candidates, niche=0.5, tournament=8), LLM))
    assert drawn[20] > 5


def test_an_operator_whose_children_fail_is_asked_less():
    starts = [ok(k, 1.0 + k) for k in range(3)]
    children = [ok(k, 0.9 - k / 1000 if k % 2 else 90.0 + k, parents=(0,), operator="mutate" if k % 2 else "crossover")
                for k in range(3, 203)]  # fmt: skip
    operators = Counter(operator for operator, _, _ in asked(told([*starts, *children], population=30)))
    assert operators["mutate"] > 40


def test_a_plateau_founds_a_nursery_whose_children_compete_among_themselves():
    strategy = told([ok(0, 5.0), ok(1, 4.0), ok(2, 1.0, parents=(0,))], population=2, patience=3, childhood=5)
    for number in range(3, 6):
        strategy.tell(ok(number, 9.0, parents=(2,)))
    assert strategy.state()["nursery"] == [1, 0]
    strategy.tell(ok(6, 3.0, parents=(0,)))
    assert strategy.state()["nursery"] == [6, 1]
    assert strategy.state()["population"] == [2, 1]


def test_a_nursery_ends_when_it_has_caught_up_or_its_time_is_over():
    def nursery(*costs):
        strategy = told([ok(0, 5.0), ok(1, 1.0, parents=(0,))], population=3, patience=1, childhood=3)
        strategy.tell(ok(2, 9.0, parents=(1,)))
        for number, cost in enumerate(costs, start=3):
            strategy.tell(ok(number, cost, parents=(0,)))
        return strategy.state()

    assert nursery(4.0, 3.0)["nursery"] == [4, 3, 0]
    assert nursery(4.0, 0.5)["population"] == [4, 1, 3]
    assert nursery(4.0, 0.5)["nursery"] is None
    assert nursery(4.0, 3.0, 2.0)["population"] == [1, 5, 4]


def test_inspirations_are_champions_of_groups():
    candidates = [specialist(0, 1.0, 5.0, 5.0), specialist(1, 2.0, 0.0, 9.0), specialist(2, 3.0, 9.0, 0.0)]
    proposals = [told(candidates).ask(view(LLM), np.random.default_rng(seed)) for seed in range(30)]
    assert all(c.program.id != p.parents[0].program.id for p in proposals for c in p.inspirations)
    assert {c.program.id for p in proposals for c in p.inspirations} == {0, 1, 2}


def test_long_runs_of_failures_do_not_stop_it():
    strategy = told(story(), patience=5, childhood=7)
    assert asked(strategy)
