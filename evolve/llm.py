"""Access to language models: the only importer of openai and litellm, both imported late.

One call is one question and at most one answer that is paid for: a busy or unreachable server is
asked again (exponential backoff with jitter, Retry-After honoured), a request that may have been
charged is not repeated. The worst case of each request is reserved on the run's budget and settled
after it. A key, model or quota that cannot work takes the model out at once, as LLMFatal; a model that
fails again and again is taken out for a while.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from evolve.answers import Answer, Fault, Usage, diagnose, pause_before_retry, read_answer
from evolve.breaker import Breaker
from evolve.budget import Budget, Reservation
from evolve.errors import UserError
from evolve.models import LLMConfig, Reply
from evolve.prices import Price, find_price
from evolve.tokens import counter, most_tokens

__all__ = ["LLM", "LLMConfig", "LLMFatal", "LLMUnavailable", "Reply"]

Messages = Sequence[Mapping[str, str]]
# Called with what a request may cost at most before it is sent, and with nothing if it came back uncharged.
OnSend = Callable[[dict[str, object]], None]

# A server that was never reached is not there, rather than busy: its user waits seconds, not minutes.
_RETRIES_UNREACHED = 2


class LLMFatal(UserError):
    """No call to this model can work now; the message is one line and names the way out.

    ``spend`` is what the call that found it out may have cost.
    """

    def __init__(self, reason: str, spend: dict[str, object] | None = None) -> None:
        super().__init__(reason)
        self.spend = spend or {}


class LLMUnavailable(Exception):
    """One call gave no answer, the next may; ``spend`` is what it may have cost."""

    def __init__(self, reason: str, spend: dict[str, object]) -> None:
        super().__init__(reason)
        self.spend = spend


class LLM:
    """One model, for many tasks of one event loop at once; use ``async with``, or close it.

    Parameters
    ----------
    config : LLMConfig
        The model and how to call it.
    budget : Budget, optional
        Where each request's worst case is reserved: calls, tokens and dollars.
    prices : mapping, optional
        Model -> dollars per million input and output tokens; they win over the bundled table.

    Raises
    ------
    LLMFatal
        If the budget caps dollars and the model's price is unknown.
    """

    def __init__(
        self,
        config: LLMConfig,
        budget: Budget | None = None,
        *,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self.config = config
        self.budget = budget or Budget()
        self.price = find_price(config.model, prices or {})
        if self.price is None and self.budget.limits.usd is not None:
            reason = "its price is unknown, so dollars cannot be capped"
            raise LLMFatal(f"{config.model}: {reason}; give --price {config.model}=IN,OUT (dollars per million tokens)")
        self._slots = asyncio.Semaphore(config.concurrency)
        self._create: Callable[..., Awaitable[Any]] | None = None
        self._close: Callable[[], Awaitable[None]] | None = None
        self._reached = False  # whether there was a server
        self._breaker = Breaker(config.concurrency)
        self._count: Callable[[str], int] | None = None  # tokens of a text; None: not exactly
        self._next_turn = 0.0
        self._openai: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def prepare(self) -> None:
        """Import the client library and open a client; nothing is sent."""
        await self._connect()

    async def close(self) -> None:
        """Close connections; the next call opens new ones."""
        close, self._close, self._create = self._close, None, None
        if close is not None:
            await close()

    @property
    def out(self) -> str:
        """Why no call is made now, or an empty string."""
        return self._breaker.out(asyncio.get_running_loop().time)

    async def complete(self, messages: Messages, *, label: str = "", on_send: OnSend = lambda worst: None) -> Reply:
        """Ask once and wait for the answer.

        Parameters
        ----------
        messages : sequence of mappings
            Chat messages with ``role`` and ``content``.
        label : str
            What the call is for (the operator); comes back with the reply.
        on_send : callable
            Told of the worst case of each request before it is sent, so that whoever is killed
            or cancelled meanwhile knows what may be charged; told ``{}`` where nothing is.

        Raises
        ------
        LLMFatal
            If no call to this model can work now.
        LLMUnavailable
            If this one gave no answer within the limits on time and retries.
        BudgetExhausted
            If the worst case does not fit into the budget.
        """
        worst = Usage(most_tokens(messages, self._count), self.config.max_output_tokens)
        started = time.monotonic()
        async with self._slots:
            answer = await self._ask(messages, worst, on_send)
        seconds = time.monotonic() - started
        if isinstance(answer, Fault):
            raise self._failure(answer, self._lost(worst, seconds) if answer.charged else {})
        self._reached = True
        self._breaker.worked()
        usage = answer.usage or worst
        return Reply(
            answer.text,
            self.config.model,
            usage.input_tokens,
            usage.output_tokens,
            self._usd(usage),
            seconds,
            answer.finish,
            label,
            usage.cached_tokens,
            usage.reasoning_tokens,
            answer.flaw,
        )

    async def _ask(self, messages: Messages, worst: Usage, on_send: OnSend) -> Answer | Fault:
        """Send a question until it is answered or there is no point in asking again."""
        clock = asyncio.get_running_loop().time
        amounts = self._amounts(worst)
        deadline = math.inf
        for attempt in itertools.count():
            with await self.budget.reserve_later(**amounts) as reservation:
                await self._turn()
                if self.out:
                    raise LLMFatal(self.out)
                # The clock starts here: waiting for others' reservations is not the server's fault.
                deadline = min(deadline, clock() + self._limit_s())
                answer = await self._send(messages, reservation, deadline, lambda: on_send(self._lost(worst, 0.0)))
                if isinstance(answer, Fault) and not answer.charged:
                    on_send({})
            if isinstance(answer, Answer) or answer.kind != "busy":
                break
            self._reached |= answer.reached
            retries = self.config.retries if self._reached else min(self.config.retries, _RETRIES_UNREACHED)
            pause_s = pause_before_retry(attempt, answer)
            if attempt >= retries or clock() + pause_s >= deadline:
                break
            await asyncio.sleep(pause_s)
        return answer

    async def _turn(self) -> None:
        """Wait until another request fits into the requests per minute; they are spaced evenly."""
        if self.config.requests_per_minute is None:
            return
        now = asyncio.get_running_loop().time()
        turn = max(self._next_turn, now)
        self._next_turn = turn + 60.0 / self.config.requests_per_minute
        await asyncio.sleep(turn - now)

    def _limit_s(self) -> float:
        """Seconds that one call may take, within what the budget has left."""
        left_s = self.budget.remaining()["seconds"]
        return self.config.timeout_s if left_s is None else min(self.config.timeout_s, left_s)

    async def _send(
        self, messages: Messages, reservation: Reservation, deadline: float, announce: Callable[[], None]
    ) -> Answer | Fault:
        """Send one request; its reservation is settled, or released where nothing can be charged."""
        answer: Answer | Fault | None = None
        await self._connect()
        announce()
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    answer = read_answer(await self._request(messages))
            except TimeoutError:
                answer = Fault(f"no complete answer in time (limit {self.config.timeout_s:g} s)", "lost", charged=True)
            except (self._openai.OpenAIError, OSError, ValueError) as error:
                where = self.config.api_base or "the provider"
                answer = diagnose(error, key_name=self.config.key_name, address=where)
        finally:
            if isinstance(answer, Answer) and answer.usage is not None:
                reservation.settle(**self._amounts(answer.usage))
            elif isinstance(answer, Fault) and not answer.charged:
                reservation.release()
            else:  # no count came back, or it was cancelled on its way: the worst is assumed
                reservation.settle()
        return answer

    async def _connect(self) -> None:
        """Open a client unless there is one."""
        if self._create is not None:
            return
        config = self.config
        # Importing takes seconds; the event loop has evaluations to look after.
        openai, litellm = await asyncio.to_thread(_libraries, with_litellm=config.api_base is None)
        self._count = await asyncio.to_thread(counter, config.model, config.api_base)
        if self._create is not None:  # another call was faster
            return
        self._openai = openai
        if litellm:
            self._create, self._close = litellm.acompletion, litellm.close_litellm_async_clients
        else:
            client = openai.AsyncOpenAI(
                base_url=config.api_base,
                api_key=os.environ.get(config.key_name) or "none",  # local servers take any
                timeout=openai.Timeout(config.timeout_s, connect=10.0),
                max_retries=0,
            )
            self._create, self._close = client.chat.completions.create, client.close

    async def _request(self, messages: Messages) -> Any:
        config = self.config
        options: dict[str, Any] = {"max_tokens": config.max_output_tokens}
        if config.temperature is not None:
            options["temperature"] = config.temperature
        if config.reasoning_effort is not None:
            options["reasoning_effort"] = config.reasoning_effort
        if config.api_base is None:
            key = os.environ.get(config.api_key_env or "")
            options |= {"model": config.model, "num_retries": 0, "max_retries": 0, "timeout": config.timeout_s}
            options |= {"api_key": key} if key else {}
        else:
            options["model"] = config.model.removeprefix("openai/")
            # OpenAI's newer models refuse the old name, and older local servers do not know the new one.
            if urlsplit(config.api_base).hostname in ("api.openai.com",):
                options["max_completion_tokens"] = options.pop("max_tokens")
        assert self._create is not None
        return await self._create(messages=[dict(message) for message in messages], **options)

    def _amounts(self, usage: Usage) -> dict[str, float]:
        """What one call with that many tokens takes from the budget."""
        counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        return {"llm_calls": 1, **counts, "tokens": sum(counts.values()), "usd": self._usd(usage) or 0.0}

    def _lost(self, worst: Usage, seconds: float) -> dict[str, object]:
        """What a request may have cost that brought no count."""
        return Reply("", self.config.model, *worst[:2], self._usd(worst), seconds).spend

    def _usd(self, usage: Usage) -> float | None:
        return None if self.price is None else self.price.cost(*usage[:3])

    def _failure(self, fault: Fault, spend: dict[str, object]) -> LLMFatal | LLMUnavailable:
        clock = asyncio.get_running_loop().time
        reason, out = self._breaker.failed(fault, f"{self.config.model}: {fault.reason}", clock)
        return LLMFatal(reason, spend) if out else LLMUnavailable(reason, spend)


def _libraries(*, with_litellm: bool) -> tuple[Any, Any]:
    """Import openai, and litellm where it is needed; litellm is told to stay off network and screen."""
    import openai

    if not with_litellm:
        return openai, None
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL + 1)
    return openai, litellm
