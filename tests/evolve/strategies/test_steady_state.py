"""Steady-state evolution: who gets in, who stays, who becomes a parent."""

import numpy as np
from stories import GENETIC, LLM, asked, ok, problem, story, told, view

from evolve.strategies.steady_state import SteadyState, SteadyStateConfig


def small(candidates, **settings):
    strategy = SteadyState(problem(), SteadyStateConfig(**settings))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy


def population(strategy):
    return strategy.state()["population"]


def test_a_full_population_loses_its_worst_member():
    strategy = small([ok(0, 3.0), ok(1, 1.0), ok(2, 2.0), ok(3, 2.5), ok(4, 9.0)], population=3)
    assert population(strategy) == [1, 2, 3]


def test_the_best_program_is_never_lost():
    candidates = story()
    best = min((c for c in candidates if c.outcome.kind == "ok"), key=lambda c: c.objective("cost"))
    for size in (1, 2, 10):
        assert population(small(candidates, population=size))[0] == best.program.id


def test_ties_go_to_the_smaller_program_and_then_to_the_older_one():
    large, little = "x = 1 + 2 + 3", "x = 1"
    strategy = small([ok(0, 1.0, source=large), ok(1, 1.0, source=little), ok(2, 1.0, source=little)])
    assert population(strategy) == [1, 2, 0]


def test_layout_and_comments_are_not_size():
    strategy = small([ok(0, 1.0, source="x  =  1  # why"), ok(1, 1.0, source="x = 1")])
    assert population(strategy) == [0, 1]


def test_of_programs_that_decide_alike_only_the_best_ranked_stays():
    alike = [ok(0, 2.0, fingerprint="a"), ok(1, 3.0, fingerprint="a"), ok(2, 1.0, fingerprint="a")]
    assert population(small(alike)) == [2]
    assert population(small([*alike, ok(3, 5.0, fingerprint="b")])) == [2, 3]


def test_a_behaviour_may_return_after_its_program_was_displaced():
    strategy = small(
        [ok(0, 5.0, fingerprint="a"), ok(1, 1.0, fingerprint="b"), ok(2, 0.5, fingerprint="a")], population=1
    )
    assert population(strategy) == [2]


def test_crossover_takes_its_share():
    operators = [operator for operator, _, _ in asked(told("steady_state", story()))]
    assert 5 <= operators.count("crossover") <= 25


def test_better_ranked_members_are_parents_more_often():
    strategy = small(story(), tournament=3, front=0.0)
    rank = {number: k for k, number in enumerate(population(strategy))}
    chosen = [rank[parents[0]] for _, parents, _ in asked(strategy)]
    assert np.mean(chosen) < 0.7 * np.mean(list(rank.values()))


def test_a_share_of_parents_comes_from_the_front():
    outsider = ok(99, 50.0)
    strategy = small(story(), front=0.5)
    proposals = [strategy.ask(view(GENETIC, [outsider]), np.random.default_rng(seed)) for seed in range(200)]
    assert 60 <= sum(p.parents[0].program.id == 99 for p in proposals) <= 140


def test_rewriting_operators_get_the_best_and_others_as_inspirations():
    strategy = small(story(), inspirations=3)
    best, runner_up = population(strategy)[:2]
    for _, parents, inspirations in asked(strategy, LLM):
        assert len(set(inspirations)) == 3
        assert not set(parents) & set(inspirations)
        assert inspirations[0] == (runner_up if parents == [best] else best)


def test_a_single_program_is_mutated_and_has_no_company():
    strategy = small([ok(0, 1.0)])
    assert {tuple(parents) for operator, parents, _ in asked(strategy) if operator == "mutate"} == {(0,)}
    assert {operator for operator, _, _ in asked(strategy)} == {"mutate"}
    assert all(not inspirations for _, _, inspirations in asked(strategy, LLM))
