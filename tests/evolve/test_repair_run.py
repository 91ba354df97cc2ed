"""Repairs in a whole run: one try per broken program, in the budget, journalled, and replayed."""

from collections import Counter

import pytest
from loopback import Loopback, say_by
from scripted import REWRITE, digits, evolve, finish, search
from tiny_problem import PROBLEM

from evaluators.outcome import CompileError, Ok, Rejected
from evolve.findings import Findings
from evolve.program import Candidate, Program
from evolve.store import Store
from evolve.strategies.sample import Sample

FLAWS = ("    seen = [0.0]\n", "    pair = (0.0, 1.0) + 1.0\n")


def flawed(request) -> str:
    """Two programs in three have a line too many; a repair removes it half of the time."""
    first, second, third, *_ = digits(request)
    text = REWRITE.format(0.5 + (first % 40) / 8, 0.5 + (second % 40) / 8)
    keeps = third % 2 if "# The program to repair" in request.prompt else third % 3
    return text if keeps == 0 else text.replace("machine):\n", "machine):\n" + FLAWS[third % 2])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repairs") / "run"
    prices = (
        "--price",
        "openai/scripted=9,9",
        "--model",
        "openai/cheap",
        "--price",
        "openai/cheap=1,1",
        "--max-usd",
        "9",
    )
    with Loopback(say_by(flawed)) as server:
        flags = ("--repair", "--evaluations", "14", "--deterministic", *prices)
        code, _, err = finish(search(folder, server, *flags))
        assert code == 0, err
        prompts = [request.prompt for request in server.requests]
    return folder, prompts


def test_each_broken_program_is_tried_once_by_the_cheapest_model(run):
    folder, prompts = run
    with Store(folder) as store:
        programs, outcomes, asks = {p.id: p for p in store.programs()}, store.outcomes("train"), store.asks()
        evaluations = store.config.evaluations
    repairs = [ask for ask in asks.values() if ask.operator == "repair"]
    assert len(repairs) >= 3
    assert {ask.model for ask in repairs} == {"openai/cheap"}
    assert max(Counter(ask.parents for ask in repairs).values()) == 1
    for ask in repairs:
        broken = programs[ask.parents[0]]
        assert isinstance(outcomes[broken.id], Rejected | CompileError)
        assert broken.operator != "repair"
        assert programs[ask.program].parents == broken.parents
    assert len([p for p in prompts if "# The program to repair" in p]) == len(repairs)
    spent = [n for n, p in programs.items() if p.origin == "llm" and not isinstance(outcomes[n], Rejected)]
    assert len(spent) == evaluations
    assert any(isinstance(outcomes[ask.program], Ok) for ask in repairs)


def test_a_replay_makes_the_same_repairs(run, tmp_path):
    folder, _ = run
    code, _, err = finish(evolve("replay", folder, "--out", tmp_path / "again"))
    assert code == 0, err
    with Store(folder) as store, Store(tmp_path / "again") as again:
        assert [a.parents for a in store.asks().values()] == [a.parents for a in again.asks().values()]


def test_repairs_end_where_they_run_less_often_than_other_programs_do():
    found = Findings(PROBLEM, Sample(PROBLEM))

    def tell(number, outcome, operator="diff", model="m"):
        found.hear(Candidate(Program(number, f"x = {number}", "llm", operator, (), "", model), outcome))

    ran, broken = Ok({"gap": 1.0, "profit": 1.0, "decision_time": 1.0}, {}, {}, {}), CompileError("compile", "no")
    for number in range(0, 40, 2):
        tell(number, ran)
        tell(number + 1, broken)
    assert found.broken().program.id == 1
    found.mended.add(1)
    assert found.broken().program.id == 3
    # half of all programs run; repairs start from nine in ten
    for number in range(40, 47):
        tell(number, broken, "repair")
        assert found.broken() is not None
    tell(47, broken, "repair")
    tell(48, broken, "repair")
    assert found.broken() is None
    for number in range(49, 54):
        tell(number, ran, "repair")
    assert found.broken().program.id == 3


def test_only_what_a_model_wrote_and_no_twin_or_mended_program_is_repaired():
    found = Findings(PROBLEM, Sample(PROBLEM))
    for number, (outcome, operator, model, source) in enumerate(
        [
            (Rejected("admit", "the same program as 0"), "diff", "m", "x = 1"),
            (Rejected("edit", "no code"), "diff", "m", ""),
            (CompileError("compile", "no"), "repair", "m", "x = 2"),
            (CompileError("compile", "no"), "mutate", "", "x = 3"),
            (Rejected("admit", "line 1: no lists"), "diff", "m", "x = [1]"),
        ]
    ):
        found.hear(Candidate(Program(number, source, "llm", operator, (), "", model), outcome))
    assert found.broken().program.id == 4
