"""Calls of a model over real HTTP, made one after another."""

from __future__ import annotations

import asyncio

from loopback import Loopback

from evolve.budget import Budget, BudgetExhausted
from evolve.llm import LLM, LLMConfig, LLMFatal, LLMUnavailable, Reply

MESSAGES = [{"role": "system", "content": "You write rules."}, {"role": "user", "content": "Write one."}]
KEY = "sk-planted-0123456789"


def ask(server: Loopback, budget: Budget | None = None, times: int = 1, **config) -> Reply | BaseException:
    """The last of several calls, one after another: a reply, or what it raised."""

    async def main() -> Reply | BaseException:
        settings = {"model": "openai/scripted", "api_base": server.url, "timeout_s": 10.0, **config}
        async with LLM(LLMConfig(**settings), budget, prices={"scripted": (1.0, 10.0)}) as llm:
            for _ in range(times):
                try:
                    last: Reply | BaseException = await llm.complete(MESSAGES, label="rewrite")
                except (LLMFatal, LLMUnavailable, BudgetExhausted) as error:
                    last = error
        return last

    return asyncio.run(main())
