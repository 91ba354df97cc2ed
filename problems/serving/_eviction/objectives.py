"""Objectives of the problems with prefix caches."""

from __future__ import annotations

from problems.problem import Objective

UNCACHED = Objective(
    "uncached",
    "Prompt tokens computed",
    "% of prompt tokens",
    "mean",
    "uncached",
    resolution=0.002,
    relative=True,
)
WORST_KIND_TTFT = Objective(
    "worst_kind_ttft",
    "Mean time to first token of the kind that fares worst",
    "s",
    "mean",
    "worst_kind_ttft",
    resolution=0.005,
    relative=True,
)
