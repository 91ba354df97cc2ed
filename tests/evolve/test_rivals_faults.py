"""Faults that were observed in other frameworks' searches, one test each: none of them is ours."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from loopback import Loopback, say, say_by
from scripted import REWRITE, finish, search
from stories import told, view

from evaluators.outcome import Crashed, Dropped, Ok, Rejected
from evolve.archives.pareto import ParetoArchive
from evolve.attempts import MAX_REFUSALS_IN_A_ROW
from evolve.findings import Findings
from evolve.program import Candidate, Program
from evolve.store import Store
from evolve.strategies import registry
from problems.problem import Objective

RULE = "```python\ndef priority(job, machine):\n    return {}\n```"
NO_MATCH = "Sharper.\n<<<<<<< SEARCH\n    return nothing_like_it_{0}\n=======\n    return job.due\n>>>>>>> REPLACE"


def candidate(number, outcome):
    return Candidate(Program(number, f"x = {number}", "import"), outcome)


def scored(number, *values):
    names = ("cost", "cost2")[: len(values)]
    return candidate(number, Ok(dict(zip(names, values, strict=True)), {}, {}, {}))


def heard(direction, *candidates):
    objectives = (Objective("cost", "cost", "1", "mean", direction=direction),)
    problem = SimpleNamespace(primary=objectives[0], objectives=objectives, hooks=())
    found = Findings(problem, SimpleNamespace(tell=lambda candidate: None, opponent="champion"))
    for one in candidates:
        found.hear(one)
    return found


def on_front(found):
    return [c.program.id for c in found.archive.members]


def fresh():
    """A model that always answers with another valid program."""
    numbers = itertools.count()
    return say_by(lambda request: REWRITE.format(0.5 + next(numbers) / 7, 0.3))


def outcomes(folder):
    """Of the model's programs on train."""
    with Store(folder) as store:
        found = store.outcomes("train")
        return [found[p.id] for p in store.programs() if p.origin == "llm" and p.id in found]


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("score", [-3.5, 0.0, 3.5])
@pytest.mark.parametrize("failure", [Crashed("run", "boom"), Dropped("race", "worse", 3, 0.0, [0.0] * 3)])
def test_f3_a_failure_is_never_best_whatever_the_sign_of_scores(direction, score, failure):
    for order in ((0, 1), (1, 0)):
        both = {0: scored(0, score), 1: candidate(1, failure)}
        found = heard(direction, *(both[k] for k in order))
        assert on_front(found) == [0]
        assert found.opponent(2, ()).program.id == 0
        assert [c.program.id for c in found.finalists(12)] == [0]
        assert not found.is_best(both[1])


@pytest.mark.parametrize("direction", ["min", "max"])
def test_f4_nan_before_100_neither_enters_nor_leads(direction):
    found = heard(direction, scored(0, float("nan")), scored(1, 100.0))
    assert on_front(found) == [1]
    assert found.opponent(2, ()).program.id == 1
    assert not found.is_best(scored(2, float("nan")))


def test_f3_f4_crashing_and_nan_programs_of_a_run_are_failures_beside_its_front(tmp_path):
    crash = RULE.format("np.zeros(3)[int(job.due) + 5]").replace("def", "import numpy as np\n\ndef")
    bad = [crash, RULE.format("math.inf - math.inf").replace("def", "import math\n\ndef")]
    with Loopback(*map(say, bad), fresh()) as server:
        code, _, err = finish(search(tmp_path / "run", server, "--evaluations", 4))
    assert code == 0, err
    kinds = [outcome.kind for outcome in outcomes(tmp_path / "run")]
    assert sorted(kinds) == ["crashed", "non_finite", "ok", "ok"]
    with Store(tmp_path / "run") as store:
        found = store.outcomes("train")
        assert all(isinstance(found[number], Ok) for number in [*store.meta("front"), store.meta("champion")])


def test_f5_five_edits_that_match_nothing_cost_no_evaluation_and_are_journalled(tmp_path):
    with Loopback(*(say(NO_MATCH.format(k)) for k in range(5)), fresh()) as server:
        code, _, err = finish(search(tmp_path / "run", server, "--evaluations", 3))
    assert code == 0, err
    refused = [o for o in outcomes(tmp_path / "run") if isinstance(o, Rejected)]
    assert [o.stage for o in refused] == ["edit"] * 5
    assert len(outcomes(tmp_path / "run")) == 5 + 3
    with Store(tmp_path / "run") as store:
        assert store.spend()["openai/scripted"]["calls"] >= 5 + 3


@pytest.mark.parametrize("name", ["nsga2", "portfolio", "reflective_pareto"])
def test_f12_a_balanced_program_between_two_extremes_is_selected_as_parent(name):
    programs = [scored(0, 1.0, 0.0), scored(1, 0.0, 1.0), scored(2, 0.9, 0.9)]
    strategy = told(name, programs, "max", 2)
    archive = ParetoArchive([Objective(n, n, "1", "mean", direction="max") for n in ("cost", "cost2")])
    assert all(archive.add(program) for program in programs)
    asked = [strategy.ask(view(front=archive.members), np.random.default_rng(seed)) for seed in range(50)]
    assert 2 in {proposal.parents[0].program.id for proposal in asked}
    assert name in registry.names()


def test_f15_a_model_that_always_answers_prose_is_asked_a_bounded_number_of_times(tmp_path):
    with Loopback(say("I think the best rule is SPT.")) as server:
        code, _, err = finish(search(tmp_path / "run", server, "--evaluations", 10))
        asked = len(server.requests)
    assert code == 0, err
    assert MAX_REFUSALS_IN_A_ROW <= asked <= MAX_REFUSALS_IN_A_ROW + 32  # those under way at the end
    with Store(tmp_path / "run") as store:
        assert "refusals in a row" in store.meta("status")


def test_f16_a_valid_model_stops_at_the_cap_of_evaluations(tmp_path):
    with Loopback(fresh()) as server:
        code, _, err = finish(search(tmp_path / "run", server, "--evaluations", 10))
        asked = len(server.requests)
    assert code == 0, err
    found = outcomes(tmp_path / "run")
    assert sum(not isinstance(outcome, Rejected) for outcome in found) == 10
    assert asked <= 10 + 32  # those under way at the end
