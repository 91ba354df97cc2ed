"""The champion in fewer terms: what is cut, what has to stay, and what a run says of it."""

import asyncio

import pytest
from tiny import job_shops

import evolve
from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok
from evolve import session, simplification
from evolve.simplification import cuts, simplified, terms
from evolve.store import Store
from problems import registry

NAME = "shop/job_shop"
PROBLEM = registry.load(NAME)
INERT = """\
def priority(op, shop):
    late = 1.0 if shop.now < 0.0 else 0.0
    if op.duration < 0.0:
        return op.work_left
    return min(op.duration / op.work_left, 1e9) + late * op.tail
"""
BARE = "def priority(op, shop):\n    return op.duration / op.work_left\n"


def rule(expression):
    return f"def priority(op, shop):\n    return {expression}\n"


def test_a_cut_leaves_an_operand_or_an_arm_and_the_shortest_comes_first():
    source = rule("op.duration + min(op.tail, op.waiting) if shop.now > 1.0 else op.work_left")
    found = cuts(source, PROBLEM)
    assert found[0] == rule("op.work_left")
    assert rule("op.duration + min(op.tail, op.waiting)") in found
    assert rule("op.duration + op.tail if shop.now > 1.0 else op.work_left") in found
    sizes = [terms(text, PROBLEM) for text in found]
    assert sizes == sorted(sizes)
    assert sizes[-1] < terms(source, PROBLEM)


def test_nothing_can_be_cut_from_a_single_term():
    assert cuts(rule("op.duration"), PROBLEM) == []


def test_parameters_go_with_what_used_them():
    source = "A = param(1.5, low=0.0, high=2.0)\n\n\ndef priority(op, shop):\n    return op.duration + A * op.tail\n"
    assert rule("op.duration") in cuts(source, PROBLEM)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return job_shops(tmp_path_factory.mktemp("own"))


def test_inert_parts_go_and_every_decision_stays_whatever_the_number_of_workers(own):
    async def work(workers):
        async with Evaluator(NAME, sets=own, workers=workers) as evaluator:
            shorter = await simplified(evaluator, INERT, 60)
            few = await simplified(evaluator, INERT, 3)
            bare = await simplified(evaluator, BARE, 60)
            both = [await evaluator.evaluate(text, split) for text in (INERT, shorter) for split in ("train", "valid")]
            return shorter, few, bare, both

    shorter, few, bare, both = asyncio.run(work(1))
    assert shorter == bare == BARE
    assert terms(INERT, PROBLEM) >= terms(few, PROBLEM) >= terms(BARE, PROBLEM)
    assert all(isinstance(outcome, Ok) for outcome in both)
    assert [both[k].raw for k in (0, 1)] == [both[k].raw for k in (2, 3)]
    assert asyncio.run(work(2))[:3] == (shorter, few, bare)


def test_a_run_keeps_the_shorter_program_and_says_both_sizes(own, tmp_path, monkeypatch):
    async def shortest(evaluator, source, tries):
        assert tries == 6
        return rule("op.duration")

    monkeypatch.setattr(simplification, "simplified", shortest)
    folder = evolve.run(NAME, evaluations=60, seed=1, **own, out=tmp_path / "run")
    with Store(folder) as store:
        champion = store.program(store.meta("champion"))
        shorter = next(p for p in store.programs() if p.origin == "simplified")
        words, rows = store.meta("report")["words"], store.meta("report")["splits"]["test"]["programs"]
        told = store.tells()
        assert session._spent(store)["evaluations"] == 60
    assert shorter.parents == (champion.id,)
    assert shorter.id not in told
    sizes = f"in 1 instead of {terms(champion.source, PROBLEM)} terms"
    assert f"Program {shorter.id} is champion {champion.id} {sizes}" in words[-1]
    assert [row["role"] for row in rows][:2] == ["champion", "simplified"]


def test_a_run_may_leave_its_champion_as_it_is(own, tmp_path):
    folder = evolve.run(NAME, evaluations=10, seed=3, simplify=False, **own, out=tmp_path / "run")
    with Store(folder) as store:
        assert all(program.origin != "simplified" for program in store.programs())
