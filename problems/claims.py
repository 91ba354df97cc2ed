"""Claims: what papers say of their schedulers, each with the experiment that checks it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from problems.problem import Baseline

Verdict = Literal["reproduced", "direction only", "not reproduced", "not checkable"]

# Runs a rule on instance data and returns its verified solution.
Solve = Callable[[Baseline, Any], Any]

# A measured effect smaller than this says nothing of the direction.
_NO_EFFECT = 0.02


@dataclass(frozen=True)
class Claim:
    """One published statement, and how it is checked.

    It is *reproduced* if what is measured lies within ``tolerance`` (relative) of the published range,
    *direction only* if it lies on the same side of ``neutral``, else *not reproduced*; *not checkable*
    without an experiment.
    """

    paper: str  # short name and year
    text: str  # what is compared with what, in which metric
    published: str  # as the paper gives it
    low: float = 1.0  # the published figure, or the low end of the range
    high: float = 1.0
    unit: str = "x"
    setting: str = ""  # the experiment in one line, and how it differs from the paper's
    experiment: Callable[[Solve], float] | None = None
    tolerance: float = 0.25
    neutral: float = 1.0  # value that means no effect
    why: str = ""  # why it cannot be checked, or what explains a difference
    slow: bool = False  # the experiment takes long, or compiles for long: left out of a quick check

    def verdict(self, measured: float | None) -> Verdict:
        """What a measured value says of the claim."""
        if measured is None:
            return "not checkable"
        if self.low * (1 - self.tolerance) <= measured <= self.high * (1 + self.tolerance):
            return "reproduced"
        effect = measured / self.neutral - 1
        if abs(effect) > _NO_EFFECT and (effect > 0) == (self.low > self.neutral):
            return "direction only"
        return "not reproduced"
