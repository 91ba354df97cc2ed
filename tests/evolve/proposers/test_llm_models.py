"""Which model is asked: weights, names, and what happens when one cannot work."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
from loopback import Loopback, say, status
from tiny_problem import PARENTS, PROBLEM, SAID

from evolve.llm import LLM, LLMConfig, LLMFatal
from evolve.proposers.llm import LLMProposer
from evolve.proposers.proposer import Draft, EditRefused
from evolve.strategies.strategy import Proposal

pytestmark = pytest.mark.usefixtures("planted_key")


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


# prompts
