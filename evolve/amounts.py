"""The resources of a budget: their caps, and amounts as whole units that add up exactly."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction

COUNTS = ("evaluations", "llm_calls", "input_tokens", "output_tokens", "tokens")
RESERVABLE = (*COUNTS, "usd")
# Dollars are kept as whole picodollars: a sum of floats could pass a cap by rounding.
_PER_DOLLAR = 10**12


@dataclass(frozen=True)
class BudgetLimits:
    """Caps of one run; None is unlimited.

    Raises
    ------
    ValueError
        If a cap is negative, not a number, or a count is not whole.
    """

    evaluations: int | None = None
    llm_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None  # reasoning included
    tokens: int | None = None  # input and output together
    usd: float | None = None
    seconds: float | None = None  # wall clock

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or (value == math.inf and field.name not in COUNTS):
                continue
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"budget {field.name} must be a number that is not negative, got {value}")
            if field.name in COUNTS and value != int(value):
                raise ValueError(f"budget {field.name} must be a whole number, got {value}")


def to_units(name: str, amount: float) -> int:
    """An amount to book, in whole units; dollars are rounded up.

    Raises
    ------
    ValueError
        If the resource is unknown, or the amount negative, not finite or (counts) not whole.
    """
    if name not in RESERVABLE:
        raise ValueError(f"unknown budget resource {name!r}; known: {', '.join(RESERVABLE)}")
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {amount}")
    if name == "usd":
        return math.ceil(Fraction(amount) * _PER_DOLLAR)
    if amount != int(amount):
        raise ValueError(f"{name} must be a whole number, got {amount}")
    return int(amount)


def cap_units(name: str, limit: float | None) -> int | None:
    """A cap in whole units; dollars are rounded down."""
    if limit is None or limit == math.inf:
        return None
    return math.floor(Fraction(limit) * _PER_DOLLAR) if name == "usd" else int(limit)


def from_units(name: str, units: int) -> float:
    """The amount that units stand for."""
    return units / _PER_DOLLAR if name == "usd" else units


def show_units(name: str, units: int) -> str:
    """Units in words."""
    return f"{units / _PER_DOLLAR:.4f}" if name == "usd" else f"{units:,}"
