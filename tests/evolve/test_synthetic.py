"""The synthetic model: what it answers, and a whole run with it."""

import asyncio
import dataclasses

import pytest
from tiny import job_shops
from tiny_problem import BASELINES, PARENTS, PROBLEM, candidate

import evolve
from evaluators.admission.policy import Rejection, admit
from evaluators.outcome import Rejected
from evolve.edits import apply
from evolve.prompt import render
from evolve.proposers.proposer import EditRefused
from evolve.store import Store
from evolve.strategies.strategy import Proposal
from evolve.synthetic import MODEL, Skill, SyntheticModel, SyntheticServer
from problems import registry

PROMPT = render(PROBLEM, Proposal("rewrite", PARENTS, BASELINES), baselines=BASELINES)


def fates(skill, count=200):
    """What becomes of so many answers: ok, refused as an edit, or not admitted."""
    found = {"ok": 0, "edit": 0, "admit": 0}
    for seed in range(count):
        reply = SyntheticModel(PROBLEM, skill, seed).answer(PROMPT)
        try:
            admit(apply(PARENTS[0].program.source, reply, ["priority"]), PROBLEM)
        except EditRefused:
            found["edit"] += 1
        except Rejection:
            found["admit"] += 1
        else:
            found["ok"] += 1
    return found


def test_equal_prompts_get_equal_answers_and_another_seed_another():
    assert SyntheticModel(PROBLEM).answer(PROMPT) == SyntheticModel(PROBLEM).answer(PROMPT)
    model = SyntheticModel(PROBLEM)
    assert len({model.answer(PROMPT) for _ in range(20)}) > 10  # put again, a prompt is answered anew
    assert len({SyntheticModel(PROBLEM, seed=seed).answer(PROMPT) for seed in range(20)}) > 10


def test_a_perfect_model_nearly_always_gives_a_new_program():
    assert fates(Skill(prose=0, broken=0, repeats=0))["ok"] >= 180  # two changes may cancel out


def mended(skill, count=100):
    """Of so many flawed answers, how many are mended when they are sent back."""
    found = 0
    for seed in range(count):
        flawed = apply(PARENTS[0].program.source, SyntheticModel(PROBLEM, skill, seed).answer(PROMPT), ["priority"])
        broken = candidate(7, Rejected("admit", "lists are not admitted"), flawed)
        reply = SyntheticModel(PROBLEM, skill, seed).answer(render(PROBLEM, Proposal("repair", (broken,))))
        child = apply(flawed, reply, ["priority"], mends=True)
        found += not any(line in child for line in ("seen = ", "offset = "))
    return found


def test_flaws_are_mended_as_often_as_said():
    flawed = Skill(prose=0, broken=0, repeats=0, flawed=1.0, steps=1)
    assert mended(dataclasses.replace(flawed, mends=1.0), 30) == 30
    assert 50 <= mended(dataclasses.replace(flawed, mends=0.7)) <= 90


@pytest.mark.parametrize("skill", [Skill(1, 0, 0), Skill(0, 1, 0), Skill(0, 0, 1)], ids=["prose", "broken", "repeats"])
def test_each_failing_is_refused_before_it_is_evaluated(skill):
    assert fates(skill, 20) == {"ok": 0, "edit": 20, "admit": 0}


def test_shares_are_kept_roughly():
    refused = fates(Skill(prose=0.2, broken=0.1, repeats=0.1))["edit"]
    assert 50 <= refused <= 110


def test_impossible_shares_are_refused():
    with pytest.raises(ValueError, match="sum to at most 1"):
        Skill(prose=0.6, broken=0.6)


def test_a_run_with_it_goes_the_whole_way_of_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-synthetic-0000")
    problem = registry.load("shop/job_shop")
    with SyntheticServer(SyntheticModel(problem)) as server:
        folder = evolve.run(
            problem.name, model=(MODEL,), api_base=server.url, evaluations=20, price=(f"{MODEL}=1,10",), max_usd=1.0,
            **job_shops(tmp_path / "own"), out=tmp_path / "run",
        )  # fmt: skip
    with Store(folder) as store:
        assert store.spend()[MODEL]["calls"] >= 20
        assert 0 < store.spend()[MODEL]["usd"] < 1.0
        assert store.counts()["ok"] > 20
        assert len(store.replies()) >= 20


def test_answering_needs_no_running_loop_of_its_own():
    async def inside() -> str:
        return await asyncio.to_thread(SyntheticModel(PROBLEM).answer, PROMPT)

    assert asyncio.run(inside()) == SyntheticModel(PROBLEM).answer(PROMPT)
