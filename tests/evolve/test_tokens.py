"""Bounds on the tokens of a prompt: above what the tokenizer counts, without the network."""

import socket

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from evolve import tokens
from evolve.tokens import counter, most_tokens

PROSE = "Weigh the remaining work of a job against the time that is left until its due date. " * 50


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("model", "encoding"), [("openai/gpt-4o", "o200k_base"), ("gpt-5-mini", "o200k_base"), ("gpt-4", "cl100k_base")]
)
def test_openai_models_are_counted_by_their_own_tokenizer(model, encoding):
    exact = len(tiktoken.get_encoding(encoding).encode(PROSE)) if counter(model) else -1
    assert counter(model)(PROSE) == exact
    messages = [{"role": "user", "content": PROSE}]
    # 4 tokens per message and 3 per reply are what the chat format adds
    assert exact + 7 <= most_tokens(messages, counter(model)) < most_tokens(messages) / 3


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "groq/llama-3.3-70b", "gemini/gemini-2.5-flash", "x/y"])
def test_a_model_with_an_unknown_tokenizer_is_counted_by_bytes(model):
    assert counter(model) is None


def test_a_server_of_ones_own_may_serve_another_model_under_the_name(monkeypatch):
    assert counter("openai/gpt-4o", "http://127.0.0.1:8000/v1") is None
    assert counter("gpt-4o", "https://api.openai.com/v1") is not None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert counter("gpt-4o") is None


def test_a_tokenizer_that_is_not_bundled_is_not_downloaded(monkeypatch):
    monkeypatch.setattr(tokens, "_ADDRESS", "https://nowhere.example/{}")
    tokens._tiktoken.cache_clear()
    assert counter("openai/gpt-4o") is None
    tokens._tiktoken.cache_clear()


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_the_bound_is_never_below_the_count_nor_above_the_bytes(texts):
    messages = [{"role": "user", "content": text} for text in texts]
    count = counter("openai/gpt-4o")
    assert sum(map(count, texts)) < most_tokens(messages, count) <= most_tokens(messages)
