"""The LLM proposer over real HTTP, against a loopback server with scripted answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from loopback import Answer, Loopback, completion, hang_up, say, status
from one_machine import CHILD, PARENT, PARENTS, PROBLEM, candidate, ok

from evolve import answers
from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.llm import LLM, LLMConfig, LLMFatal
from evolve.program import Candidate
from evolve.proposers.llm import LLMProposer
from evolve.proposers.proposer import Draft, EditRefused
from evolve.strategies.strategy import Proposal

SAID = f"Long jobs that are due late can wait. So multiply.\n\n```python\n{CHILD}```\n"
SEARCH = "<<<<<<< SEARCH\n    return job.duration\n=======\n    return job.duration * job.due\n>>>>>>> REPLACE\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(answers, "_FIRST_PAUSE_S", 0.02)


def propose(
    *answers: Answer,
    operator: str = "rewrite",
    parents: Sequence[Candidate] = PARENTS,
    budget: Budget | None = None,
    times: int = 1,
) -> tuple[Draft | BaseException, Loopback]:
    """The last of several proposals, and the server with its requests."""

    async def main() -> Draft | BaseException:
        async with LLM(LLMConfig("scripted", server.url, retries=2), budget, prices={"scripted": (1.0, 10.0)}) as llm:
            proposer = LLMProposer(PROBLEM, [llm])
            for _ in range(times):
                try:
                    last: Draft | BaseException = await proposer.propose(
                        Proposal(operator, tuple(parents)), np.random.default_rng(0)
                    )
                except (EditRefused, LLMFatal, BudgetExhausted) as error:
                    last = error
        return last

    with Loopback(*answers) as server:
        return asyncio.run(main()), server


# replies


@pytest.mark.parametrize(
    "reply",
    [
        SAID,
        SAID.replace("```python", "```"),
        f"{CHILD}",
        f"Long jobs.\n\n{CHILD}\nDone.",
        f"It helps.\n{SEARCH}",
        f"```\n{SEARCH}```",
    ],
    ids=["fenced", "no language", "bare", "prose", "diff", "fenced diff"],
)
@pytest.mark.parametrize("operator", ["rewrite", "diff"])
def test_a_reply_becomes_a_draft_with_its_spend(reply, operator):
    draft, server = propose(say(reply, usage=(800, 60)), operator=operator)
    assert isinstance(draft, Draft)
    assert draft.source == CHILD
    assert draft.spend == {
        "model": "scripted",
        "reply": reply,
        "input_tokens": 800,
        "output_tokens": 60,
        "usd": pytest.approx(800e-6 + 600e-6),
        "seconds": draft.spend["seconds"],
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    }
    roles = [message["role"] for message in server.requests[0].body["messages"]]
    assert roles == ["system", "user"]


def test_the_words_before_the_code_are_the_thought():
    draft, _ = propose(say(SAID))
    assert draft.thought == "Long jobs that are due late can wait. So multiply."


def test_busy_servers_cost_nothing_but_time():
    budget = Budget()
    draft, server = propose(status(429, retry_after=0.1), status(500), say(SAID), budget=budget)
    assert draft.source == CHILD
    assert budget.spent()["llm_calls"] == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (say("I cannot help with that."), "no code in the reply"),
        (say(None, refusal="I cannot help with that."), "the model refused: I cannot help with that"),
        (
            say(None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
            "tool call",
        ),
        (say(""), "the reply is empty"),
        (say(None, finish="length"), "reasoning took all output tokens"),
        (completion({"choices": []}), "the reply has no choices"),
        (say(f"```python\n{CHILD}", finish="length"), "the reply was cut before its code ended"),
        (say(f"```python\n{PARENT}```"), "the edit changes nothing"),
        (say(SEARCH.replace("job.duration\n=", "job.length\n=")), "SEARCH block 1 matches nothing"),
        (say("```python\ndef rank(job):\n    return 1.0\n```"), "does not define the function priority"),
        (say("x" * 1_000_000), "1,000,000 characters"),
    ],
    ids=[
        "prose",
        "refusal",
        "tool call",
        "empty",
        "reasoning",
        "no choices",
        "cut",
        "no-op",
        "no match",
        "no hook",
        "1 MB",
    ],
)
def test_a_reply_without_a_new_program_is_a_refusal_that_was_paid(answer, reason):
    refusal, _ = propose(answer)
    assert isinstance(refusal, EditRefused)
    assert reason in str(refusal)
    assert refusal.spend["input_tokens"] == 100
    assert refusal.spend["usd"] == pytest.approx(100e-6 + 200e-6)


def test_a_call_without_an_answer_is_a_refusal_with_what_it_may_have_cost():
    refusal, _ = propose(say(SAID), hang_up(), times=2)
    assert isinstance(refusal, EditRefused)
    assert "the connection broke" in str(refusal)
    assert refusal.spend["output_tokens"] == 8192
    refusal, _ = propose(say(SAID), status(500), times=2)
    assert isinstance(refusal, EditRefused)
    assert refusal.spend == {}


def test_a_refused_key_and_an_empty_budget_reach_the_loop():
    error, _ = propose(status(401))
    assert isinstance(error, LLMFatal)
    error, server = propose(say(SAID), budget=Budget(BudgetLimits(llm_calls=0)))
    assert isinstance(error, BudgetExhausted)
    assert not server.requests


def test_protected_text_of_the_parent_is_kept():
    region = "LIMIT = 3.0\n# EVOLVE-BLOCK-START\n" + PARENT + "# EVOLVE-BLOCK-END\n"
    parents = [candidate(2, ok(1.0, 1.0, 1.0), region)]
    draft, server = propose(say(SEARCH), operator="diff", parents=parents)
    assert draft.source == region.replace("job.duration", "job.duration * job.due")
    assert "must stay unchanged" in server.requests[0].prompt
    refusal, _ = propose(say(f"```python\n{CHILD}```"), parents=parents)
    assert "keep the 1 pair(s)" in str(refusal)


def test_models_are_drawn_by_weight():
    async def main(weights) -> None:
        with Loopback(say(SAID)) as first, Loopback(say(SAID)) as second:
            llms = [LLM(LLMConfig("scripted", server.url)) for server in (first, second)]
            proposer = LLMProposer(PROBLEM, llms, weights=weights)
            for seed in range(8):
                await proposer.propose(Proposal("rewrite", PARENTS), np.random.default_rng(seed))
            await proposer.close()
            counts.append((len(first.requests), len(second.requests)))

    counts: list[tuple[int, int]] = []
    asyncio.run(main([0.0, 2.0]))
    asyncio.run(main(None))
    assert counts[0] == (0, 8)
    assert min(counts[1]) > 0


def test_a_proposal_that_names_a_model_goes_there_and_one_that_was_answered_stays_answered():
    async def main() -> None:
        with Loopback(say(SAID)) as first, Loopback(say(SAID)) as second:
            llms = [LLM(LLMConfig(name, s.url)) for name, s in (("first", first), ("second", second))]
            proposer = LLMProposer(PROBLEM, llms, weights=[1.0, 0.0])
            proposal = Proposal("rewrite", PARENTS, model="second", number=7)
            draft = await proposer.propose(proposal, np.random.default_rng(0))
            assert (len(first.requests), len(second.requests)) == (0, 1)
            # as after a resume in which nobody named the model: its reply is there, so it is not paid for again
            again = await proposer.propose(dataclasses.replace(proposal, model=""), np.random.default_rng(0))
            assert again.source == draft.source
            assert (len(first.requests), len(second.requests)) == (0, 1)
            await proposer.close()

    asyncio.run(main())


def propose_in_turn(first: Loopback, second: Loopback, weights, times: int) -> list[Draft | BaseException]:
    """Proposals one after another, of two models that are asked once each before they are given up."""

    async def main() -> list[Draft | BaseException]:
        llms = [LLM(LLMConfig(name, s.url, retries=0)) for name, s in (("first", first), ("second", second))]
        proposer = LLMProposer(PROBLEM, llms, weights=weights)
        found: list[Draft | BaseException] = []
        assert proposer.notice == ""
        for seed in range(times):
            try:
                found.append(await proposer.propose(Proposal("rewrite", PARENTS), np.random.default_rng(seed)))
            except (EditRefused, LLMFatal) as error:
                found.append(error)
                assert proposer.notice.startswith("out: ")
        await proposer.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("answer", [status(401, "bad key"), status(500, "broken")], ids=["refused key", "outage"])
def test_a_model_that_cannot_work_is_taken_out_while_another_works(answer):
    with Loopback(answer) as first, Loopback(say(SAID)) as second:
        found = propose_in_turn(first, second, [1.0, 1.0], 12)
    refused = [error for error in found if isinstance(error, EditRefused)]
    assert len(refused) == 1
    assert str(refused[0]).startswith("model taken out: first: ")
    assert (len(first.requests), len(second.requests)) == (1, 11)


def test_a_model_that_was_down_is_tried_again_after_a_rest_that_grows():
    async def main() -> None:
        now = asyncio.get_running_loop().time

        async def ask(llm: LLM) -> bool:
            try:
                await llm.complete([{"role": "user", "content": "x"}])
            except LLMFatal:
                return False
            return True

        async with LLM(LLMConfig("m", server.url, retries=0)) as llm:
            rests = []
            while not await ask(llm):
                assert llm.out
                rests.append(llm._breaker._out_until - now())
                llm._breaker._out_until = now()  # as if it had passed
                assert not llm.out
            assert rests == pytest.approx([60, 120, 240], abs=1)
            assert llm._breaker._rest_s == 60

    with Loopback(status(500), status(503), status(429), say(SAID)) as server:
        asyncio.run(main())
    assert len(server.requests) == 4


def test_only_when_no_model_is_left_the_run_ends():
    with Loopback(status(401, "bad key")) as first, Loopback(status(404, "who?")) as second:
        found = propose_in_turn(first, second, None, 12)
    kinds = [type(error) for error in found]
    assert kinds.index(LLMFatal) == len([k for k in kinds if k is EditRefused]) == 1
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert all(said in str(found[-1]) for said in ("first: the key was refused", "second: unknown model"))


def test_a_model_of_weight_zero_is_a_reserve():
    with Loopback(say(SAID), status(401)) as first, Loopback(say(SAID)) as second:
        found = propose_in_turn(first, second, [1.0, 0.0], 6)
    assert [type(item) for item in found] == [Draft, EditRefused, Draft, Draft, Draft, Draft]
    assert (len(first.requests), len(second.requests)) == (2, 4)


@pytest.mark.parametrize(
    "options", [{"weights": [1.0, 2.0]}, {"weights": [-1.0]}, {"weights": [0.0]}, {"operators": ["mutate"]}]
)
def test_bad_weights_and_operators_are_refused(options):
    with pytest.raises(ValueError, match=r"must be|out of"):
        LLMProposer(PROBLEM, [LLM(LLMConfig("m"))], **options)
