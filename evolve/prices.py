"""What tokens cost.

Declared prices come first, then the table that litellm ships; never the network.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from evolve.errors import UserError

_TABLE = "model_prices_and_context_window_backup.json"
# Bytes of a prompt of shop/job_shop with two programs beside the parent; a byte is reserved as a token.
_USUAL_PROMPT = 16_000
_LARGEST_RATIO = 20.0


class Price(NamedTuple):
    """Dollars per million tokens."""

    input: float
    output: float  # reasoning included
    cached: float | None = None  # input that the provider had in its cache; None: as other input

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Dollars for one call; ``cached_tokens`` are among those of the input."""
        cached = self.input if self.cached is None else self.cached
        fresh = input_tokens - cached_tokens
        return (self.input * fresh + cached * cached_tokens + self.output * output_tokens) / 1e6


def parse_prices(texts: Iterable[str]) -> dict[str, Price]:
    """Prices from ``MODEL=IN,OUT`` texts, dollars per million tokens.

    Raises
    ------
    UserError
        If a text has another form or a price is negative or not finite.
    """
    prices = {}
    for text in texts:
        model, _, numbers = text.rpartition("=")
        try:
            input_, output = (float(number) for number in numbers.split(","))
            price = Price(input_, output)
        except (TypeError, ValueError):
            price = Price(math.nan, math.nan)
        if not model or not all(math.isfinite(p) and p >= 0 for p in price[:2]):
            raise UserError(
                f"--price {text!r}: write MODEL=IN,OUT in dollars per million tokens, e.g. my-model=0.5,1.5"
            )
        prices[model] = price
    return prices


def find_price(model: str, declared: Mapping[str, Price]) -> Price | None:
    """The price of a litellm model string, with or without its provider, or None if unknown."""
    provider, _, name = model.partition("/")
    for key in (model, name):
        if key in declared:
            return Price(*declared[key])
    table = _bundled()
    if model in table:
        return table[model][1]
    # The table has gpt-4o for openai/gpt-4o; the same name at another provider has another price.
    seller, price = table.get(name, ("", None))
    return price if seller.startswith(provider) else None


def call_usd(models: Sequence[str], declared: Mapping[str, Price], reply_tokens: int) -> dict[str, float]:
    """Dollars that one call of each model reserves, of a usual prompt and the largest reply.

    A free model counts as a twentieth of the dearest, since its child is evaluated like any other. Where
    the price of one is unknown, all count alike.
    """
    prices = [find_price(model, declared) for model in models]
    dollars = [0.0 if price is None else price.cost(_USUAL_PROMPT, reply_tokens) for price in prices]
    least = max(dollars) / _LARGEST_RATIO
    if None in prices or least == 0.0:
        return dict.fromkeys(models, 1.0)
    return {model: max(usd, least) for model, usd in zip(models, dollars, strict=True)}


def provider_of(model: str) -> str:
    """Who serves a litellm model string; openai where nothing is known."""
    provider, slash, _ = model.partition("/")
    return provider if slash else _bundled().get(model, ("openai", None))[0]


@lru_cache(maxsize=1)
def _bundled() -> dict[str, tuple[str, Price]]:
    """Model -> provider and price. Read from litellm's folder, since importing it costs seconds."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    table = {}
    for model, entry in json.loads((Path(spec.origin).parent / _TABLE).read_text(encoding="utf-8")).items():
        per_token = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
        provider = entry.get("litellm_provider", "")
        # Perplexity also charges each request, which no price per token covers.
        if provider == "perplexity" or any(not isinstance(p, int | float) for p in per_token):
            continue
        output = max(per_token[1], entry.get("output_cost_per_reasoning_token") or 0.0)
        cached = entry.get("cache_read_input_token_cost")
        # the worst case of a call, which is reserved, has no cached tokens: they must not cost more
        cached = min(cached, per_token[0]) * 1e6 if isinstance(cached, int | float) else None
        table[model] = (provider, Price(per_token[0] * 1e6, output * 1e6, cached))
    return table
