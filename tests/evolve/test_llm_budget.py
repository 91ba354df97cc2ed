"""What calls of a model take from a budget, in which pace, and at which prices."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace

import httpx
import openai
import pytest
import warp
from asking import MESSAGES, ask
from loopback import Loopback, say, trickle

from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.errors import UserError
from evolve.llm import LLM, LLMConfig, LLMFatal, Reply
from evolve.prices import find_price, parse_prices

pytestmark = pytest.mark.usefixtures("planted_key")


def test_concurrent_calls_never_pass_a_cap_and_use_most_of_it():
    # A call may cost 300 output tokens and costs 20; 30 at once would reserve far more than there is.
    limits = BudgetLimits(tokens=20_000, usd=0.5)
    budget = Budget(limits)

    async def caller(llm: LLM) -> None:
        while True:
            try:
                await llm.complete(MESSAGES)
            except BudgetExhausted:
                return
            assert budget.spent()["tokens"] + budget.reserved()["tokens"] <= 20_000

    async def main() -> None:
        config = LLMConfig("scripted", server.url, max_output_tokens=300, concurrency=30)
        async with LLM(config, budget, prices={"scripted": (1.0, 10.0)}) as llm:
            await asyncio.gather(*(caller(llm) for _ in range(30)))

    with Loopback(say("x", usage=(100, 20), delay_s=0.005)) as server:
        asyncio.run(main())
    assert 0.9 * 20_000 < budget.spent()["tokens"] <= 20_000
    assert budget.spent()["tokens"] == 120 * len(server.requests)
    assert budget.reserved()["tokens"] == 0
    assert server.peak <= 30


def test_a_call_that_cannot_be_afforded_is_not_made():
    with Loopback(say("x")) as server:
        error = ask(server, Budget(BudgetLimits(tokens=100)))
    assert isinstance(error, BudgetExhausted)
    assert error.resource == "tokens"
    assert not server.requests


def test_concurrency_bounds_requests_at_once():
    async def main() -> None:
        async with LLM(LLMConfig("scripted", server.url, concurrency=3)) as llm:
            await asyncio.gather(*(llm.complete(MESSAGES) for _ in range(12)))

    with Loopback(say("x", delay_s=0.03)) as server:
        asyncio.run(main())
    assert server.peak == 3


def test_requests_per_minute_space_requests_evenly_retries_included():
    times: list[float] = []

    async def create(**_: object) -> SimpleNamespace:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 2:
            raise openai.APIConnectionError(request=httpx.Request("POST", "http://x")) from httpx.ConnectError("busy")
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="x"))])

    async def main() -> None:
        async with LLM(LLMConfig("scripted", "http://127.0.0.1:9/v1", requests_per_minute=6)) as llm:
            await llm.prepare()
            llm._create = create
            await asyncio.gather(*(llm.complete(MESSAGES) for _ in range(5)))

    warp.run(main())
    # on a clock that passes only while all wait
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([10.0] * 5)


def test_waiting_for_the_budget_does_not_count_against_the_time_limit():
    # Only one worst case fits at a time; four calls of 0.3 s one after another take longer than 0.8 s.
    budget = Budget(BudgetLimits(tokens=1200))

    async def main() -> list[Reply]:
        async with LLM(LLMConfig("scripted", server.url, max_output_tokens=500, timeout_s=0.8), budget) as llm:
            return await asyncio.gather(*(llm.complete(MESSAGES) for _ in range(4)))

    with Loopback(say("x", delay_s=0.3)) as server:
        asyncio.run(main())
    assert server.peak == 1
    assert budget.spent()["tokens"] == 480


def test_the_seconds_of_a_budget_cut_a_call_short():
    started = time.monotonic()
    with Loopback(trickle()) as server:
        ask(server, Budget(BudgetLimits(seconds=0.4)))
    assert time.monotonic() - started < 0.4 + 1.5


def test_dollars_cannot_be_capped_without_a_price():
    with pytest.raises(LLMFatal, match=r"--price local/mystery=IN,OUT"):
        LLM(LLMConfig("local/mystery"), Budget(BudgetLimits(usd=1.0)))
    LLM(LLMConfig("local/mystery"), Budget(BudgetLimits(tokens=1)))
    LLM(LLMConfig("local/mystery"), Budget(BudgetLimits(usd=1.0)), prices={"local/mystery": (0.0, 0.0)})


def test_prices_come_from_the_bundled_table_unless_declared():
    assert find_price("openai/gpt-4o", {}) == find_price("gpt-4o", {}) == (2.5, 10.0, 1.25)
    assert find_price("openai/gpt-4o", {"gpt-4o": (1.0, 2.0)}) == (1.0, 2.0, None)
    assert find_price("somewhere/gpt-4o", {}) is None
    assert find_price("mystery", {}) is None


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "gemini/gemini-2.5-flash", "mystery"])
def test_cached_input_is_never_dearer_than_what_was_reserved_for_it(model):
    price = find_price(model, {"mystery": (2.0, 3.0)})
    assert price.cost(1000, 10, 600) <= price.cost(1000, 10)
    cached = price.input if price.cached is None else price.cached
    assert price.cost(1000, 10, 600) == pytest.approx((400 * price.input + 600 * cached + 10 * price.output) / 1e6)


def test_the_variable_of_the_key_follows_from_the_provider():
    names = {model: LLMConfig(model).key_name for model in ("gpt-4o", "claude-sonnet-4-5", "groq/x", "mystery")}
    assert names == {
        "gpt-4o": "OPENAI_API_KEY",
        "claude-sonnet-4-5": "ANTHROPIC_API_KEY",
        "groq/x": "GROQ_API_KEY",
        "mystery": "OPENAI_API_KEY",
    }
    assert LLMConfig("groq/x", "http://127.0.0.1:1/v1").key_name == "OPENAI_API_KEY"
    assert LLMConfig("groq/x", api_key_env="MY_KEY").key_name == "MY_KEY"


def test_declared_prices_are_read_and_checked():
    assert parse_prices(["a/b=0.5,1.5", "c=0,0"]) == {"a/b": (0.5, 1.5, None), "c": (0.0, 0.0, None)}
    for bad in ("a", "a=1", "a=1,2,3", "=1,2", "a=x,1", "a=-1,1", "a=nan,1"):
        with pytest.raises(UserError, match="MODEL=IN,OUT"):
            parse_prices([bad])
