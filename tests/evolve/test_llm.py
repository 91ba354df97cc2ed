"""LLM access over real HTTP, against a loopback server with scripted answers."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
import traceback
from types import SimpleNamespace

import httpx
import openai
import pytest
import warp
from loopback import Loopback, completion, hang_up, raw, say, status, trickle

from evolve import answers
from evolve.answers import retry_after
from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.errors import UserError
from evolve.keys import redact
from evolve.llm import LLM, LLMConfig, LLMFatal, LLMUnavailable, Reply
from evolve.prices import find_price, parse_prices

MESSAGES = [{"role": "system", "content": "You write rules."}, {"role": "user", "content": "Write one."}]
KEY = "sk-planted-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A planted key, no proxy, and short pauses between attempts."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(answers, "_FIRST_PAUSE_S", 0.02)


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

    import httpx

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


# budgets


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
    assert find_price("openai/gpt-4o", {}) == find_price("gpt-4o", {}) == (2.5, 10.0)
    assert find_price("openai/gpt-4o", {"gpt-4o": (1.0, 2.0)}) == (1.0, 2.0)
    assert find_price("somewhere/gpt-4o", {}) is None
    assert find_price("mystery", {}) is None


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
    assert parse_prices(["a/b=0.5,1.5", "c=0,0"]) == {"a/b": (0.5, 1.5), "c": (0.0, 0.0)}
    for bad in ("a", "a=1", "a=1,2,3", "=1,2", "a=x,1", "a=-1,1", "a=nan,1"):
        with pytest.raises(UserError, match="MODEL=IN,OUT"):
            parse_prices([bad])


# keys and settings


@pytest.mark.parametrize(
    "answer", [status(401, f"Bad key {KEY}"), status(500, f"{KEY}"), raw(b"{"), hang_up(), trickle()]
)
def test_a_planted_key_shows_up_nowhere(answer, caplog, capfd):
    caplog.set_level(0)
    with Loopback(answer) as server:
        error = ask(server, retries=1, timeout_s=1.0)
        llm = LLM(LLMConfig("scripted", server.url))
    assert isinstance(error, LLMFatal | LLMUnavailable)
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(llm) + repr(llm.config) + repr(vars(llm))
    shown += repr(getattr(error, "spend", ""))
    chain, seen = error, []
    while chain is not None:
        seen.append(repr(chain))
        chain = chain.__cause__ or chain.__context__
    printed = capfd.readouterr()
    assert KEY not in shown + "".join(seen) + caplog.text + printed.out + printed.err
    assert server.requests[0].key == KEY


def test_redaction_knows_keys_tokens_and_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("APP_SECRET", "hf_abcdefgh-longer")
    monkeypatch.setenv("SHORT_KEY", "none")
    assert redact("hf_abcdefgh and hf_abcdefgh-longer, none") == "[redacted] and [redacted], none"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": ""}, "model"),
        ({"api_base": "localhost:8000"}, "--api-base"),
        ({"api_base": "http://me:secret@host/v1"}, "--api-base must not contain"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"retries": -1}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"requests_per_minute": 0.0}, "requests_per_minute"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, named):
    with pytest.raises(UserError, match=named) as caught:
        LLMConfig(**{"model": "m", **settings})
    assert "secret" not in str(caught.value)


# litellm


def ask_litellm(monkeypatch, server: Loopback, **config) -> Reply | BaseException:
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return ask(server, api_base=None, **config)


def test_litellm_replies_and_retries_like_the_plain_client(monkeypatch):
    with Loopback(status(429, retry_after=1), status(500), say("Hello.", usage=(70, 7))) as server:
        reply = ask_litellm(monkeypatch, server, temperature=0.5)
    assert (reply.text, reply.input_tokens, reply.output_tokens, reply.finish) == ("Hello.", 70, 7, "stop")
    assert len(server.requests) == 3
    assert server.requests[1].at - server.requests[0].at >= 1.0
    assert server.requests[0].key == KEY
    assert server.requests[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (status(401, f"Bad key {KEY}"), LLMFatal, "the key was refused: Bad key [redacted]"),
        (status(404, "no such model"), LLMFatal, "unknown model or address: no such model"),
        (raw(b"<html>", "text/html"), LLMFatal, "no chat completion came back"),
        (raw(b'{"choices": [{"mess'), LLMUnavailable, "no complete JSON"),
        (hang_up(), LLMUnavailable, "the connection broke"),
        (trickle(), LLMUnavailable, "no complete answer in time"),
    ],
    ids=["key", "model", "html", "truncated", "reset", "slow"],
)
def test_litellm_failures_mean_what_they_are(monkeypatch, capfd, answer, kind, reason):
    with Loopback(answer) as server:
        error = ask_litellm(monkeypatch, server, timeout_s=1.0)
    assert type(error) is kind
    assert reason in str(error)
    assert len(server.requests) == 1
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_litellm_without_a_key_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with Loopback(say("x")) as server:
        error = ask_litellm(monkeypatch, server)
    assert isinstance(error, LLMFatal)
    assert "OPENAI_API_KEY" in str(error)


def test_litellm_with_an_unknown_provider_is_fatal(monkeypatch):
    with Loopback(say("x")) as server:
        error = ask_litellm(monkeypatch, server, model="nosuchprovider/foo")
    assert isinstance(error, LLMFatal)
    assert "check --model" in str(error)
    assert "\n" not in str(error)
