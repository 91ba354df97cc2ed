"""LLM access over real HTTP, against a loopback server with scripted answers."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
from asking import KEY, MESSAGES, ask
from loopback import Loopback, completion, hang_up, raw, say, status, trickle

from evolve.answers import retry_after
from evolve.budget import Budget
from evolve.llm import LLM, LLMConfig, LLMFatal, LLMUnavailable, Reply

pytestmark = pytest.mark.usefixtures("planted_key")


# answers


def test_a_reply_carries_text_tokens_dollars_and_label():
    budget = Budget()
    with Loopback(say("Hello.", usage=(1000, 50), delay_s=0.05)) as server:
        reply = ask(server, budget, temperature=0.7, max_output_tokens=99, reasoning_effort="low")
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model, reply.finish, reply.label) == ("Hello.", "openai/scripted", "stop", "rewrite")
    assert (reply.input_tokens, reply.output_tokens) == (1000, 50)
    assert reply.usd == pytest.approx((1000 * 1.0 + 50 * 10.0) / 1e6)
    assert 0.05 <= reply.seconds < 10
    assert reply.spend["reply"] == "Hello."
    assert (budget.spent()["llm_calls"], budget.spent()["tokens"]) == (1, 1050)
    assert budget.spent()["usd"] == pytest.approx(reply.usd)
    request = server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.body["messages"] == MESSAGES
    sent = {name: request.body[name] for name in ("model", "temperature", "max_tokens", "reasoning_effort")}
    assert sent == {"model": "scripted", "temperature": 0.7, "max_tokens": 99, "reasoning_effort": "low"}
    assert request.key == KEY


def test_settings_that_are_not_given_are_not_sent():
    with Loopback(say("x")) as server:
        ask(server)
    assert set(server.requests[0].body) == {"model", "messages", "max_tokens"}


def test_without_usage_the_reserved_worst_case_is_settled():
    budget = Budget()
    with Loopback(say("x", usage=None)) as server:
        reply = ask(server, budget, max_output_tokens=500)
    assert reply.output_tokens == 500
    assert budget.spent()["tokens"] == reply.input_tokens + 500
    # more than one token of a byte is impossible
    assert reply.input_tokens >= len("You write rules.Write one.")


def test_cached_and_reasoning_tokens_are_told_apart():
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    with Loopback(completion({"choices": [{"message": {"content": "x"}}], "usage": usage}, usage=None)) as server:
        reply = ask(server)
    counts = {"input_tokens": 100, "output_tokens": 50, "cached_tokens": 64, "reasoning_tokens": 30}
    assert {name: reply.spend[name] for name in counts} == counts


def test_reasoning_that_only_the_total_counts_is_paid_for():
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 420}
    with Loopback(completion({"choices": [{"message": {"content": "x"}}], "usage": usage}, usage=None)) as server:
        reply = ask(server)
    assert (reply.input_tokens, reply.output_tokens, reply.reasoning_tokens) == (100, 320, 300)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (completion({"choices": []}), ""),
        (say(None), ""),
        (say(None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]), ""),
        (say(None, refusal="I cannot help with that."), "I cannot help with that."),
        (say("x" * 1_000_000), "x" * 1_000_000),
    ],
    ids=["no choices", "null", "tool call", "refusal", "1 MB"],
)
def test_an_unusual_completion_is_a_reply_that_was_paid(answer, text):
    budget = Budget()
    with Loopback(answer) as server:
        reply = ask(server, budget)
    assert reply.text == text
    assert budget.spent()["tokens"] == 120
    assert len(server.requests) == 1


# busy servers


@pytest.mark.parametrize("code", [429, 500, 502, 503, 529])
def test_a_busy_server_is_asked_again_and_only_the_answer_is_paid(code):
    budget = Budget()
    with Loopback(status(code), status(code), say("at last")) as server:
        reply = ask(server, budget)
    assert reply.text == "at last"
    assert len(server.requests) == 3
    assert budget.spent()["llm_calls"] == 1
    assert budget.reserved()["tokens"] == 0


def test_retry_after_is_honoured():
    with Loopback(status(429, retry_after=1), say("x")) as server:
        assert ask(server).text == "x"
    assert server.requests[1].at - server.requests[0].at >= 1.0


def test_a_wait_beyond_the_time_limit_ends_the_call_at_once():
    started = time.monotonic()
    with Loopback(say("x"), status(429, "come back tomorrow", retry_after=86400)) as server:
        error = ask(server, times=2)
    assert isinstance(error, LLMUnavailable)
    assert "come back tomorrow" in str(error)
    assert time.monotonic() - started < 5
    assert error.spend == {}


def test_retry_after_may_be_a_date():
    import email.utils

    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 27 < retry_after(httpx.Headers({"Retry-After": date})) <= 30
    assert retry_after(httpx.Headers({"Retry-After": "soon"})) == 0
    assert retry_after(httpx.Headers({})) == 0


def test_retries_end_and_later_calls_may_still_work():
    with Loopback(say("x"), status(500), status(500), status(500), say("again")) as server:
        assert isinstance(ask(server, times=2, retries=2), LLMUnavailable)
        assert ask(server, retries=2).text == "again"


def test_a_server_that_never_answered_is_fatal_once_the_retries_are_spent():
    with Loopback(status(500, "broken")) as server:
        error = ask(server, retries=2)
    assert isinstance(error, LLMFatal)
    assert "status 500" in str(error)
    assert len(server.requests) == 3


def test_a_server_that_stops_answering_ends_the_run_after_a_few_calls():
    with Loopback(say("x"), raw(b'{"choices": [{"mess')) as server:
        error = ask(server, times=20, concurrency=2)
    assert isinstance(error, LLMFatal)
    assert "6 calls in a row" in str(error)
    assert len(server.requests) == 7


# calls that cannot work


@pytest.mark.parametrize(
    ("answer", "way_out"),
    [
        (status(401, "Incorrect API key provided"), "OPENAI_API_KEY"),
        (status(402, "Insufficient Balance"), "top up the account"),
        (status(403, "not for you"), "check what the key"),
        (status(404, "The model `scripted` does not exist"), "check --model"),
        (status(400, "temperature must be 1"), "check --model and its settings"),
        (status(429, "You exceeded your quota", kind="insufficient_quota"), "top up the account"),
        (status(400, "Your credit balance is too low"), "top up the account"),
        (raw(b"<html>hello</html>", "text/html"), "check --api-base"),
        (raw(b"{}"), "check --api-base"),
        (raw(b"[1]"), "check --api-base"),
    ],
    ids=["key", "payment", "forbidden", "model", "request", "quota", "credit", "html", "object", "list"],
)
def test_what_cannot_work_ends_the_run_at_once_with_one_line(answer, way_out):
    started = time.monotonic()
    with Loopback(answer) as server:
        error = ask(server, times=2)
    assert isinstance(error, LLMFatal)
    assert way_out in str(error)
    assert "\n" not in str(error)
    assert str(error).startswith("openai/scripted: ")
    assert time.monotonic() - started < 10
    # neither a retry nor the second call reaches the server
    assert len(server.requests) == 1


def test_a_refused_request_is_not_fatal_once_the_model_has_answered():
    with Loopback(say("x"), status(400, "this prompt was flagged"), say("again")) as server:
        assert isinstance(ask(server, times=2), LLMUnavailable)
        assert ask(server).text == "again"


def test_calls_that_wait_for_their_turn_are_not_sent_after_a_refused_key():
    async def main() -> list[object]:
        config = LLMConfig("scripted", server.url, concurrency=2)
        async with LLM(config) as llm:
            return await asyncio.gather(*(llm.complete(MESSAGES) for _ in range(20)), return_exceptions=True)

    with Loopback(status(401)) as server:
        results = asyncio.run(main())
    assert all(isinstance(result, LLMFatal) for result in results)
    assert len(server.requests) == 2


def test_an_unreachable_server_is_named_within_seconds():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        server = Loopback(say("x"))
        server.url = url
        started = time.monotonic()
        error = ask(server)
    assert isinstance(error, LLMFatal)
    assert f"cannot reach {url}" in str(error)
    assert "start the server" in str(error)
    assert time.monotonic() - started < 10


# answers that break off


def test_an_endless_slow_answer_is_cut_at_the_time_limit_and_counts_as_paid():
    budget = Budget()
    started = time.monotonic()
    with Loopback(trickle()) as server:
        error = ask(server, budget, timeout_s=0.5, max_output_tokens=100)
    assert 0.5 <= time.monotonic() - started < 0.5 + 1.5
    assert isinstance(error, LLMUnavailable)
    assert "no complete answer in time" in str(error)
    assert budget.spent()["llm_calls"] == 1
    assert budget.spent()["tokens"] == error.spend["input_tokens"] + 100
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raw(b'{"choices": [{"mess'), "no complete JSON"),
        (hang_up(), "the connection broke"),
        (hang_up(b'{"choices": '), "the connection broke"),
        (status(504), "no answer in time"),
    ],
    ids=["truncated JSON", "reset", "half a body", "gateway"],
)
def test_an_answer_that_broke_off_is_not_paid_for_twice(answer, reason):
    budget = Budget()
    with Loopback(answer) as server:
        error = ask(server, budget)
    assert isinstance(error, LLMUnavailable)
    assert reason in str(error)
    assert len(server.requests) == 1
    assert budget.spent()["llm_calls"] == 1
    assert error.spend["usd"] == pytest.approx(budget.spent()["usd"])


def test_a_cancelled_call_counts_as_paid():
    budget = Budget()

    async def main() -> None:
        async with LLM(LLMConfig("scripted", server.url), budget) as llm:
            call = asyncio.create_task(llm.complete(MESSAGES))
            while not server.requests:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with Loopback(say("x", delay_s=30)) as server:
        asyncio.run(main())
    assert budget.spent()["llm_calls"] == 1
    assert budget.reserved()["llm_calls"] == 0
