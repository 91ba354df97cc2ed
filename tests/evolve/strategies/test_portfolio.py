"""The portfolio: champions by group, credit, nursery."""

from collections import Counter

import numpy as np
from stories import LLM, asked, ok, problem, story, view

from evaluators.outcome import Ok
from evolve.program import Candidate, Program
from evolve.strategies.portfolio import Portfolio, PortfolioConfig
from evolve.strategies.strategy import Offer, View


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


CHEAP, DEAR, RESERVE = "cheap", "dear", "reserve"


def offered(operators=LLM, strong="", **models):
    return View(problem(), operators, (), (), 0, models, strong)


def by(model, number, cost, parents=(0,), operator="rewrite"):
    return Candidate(
        Program(number, f"x = {number}", "llm", operator, tuple(parents), model=model), ok(number, cost).outcome
    )


def models_asked(strategy, look, times=200):
    return Counter(strategy.ask(look, np.random.default_rng(seed)).model for seed in range(times))


def test_of_equally_good_models_the_cheaper_is_asked():
    asked_for = models_asked(told([ok(0, 1.0)]), offered(cheap=Offer(1.0), dear=Offer(10.0)))
    assert asked_for[CHEAP] > 150
    assert asked_for[DEAR] > 2  # a share is drawn evenly


def test_a_dear_model_is_asked_where_it_wins_more_places_per_dollar():
    children = [by((CHEAP, DEAR)[k % 2], k, 0.9 - k / 1000 if k % 2 else 90.0 + k) for k in range(3, 203)]
    look = offered(("rewrite",), cheap=Offer(1.0), dear=Offer(10.0))
    asked_for = models_asked(told([ok(0, 1.0), *children], population=20), look)
    assert asked_for[DEAR] > 140


def test_a_users_weights_scale_how_often_models_are_asked_and_a_reserve_never_is():
    strategy = told([ok(0, 1.0)])
    look = offered(cheap=Offer(1.0, 1.0), dear=Offer(1.0, 4.0), reserve=Offer(1.0, 0.0))
    asked_for = models_asked(strategy, look)
    assert asked_for[DEAR] > 2 * asked_for[CHEAP] > 0
    assert asked_for[RESERVE] == 0


def test_without_a_choice_no_model_is_named():
    assert set(models_asked(told([ok(0, 1.0)]), offered(cheap=Offer()))) == {""}


def test_a_plateau_begins_with_redesigns_by_the_strong_model_which_sees_the_champion():
    strategy = told([ok(0, 5.0), by(CHEAP, 1, 1.0)], patience_asked=3, redesigns=2)
    look = offered(("diff", "redesign"), RESERVE, cheap=Offer(1.0), reserve=Offer(9.0, 0.0))
    for number in range(2, 5):
        assert RESERVE not in models_asked(strategy, look)
        strategy.tell(by(CHEAP, number, 9.0, (1,)))
    for number in range(5, 7):
        proposals = [strategy.ask(look, np.random.default_rng(seed)) for seed in range(20)]
        assert {(p.operator, p.model, p.parents[0].program.id) for p in proposals} == {("redesign", RESERVE, 0)}
        assert all(p.inspirations[0].program.id == 1 for p in proposals)
        strategy.tell(by(RESERVE, number, 8.0, (0,), "redesign"))
    assert RESERVE not in models_asked(strategy, look)
    assert strategy.state()["nursery"][:2] == [0, 5]


def test_pairs_earn_several_times_what_drawing_evenly_does_for_the_same_dollars():
    # 3 models of 1, 4 and 20 dollars a call, 7 operators; a child wins with a probability of its pair's own
    operators = ("rewrite", "diff", "m1", "m2", "m3", "reflect", "simplify")
    usd = {"a": 1.0, "b": 4.0, "c": 20.0}

    def wins(seed, evenly):
        rng = np.random.default_rng(seed)
        chance = {(o, m): rng.uniform(0.03, 0.25) * (0.6, 0.8, 1.0)[k] for o in operators for k, m in enumerate(usd)}
        strategy = told([ok(0, 1e9)], population=10**6, patience_asked=10**6, floor=1.0 if evenly else 0.1)
        look = View(problem(), operators, (), (), 0, {m: Offer(cost) for m, cost in usd.items()})
        spent, won, number = 0.0, 0, 1
        while spent < 400.0:
            proposal = strategy.ask(look, rng)
            spent += usd[proposal.model]
            success = rng.random() < chance[proposal.operator, proposal.model]
            # without a finite objective there is no place to win
            child = by(proposal.model, number, 1e9 - number if success else float("nan"), (0,), proposal.operator)
            strategy.tell(child)
            won, number = won + success, number + 1
        return won

    bandit, even = (np.mean([wins(seed, evenly) for seed in range(10)]) for evenly in (False, True))
    assert bandit > 2.5 * even
