"""Keys and settings of a model, and the way through litellm."""

from __future__ import annotations

import traceback

import pytest
from asking import KEY, ask
from loopback import Loopback, completion, hang_up, raw, say, status, trickle

from evolve.budget import Budget
from evolve.errors import UserError
from evolve.keys import redact
from evolve.llm import LLM, LLMConfig, LLMFatal, LLMUnavailable, Reply

pytestmark = pytest.mark.usefixtures("planted_key")


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
        timeout_s = 1.0 if "in time" in reason else 20.0  # the first call imports litellm
        error = ask_litellm(monkeypatch, server, timeout_s=timeout_s)
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


def test_tokens_from_the_cache_are_paid_at_the_cached_price_and_reasoning_as_output(monkeypatch):
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "total_tokens": 1050,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    budget = Budget()
    with Loopback(completion({"choices": [{"message": {"content": "x"}}], "usage": usage}, usage=None)) as server:
        reply = ask_litellm(monkeypatch, server, budget=budget, model="openai/gpt-4o")
    # 2.50, 1.25 and 10 dollars per million
    assert reply.usd == pytest.approx((400 * 2.5 + 600 * 1.25 + 50 * 10.0) / 1e6)
    assert budget.spent()["usd"] == pytest.approx(reply.usd)
