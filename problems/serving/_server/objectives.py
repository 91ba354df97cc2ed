"""Objectives that several problems of serving share."""

from __future__ import annotations

from problems.problem import Objective

MEAN_TTFT = Objective(
    "mean_ttft", "Mean time to first token", "s", "mean", "mean_ttft", resolution=0.005, relative=True
)
P99_TTFT = Objective(
    "p99_ttft", "99th percentile of time to first token", "s", "mean", "p99_ttft", resolution=0.01, relative=True
)
NORMALISED_LATENCY = Objective(
    "normalised_latency",
    "Mean latency per output token",
    "ms/token",
    "mean",
    "normalised_latency",
    resolution=0.005,
    relative=True,
)
SLO_ATTAINMENT = Objective(
    "slo_attainment",
    "Requests whose promises are kept",
    "%",
    "mean",
    "slo_attainment",
    direction="max",
    resolution=0.1,
)
DECISION_TIME = Objective("decision_time", "Time per request", "ns", "decision_time", resolution=0.25, relative=True)
