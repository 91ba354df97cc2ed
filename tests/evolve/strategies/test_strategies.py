"""What every strategy owes: purity, replay, no failed parents, indifference to sign."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from stories import EOH, GENETIC, LLM, asked, failed, ok, problem, story, told, view

from evaluators.outcome import Dropped, Ok
from evolve.errors import UserError
from evolve.operators import OPERATORS
from evolve.strategies import registry
from evolve.strategies.strategy import Offer, Proposal, Strategy, Wait

every = pytest.mark.parametrize("name", registry.names())
either = pytest.mark.parametrize("operators", [GENETIC, LLM, EOH], ids=["genetic", "llm", "eoh"])


def test_strategies_are_found_by_file_name():
    assert {"greedy", "steady_state"} <= set(registry.names())
    assert issubclass(registry.load("greedy"), Strategy)


def test_an_unknown_strategy_is_named_with_the_closest():
    with pytest.raises(UserError, match="unknown strategy 'steadystate'; did you mean 'steady_state'"):
        registry.load("steadystate")


@every
@either
def test_ask_changes_nothing(name, operators):
    strategy = told(name, story())
    before = strategy.state()
    assert asked(strategy, operators) == asked(strategy, operators)
    assert strategy.state() == before


@every
@either
def test_told_the_same_it_proposes_the_same(name, operators):
    first, second = told(name, story()), told(name, story())
    assert first.state() == second.state()
    assert asked(first, operators) == asked(second, operators)


@every
def test_a_replayed_prefix_continues_identically(name):
    strategy = told(name, story()[:67])
    asked(strategy)
    for candidate in story()[67:]:
        strategy.tell(candidate)
    assert asked(strategy) == asked(told(name, story()))


@every
def test_the_state_is_json(name):
    state = told(name, story()).state()
    assert json.loads(json.dumps(state)) == state


@every
@either
def test_failed_and_non_finite_programs_are_never_parents(name, operators):
    # Dropped in a race with an estimate better than all: an estimate is no score.
    dropped = dataclasses.replace(ok(5, 1.0), outcome=Dropped("race", "worse", 5, 1.0, [1.0]))
    strategy = told(name, [failed(0), ok(1, 5.0), ok(2, float("nan")), ok(3, 6.0), failed(4), dropped])
    used = {number for _, parents, inspirations in asked(strategy, operators) for number in [*parents, *inspirations]}
    assert used <= {1, 3}


@every
def test_a_race_is_against_the_champion_the_parent_or_nobody(name):
    assert registry.load(name).opponent in ("champion", "parent", None)


@every
@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_turned_direction_and_negated_scores_give_the_same_proposals(name, objectives):
    turned = told(name, story(-1.0, objectives), "max", objectives)
    assert asked(told(name, story(1.0, objectives), "min", objectives)) == asked(turned)


@every
def test_each_objective_may_have_its_own_direction(name):
    # cost2 and cost4 turned, the others as they are
    turned = {"cost2", "cost4"}
    declared = [
        dataclasses.replace(o, direction="max") if o.name in turned else o for o in problem(objectives=5).objectives
    ]
    mixed = registry.load(name)(SimpleNamespace(primary=declared[0], objectives=tuple(declared)))
    for candidate in story(1.0, 5):
        outcome = candidate.outcome
        if isinstance(outcome, Ok):
            values = {o: -value if o in turned else value for o, value in outcome.objectives.items()}
            candidate = dataclasses.replace(candidate, outcome=dataclasses.replace(outcome, objectives=values))
        mixed.tell(candidate)
    assert asked(mixed) == asked(told(name, story(1.0, 5), "min", 5))


@every
@either
def test_what_a_race_estimated_of_a_dropped_program_changes_nothing(name, operators):
    def raced(estimate):
        dropped = Dropped("race", "worse", 3, estimate, [estimate] * 3)
        return [c if isinstance(c.outcome, Ok) else dataclasses.replace(c, outcome=dropped) for c in story()]

    assert asked(told(name, raced(-9.0)), operators) == asked(told(name, raced(9.0)), operators)
    assert asked(told(name, raced(0.0)), operators) == asked(told(name, story()), operators)


@every
@either
def test_operators_come_from_the_view_and_get_the_parents_they_need(name, operators):
    for operator, parents, _ in asked(told(name, story()), operators):
        assert operator in operators
        assert len(parents) == OPERATORS[operator].parents
        assert len(set(parents)) == len(parents)


@every
@either
def test_models_are_named_from_the_view_and_a_reserve_only_as_the_strong_one(name, operators):
    models = {"cheap": Offer(1.0), "dear": Offer(10.0, 0.5), "reserve": Offer(100.0, 0.0), "strong": Offer(50.0, 0.0)}
    look = dataclasses.replace(view(operators), models=models, strong="strong")
    strategy = told(
        name, [dataclasses.replace(c, program=dataclasses.replace(c.program, model="cheap")) for c in story()]
    )
    before = strategy.state()
    named = {strategy.ask(look, np.random.default_rng(seed)).model for seed in range(50)}
    assert named <= {"", "cheap", "dear", "strong"}
    assert strategy.state() == before
    assert json.loads(json.dumps(before)) == before


@every
def test_without_any_ok_program_it_says_so(name):
    with pytest.raises(LookupError, match="no program to start from"):
        told(name, [failed(0)]).ask(view(), np.random.default_rng(0))


@every
@either
def test_it_waits_for_attempts_under_way_at_most_and_never_while_there_are_none(name, operators):
    # at the start, where it knows of one program only, and after a whole story
    for strategy in (told(name, story()[:1]), told(name, story())):
        for seed in range(20):
            assert isinstance(strategy.ask(view(operators), np.random.default_rng(seed)), Proposal)
            asked_for = strategy.ask(view(operators, pending=16), np.random.default_rng(seed))
            assert isinstance(asked_for, Proposal | Wait)
