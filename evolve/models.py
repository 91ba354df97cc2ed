"""Which models are asked and how: settings of one model, its replies, and settings per model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from evolve.errors import UserError
from evolve.keys import redact
from evolve.prices import provider_of

USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class LLMConfig:
    """How one model is called."""

    model: str  # a litellm model string; with api_base the server's name for it, with or without openai/
    api_base: str | None = None  # an OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1
    api_key_env: str | None = None  # environment variable with the key; None: the provider's usual one
    temperature: float | None = None  # None: the model's default; many reasoning models take no other
    max_output_tokens: int = 8192  # reasoning included
    reasoning_effort: str | None = None
    timeout_s: float = 300.0  # wall clock of one call, retries included
    retries: int = 8
    concurrency: int = 8  # requests at once
    requests_per_minute: float | None = None  # None: as many as come

    def __post_init__(self) -> None:
        if not self.model:
            raise UserError("the model's name is empty")
        if self.api_base is not None:
            address = urlsplit(self.api_base)
            if address.username or address.password:
                raise UserError("--api-base must not contain a name or password: put the key into OPENAI_API_KEY")
            if address.scheme not in ("http", "https") or not address.hostname:
                raise UserError(
                    f"--api-base must be a URL like http://127.0.0.1:8000/v1, got {redact(self.api_base)!r}"
                )
        for name, least in (("max_output_tokens", 1), ("retries", 0), ("concurrency", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("timeout_s", "requests_per_minute"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} must be positive and finite, got {value}")

    @property
    def key_name(self) -> str:
        """The environment variable that the key is expected in."""
        provider = "openai" if self.api_base else provider_of(self.model)
        return self.api_key_env or f"{provider.upper()}_API_KEY"


@dataclass(frozen=True)
class Reply:
    """A model's answer and what it cost; tokens are the reserved worst case where the server counts none."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int  # reasoning included
    usd: float | None  # None: no price known
    seconds: float  # from the question to the answer, waiting and retries included
    finish: str = ""  # "length": cut at max_output_tokens
    label: str = ""
    cached_tokens: int = 0  # of the input tokens, those the provider had in its cache
    reasoning_tokens: int = 0  # of the output tokens, those that are not in the text
    flaw: str = ""  # why there is no text to use: a refusal, a tool call, nothing at all

    @property
    def spend(self) -> dict[str, object]:
        """What the journal keeps of the call."""
        names = ("model", *USAGE, "usd", "seconds")
        return {"reply": self.text, **{name: getattr(self, name) for name in names}}


def per_model(setting: str, texts: Iterable[str], models: Sequence[str], *, whole: bool = False) -> dict[str, float]:
    """A number for each model that one is given for.

    A text is ``NUMBER``, for every model, or ``MODEL=NUMBER``, which wins. It is split at its last
    ``=``, and the model must be one of those named: a model's own name may hold any character.

    Raises
    ------
    UserError
        If a text has another form, names another model or its number is negative, not finite or not ``whole``.
    """
    flag = "--" + setting.replace("_", "-")
    common: dict[str, float] = {}
    own: dict[str, float] = {}
    for text in texts:
        model, _, number = text.rpartition("=")
        if model and model not in models:
            raise UserError(f"{flag} {text!r}: {model} is none of the models: {', '.join(models)}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0) or (whole and value % 1):
            raise UserError(f"{flag} {text!r}: write NUMBER, or MODEL=NUMBER, e.g. {models[0]}=2")
        if model:
            own[model] = value
        else:
            common = dict.fromkeys(models, value)
    return common | own
