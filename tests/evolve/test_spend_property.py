"""Thousands of simulated calls under random prices, latencies, failures and cancellations: no cap is ever passed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import warp

from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.llm import LLM, LLMConfig, LLMUnavailable

CALLERS = 64
CALLS = 10_000
MOST_OUTPUT = 200
TEXT = "x" * 300


class Provider:
    """A server that answers after a while, in full or not, and keeps its own bill."""

    def __init__(self, rng: random.Random, price: tuple[float, float]) -> None:
        self.rng, self.price = rng, price
        self.calls = self.input = self.output = self.open = self.peak = 0
        self.usd = 0.0

    async def create(self, *, messages: list[dict[str, str]], max_tokens: int, **_: Any) -> Any:
        self.calls += 1
        fate = self.rng.random()
        used = self.rng.randint(1, sum(len(m["content"]) for m in messages)), self.rng.randint(0, max_tokens)
        if fate >= 0.05:  # who hangs up pays all the same
            self.input += used[0]
            self.output += used[1]
            self.usd += (used[0] * self.price[0] + used[1] * self.price[1]) / 1e6
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            await asyncio.sleep(self.rng.expovariate(1.0))
        finally:
            self.open -= 1
        if fate < 0.05:  # refused: not charged
            response = httpx.Response(self.rng.choice([429, 500]), request=httpx.Request("POST", "http://x"))
            raise openai.APIStatusError("busy", response=response, body=None) from httpx.HTTPStatusError(
                "busy", request=response.request, response=response
            )
        if fate < 0.10:  # charged, and lost on its way
            raise openai.APIConnectionError(request=httpx.Request("POST", "http://x")) from httpx.ReadError("broken")
        counted = None if fate < 0.13 else SimpleNamespace(prompt_tokens=used[0], completion_tokens=used[1])
        message = SimpleNamespace(content="x")
        return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="stop")], usage=counted)


async def caller(llms: list[LLM], budget: Budget, rng: random.Random, check: Any) -> None:
    """Ask until the budget is spent; sometimes lose patience."""
    while True:
        text = [{"role": "user", "content": TEXT[: rng.randint(1, len(TEXT))]}]
        call = asyncio.create_task(rng.choice(llms).complete(text))
        patience = asyncio.get_running_loop().call_later(rng.expovariate(0.1), call.cancel)
        try:
            with contextlib.suppress(LLMUnavailable, asyncio.CancelledError):
                await call
        except BudgetExhausted:
            return
        finally:
            patience.cancel()
            check()


@pytest.mark.parametrize("capped", ["usd", "input_tokens", "output_tokens", "tokens", "llm_calls"])
def test_ten_thousand_calls_of_64_callers_stay_within_the_cap_and_use_it(capped):
    rng = random.Random(capped)
    prices = {name: (rng.uniform(0, 5), rng.uniform(0.1, 50)) for name in ("first", "second")}
    # Mean of a call: about 150 of 300 characters sent, half of that counted, half of the output limit.
    mean = {"llm_calls": 1, "input_tokens": 110, "output_tokens": 105}
    mean["tokens"] = mean["input_tokens"] + mean["output_tokens"]
    dollars = [(mean["input_tokens"] * p[0] + mean["output_tokens"] * p[1]) / 1e6 for p in prices.values()]
    cap = 1.3 * CALLS * {**mean, "usd": sum(dollars) / 2}[capped]
    limits = BudgetLimits(**{capped: cap if capped == "usd" else int(cap)})

    async def main() -> None:
        budget = Budget(limits, clock=asyncio.get_running_loop().time)
        providers = {name: Provider(rng, price) for name, price in prices.items()}
        llms = []
        for name, provider in providers.items():
            config = LLMConfig(name, "http://127.0.0.1:9/v1", max_output_tokens=MOST_OUTPUT, concurrency=CALLERS)
            llms.append(LLM(config, budget, prices=prices))
            await llms[-1].prepare()
            llms[-1]._create = provider.create

        def check() -> None:
            assert budget.spent()[capped] + budget.reserved()[capped] <= cap * (1 + 1e-12)

        await asyncio.gather(*(caller(llms, budget, random.Random(k), check) for k in range(CALLERS)))
        billed = {
            "llm_calls": sum(p.calls for p in providers.values()),
            "input_tokens": sum(p.input for p in providers.values()),
            "output_tokens": sum(p.output for p in providers.values()),
            "usd": sum(p.usd for p in providers.values()),
        }
        spent = budget.spent()
        assert set(budget.reserved().values()) == {0}
        assert 0.9 * cap <= spent[capped] <= cap
        # the bill is never higher than what was booked, whatever was lost or cancelled on its way
        assert all(billed[name] <= spent[name] * (1 + 1e-9) for name in ("input_tokens", "output_tokens", "usd"))
        assert billed["llm_calls"] >= CALLS
        assert sum(p.peak for p in providers.values()) >= CALLERS

    warp.run(main())
