"""Paired differences between two programs on the same instances, with 95 % intervals.

Two programs meet the same instances (common random numbers), so differences are taken instance
by instance. Instances are treated as independent draws from one population: groups are equal in
size but not stratified, which leaves the spread between groups in the interval and errs towards
wider ones. The intervals hold for one comparison that was planned; the best of many programs
needs instances that did not choose it.

References
----------
.. [1] Efron (1987), "Better bootstrap confidence intervals", JASA 82(397):171-185.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from evaluators.outcome import Ok
from problems.problem import Instance, Objective, Problem

LEVEL = 0.95
_RESAMPLES = 9999
_SEED = 20020615  # fixed: the same two outcomes always print the same interval


class Paired(NamedTuple):
    """Objective of a minus objective of b over n paired instances, with its interval.

    The interval is unbounded where none can be formed (fewer than two pairs), and a single point
    where all pairs differ equally.
    """

    difference: float
    low: float
    high: float
    n: int


def compare(problem: Problem, objective: Objective, a: Ok, b: Ok, instances: Sequence[Instance]) -> Paired:
    """Difference a - b of one objective, in its unit, with a 95 % interval.

    A mean of per-instance values (kinds ``mean`` and ``gap``) gets Student's interval of the
    paired differences; a ratio of sums, and decision times with their heavy tail, get the
    bias-corrected and accelerated bootstrap over instances [1]_. Instances without a value for
    both programs are dropped.

    Raises
    ------
    ValueError
        If the objective is not the problem's, or an outcome does not belong to these instances.
    """
    if objective not in problem.objectives:
        raise ValueError(f"{objective.name} is not an objective of {problem.name}")
    for name, outcome in (("first", a), ("second", b)):
        if len(outcome.values[objective.name]) != len(instances):
            raise ValueError(
                f"the {name} outcome has {len(outcome.values[objective.name])} values of {objective.name}, "
                f"but there are {len(instances)} instances: evaluate both programs on the same split"
            )
    if objective.kind == "ratio_of_sums":
        return _ratio(*_sums(objective, a, b, instances))
    pairs = np.array([a.values[objective.name], b.values[objective.name]], dtype=float).reshape(2, -1)
    differences = (pairs[0] - pairs[1])[np.isfinite(pairs).all(axis=0)]
    return _ratio(differences, np.ones_like(differences)) if objective.kind == "decision_time" else _mean(differences)


def side(objective: Objective, low: float, high: float) -> Literal["better", "worse", "open"]:
    """Where an interval of a difference lies: wholly on the better side of 0, on the worse, or across."""
    losses = sorted((objective.loss(low), objective.loss(high)))
    return "better" if losses[1] < 0 else "worse" if losses[0] > 0 else "open"


def _mean(differences: np.ndarray) -> Paired:
    """Student's interval of the mean of (n,) differences."""
    from scipy import stats

    n = len(differences)
    if n == 0:
        return Paired(math.nan, -math.inf, math.inf, 0)
    center = float(differences.mean())
    if n == 1:
        return Paired(center, -math.inf, math.inf, 1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return Paired(center, center - half, center + half, n)


def _sums(objective: Objective, a: Ok, b: Ok, instances: Sequence[Instance]) -> tuple[np.ndarray, np.ndarray]:
    """Per-instance terms of 100 (sum a - sum b) / sum reference: numerators and denominators."""
    top, bottom = [], []
    for x, y, instance in zip(a.raw[objective.of], b.raw[objective.of], instances, strict=True):
        reference = instance.references.get(objective.of)
        if reference is not None and math.isfinite(x) and math.isfinite(y):
            top.append(100.0 * (x - y))
            bottom.append(reference.value)
    return np.array(top, dtype=float), np.array(bottom, dtype=float)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> Paired:
    """Bootstrap interval of sum(top) / sum(bottom) over paired (n,) terms.

    A resample whose denominators sum to zero (tiny sets with zero references) has no ratio; where
    one turns up, no interval is formed.
    """
    from scipy import stats

    n = len(top)
    if n == 0 or bottom.sum() <= 0:
        return Paired(math.nan, -math.inf, math.inf, n)
    ratio = float(top.sum() / bottom.sum())
    if n == 1:
        return Paired(ratio, -math.inf, math.inf, 1)
    if np.allclose(top, ratio * bottom, rtol=1e-12, atol=0.0):
        return Paired(ratio, ratio, ratio, n)  # every resample gives the same: BCa would divide 0 by 0
    with np.errstate(divide="ignore", invalid="ignore"):
        interval = stats.bootstrap(
            (top, bottom),
            lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=1000,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Paired(ratio, -math.inf, math.inf, n)
    return Paired(ratio, low, high, n)
