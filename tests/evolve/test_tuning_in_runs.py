"""Tuning of constants as a proposal of a run: charged, journalled, repeatable."""

import signal

import pytest
from test_loop import start, told, wait_for_tells
from tiny import job_shops

import evolve
from evaluators.outcome import Rejected
from evolve import session
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.operators import OPERATORS
from evolve.store import Store

EVALUATIONS, TUNING, SEED = 120, 6, 4


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return job_shops(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, own):
    return run(tmp_path_factory.mktemp("runs") / "whole", own, workers=2)


def run(folder, own, **settings):
    return evolve.run("shop/job_shop", evaluations=EVALUATIONS, tuning=TUNING, seed=SEED, **own, **settings, out=folder)


def tuned(store):
    return [p for p in store.programs() if p.parents and OPERATORS[p.operator].tuned]


def test_the_archive_does_not_depend_on_the_number_of_workers(tmp_path, own, whole):
    alone = run(tmp_path / "one", own, workers=1)
    assert told(alone) == told(whole)
    with Store(alone) as store:
        assert {"tune", "expand"} == {p.operator for p in tuned(store)}


def test_a_tuned_program_is_text_with_plain_numbers(whole):
    with Store(whole) as store:
        assert not any("param(" in program.source for program in tuned(store))


def test_simulations_are_charged_as_evaluations_and_the_budget_is_kept(whole):
    with Store(whole) as store:
        outcomes, starts = store.outcomes("train"), {p.id for p in store.programs() if p.origin == "baseline"}
        evaluated = sum(not isinstance(o, Rejected) for n, o in outcomes.items() if n not in starts)
        spent = session._spent(store)["evaluations"]
        assert spent == evaluated + TUNING * sum(bool(p.source) for p in tuned(store))
    # what a proposal would have cost may be left over
    assert EVALUATIONS - TUNING <= spent <= EVALUATIONS


def test_a_killed_run_resumes_to_the_same_end(tmp_path, own, whole):
    process = start(tmp_path / "cut", EVALUATIONS, {**own, "tuning": TUNING, "seed": SEED})
    wait_for_tells(tmp_path / "cut", 30)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    session.resume(tmp_path / "cut")
    assert told(tmp_path / "cut") == told(whole)


def test_a_replay_finds_the_same(tmp_path, whole):
    again = session.replay(whole, out=tmp_path / "again")
    assert told(again) == told(whole)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tuning": 7, "evaluations": 60}, "a tenth of the 60 evaluations, got 7"),
        ({"tuning": -1}, "got -1"),
        ({"tuning": 2, "strategy": "greedy"}, "nothing to tune"),
    ],
)
def test_what_cannot_be_tuned_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        RunConfig.make(problem="shop/job_shop", **settings)
