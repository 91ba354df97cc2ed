"""Races in a run: the worse are dropped, never kept, and the same ones on every machine."""

import pytest
from tiny import job_shops

import evolve
from evaluators.outcome import Dropped
from evolve import session
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.store import Store


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return job_shops(tmp_path_factory.mktemp("own"), count=16)  # enough for looks


@pytest.fixture(scope="module")
def raced(tmp_path_factory, own):
    out = tmp_path_factory.mktemp("runs") / "raced"
    return evolve.run("shop/job_shop", evaluations=40, seed=4, race=True, workers=2, **own, out=out)


def found(folder):
    with Store(folder) as store:
        return store.archive_hash(), store.counts(), store.outcomes("train"), store.meta("front"), store.asks()


def test_what_is_clearly_worse_is_dropped_and_never_kept(raced):
    _, counts, outcomes, front, asks = found(raced)
    dropped = {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, Dropped)}
    assert counts["dropped"] == len(dropped) > 5
    assert not dropped.keys() & set(front)
    for number, outcome in dropped.items():
        assert number in asks
        assert 5 <= outcome.instances < 16
        assert sum(value == value for value in outcome.values) == outcome.instances
        assert "worse than program" in outcome.reason


def test_races_do_not_depend_on_the_number_of_workers(raced, own, tmp_path):
    alone = evolve.run("shop/job_shop", evaluations=40, seed=4, race=True, workers=1, **own, out=tmp_path / "alone")
    assert found(alone)[0] == found(raced)[0]


def test_a_replay_drops_the_same(raced, tmp_path):
    again = session.replay(raced, out=tmp_path / "again", workers=1)
    assert found(again)[1] == found(raced)[1]


def test_a_strategy_that_uses_every_candidate_refuses_races():
    with pytest.raises(UserError, match="nsga2 has a use for every candidate"):
        RunConfig.make(problem="shop/job_shop", strategy="nsga2", race=True)
    assert RunConfig.make(problem="shop/job_shop", strategy="greedy", race=True).race
    assert not RunConfig.make(problem="shop/job_shop").race


def test_without_races_nothing_is_dropped(own, tmp_path):
    folder = evolve.run("shop/job_shop", evaluations=20, seed=4, **own, out=tmp_path / "whole")
    assert "dropped" not in found(folder)[1]
