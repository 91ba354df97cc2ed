"""Traces: they name what a known bad rule does badly, in bounded words, and nothing of hidden splits."""

import asyncio

import pytest
from tiny import job_shops

from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok, TimedOut
from evolve.ledger import Notes
from evolve.program import Candidate, Program
from evolve.prompt import render
from evolve.strategies.strategy import Proposal
from evolve.traces import trace
from problems import registry

NAME = "shop/job_shop"
BAD = "def priority(op, shop):\n    return op.work_left\n"  # least work remaining: long jobs are left to the end


def evaluated(number, source, outcome, name=""):
    return Candidate(Program(number, source, "baseline" if name else "llm", name), outcome)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The trace of a bad rule on tiny shops, twice, and without rivals; and the evaluator's instances."""
    sets = job_shops(tmp_path_factory.mktemp("own"))

    async def work():
        async with Evaluator(NAME, sets=sets, workers=1) as evaluator:
            rules = {r.name: r.source for r in evaluator.problem.rules if r.name in ("mwkr", "lpt", "spt")}
            rivals = [
                evaluated(k, source, await evaluator.evaluate(source, "train"), name)
                for k, (name, source) in enumerate(rules.items())
            ]
            bad = evaluated(9, BAD, await evaluator.evaluate(BAD, "train"))
            assert isinstance(bad.outcome, Ok)
            texts = [await trace(evaluator, bad, rivals[0], rivals) for _ in range(2)]
            return texts, await trace(evaluator, bad, None, [bad]), bad, rivals

    return asyncio.run(work())


def test_a_trace_says_what_stood_idle_who_ended_last_and_where_decisions_part(told):
    (text, again), alone, bad, _ = told
    assert text == again
    assert alone == ""
    assert len(text) <= 2000
    for part in (
        "machines idle",
        "The busiest, machine",
        "ends last: work",
        "The critical path",
        "They part with decision ",
    ):
        assert part in text
    first = text.splitlines()[0]
    number, value = int(first.split()[1]), float(first.split(": ")[1].split(" %")[0])
    assert value == pytest.approx(bad.outcome.values["gap"][number - 1], rel=1e-3)
    assert "its parent" in text


def test_a_prompt_with_a_trace_shows_it_as_it_is(told):
    (text, _), _, bad, rivals = told
    proposal = Proposal("reflect", (bad,), notes=Notes(trace=text))
    shown = render(registry.load(NAME), proposal, baselines=rivals)[1]["content"]
    assert text in shown
    assert "Read the numbers by group and instance and the trace above" in shown


def test_a_program_that_does_not_run_any_more_has_no_trace():
    class Gone:
        problem = registry.load(NAME)

        def instances(self, split):
            raise AssertionError

        async def solve(self, source, split):
            return TimedOut("run", "slow")

    def candidate(number, value, name=""):
        return evaluated(number, BAD, Ok({"gap": value}, {}, {"gap": [value]}, {}), name)

    assert asyncio.run(trace(Gone(), candidate(5, 9.0), None, [candidate(0, 1.0, "spt")])) == ""
