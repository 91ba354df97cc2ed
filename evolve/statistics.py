"""Paired differences between two programs on the same instances, with 95 % intervals.

Two programs meet the same instances (common random numbers), so differences are taken instance
by instance. Instances are treated as independent draws from one population: groups are equal in
size but not stratified, which leaves the spread between groups in the interval and errs towards
wider ones. The intervals of ``compare`` hold for one comparison that was planned; the best of many
programs read on the same instances needs ``compare_chosen``, whose interval knows of the choice.

References
----------
.. [1] Efron (1987), "Better bootstrap confidence intervals", JASA 82(397):171-185.
.. [2] Romano and Wolf (2005), "Exact and approximate stepdown methods for multiple hypothesis
   testing", JASA 100(469):94-108.
.. [3] Hansen (2005), "A test for superior predictive ability", Journal of Business & Economic Statistics
   23(4):365-380.
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
# Share of a difference's standard error that a resample's own is not taken below: low enough to leave skewed
# samples to the bootstrap, high enough to keep an interval where two programs differ on few instances.
_LEAST_ERROR = 0.25
_FEW = 16
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
    _check(problem, objective, a, b, instances)
    top, bottom = _terms(objective, a, b, instances)
    known = np.isfinite(top)
    plain = objective.kind not in ("ratio_of_sums", "decision_time")
    return _mean(top[known]) if plain else _ratio(top[known], bottom[known])


def standard_error(problem: Problem, objective: Objective, a: Ok, b: Ok, instances: Sequence[Instance]) -> float:
    """Standard error of the paired difference a - b, in the objective's unit; NaN with fewer than two pairs.

    How far the difference would scatter if other instances of the same population had been drawn; of a ratio
    of sums by linearisation.

    Raises
    ------
    ValueError
        As ``compare`` does.
    """
    _check(problem, objective, a, b, instances)
    top, bottom = _terms(objective, a, b, instances)
    known = np.isfinite(top)
    top, bottom = top[known], bottom[known]
    if len(top) < 2 or bottom.sum() <= 0:
        return math.nan
    left = top - top.sum() / bottom.sum() * bottom
    return float(_errors(np.square(left).sum(), bottom.sum(), len(bottom)))


def compare_chosen(
    problem: Problem, objective: Objective, chosen: Ok, others: Sequence[Ok], bar: Ok, instances: Sequence[Instance]
) -> Paired:
    """Difference chosen - bar where ``chosen`` is the best of several programs read on these instances.

    The best of k programs is flattered by having been chosen. The interval is the one that holds
    for all k differences to ``bar`` together with 95 %: the quantiles of the largest and of the
    smallest of their studentised differences, bootstrapped over instances [2]_. Programs that
    decide alike count almost as one, which is less strict than dividing the level by k, and a
    skewed spread is allowed for, which Student's quantiles are not. The interval is never narrower
    than that of ``compare``.

    A program that is clearly worse than ``bar`` could not have been the chosen one by luck, so it does
    not widen the interval on the side that a claim of improvement rests on: worse by more than
    sqrt(2 log log n) of its standard errors, the threshold of [3]_. A front holds many such: fast and poor.

    Parameters
    ----------
    others
        The programs that ``chosen`` was preferred to, on the same instances.
    """
    single = compare(problem, objective, chosen, bar, instances)
    if not others or not math.isfinite(single.low) or single.low == single.high:
        return single
    terms = [_terms(objective, outcome, bar, instances) for outcome in (chosen, *others)]
    known = np.isfinite(terms[0][0])
    top, bottom = np.array([row for row, _ in terms]).T[known], terms[0][1][known]
    ratio = np.nansum(top, axis=0) / bottom.sum()
    left = np.where(np.isfinite(top), top - ratio * bottom[:, None], 0.0)  # what the mean does not explain
    varied = np.abs(left).max(axis=0) > 1e-12 * np.abs(ratio) * bottom.mean()  # a constant has no error
    errors = _errors(np.square(left).sum(axis=0), bottom.sum(), len(bottom))
    turned = np.sign(objective.loss(1.0))
    rivals = varied & (turned * ratio <= _clearly_worse(len(bottom)) * errors)
    rivals[0] = True
    low, high = _extreme_quantiles(left[:, varied], bottom, rivals[varied], turned)
    error = errors[0]
    if not (math.isfinite(low) and math.isfinite(high)):
        return Paired(single.difference, -math.inf, math.inf, single.n)
    least, most = single.difference - high * error, single.difference - low * error
    return Paired(single.difference, float(min(least, single.low)), float(max(most, single.high)), single.n)


def _check(problem: Problem, objective: Objective, a: Ok, b: Ok, instances: Sequence[Instance]) -> None:
    if objective not in problem.objectives:
        raise ValueError(f"{objective.name} is not an objective of {problem.name}")
    for name, outcome in (("first", a), ("second", b)):
        if len(outcome.values[objective.name]) != len(instances):
            raise ValueError(
                f"the {name} outcome has {len(outcome.values[objective.name])} values of {objective.name}, "
                f"but there are {len(instances)} instances: evaluate both programs on the same split"
            )


def _clearly_worse(n: int) -> float:
    """How many standard errors are too many for chance, over n instances; on few the asymptotic rule is too bold."""
    return math.sqrt(2.0 * math.log(math.log(max(n, _FEW))))


def _extreme_quantiles(left: np.ndarray, bottom: np.ndarray, rivals: np.ndarray, turned: float) -> tuple[float, float]:
    """The lower tail of the smallest and the upper tail of the largest of k studentised errors.

    Parameters
    ----------
    left : (n, k) array
        Residuals of k ratios over n instances.
    bottom : (n,) array
        Their common denominators.
    rivals : (k,) bool array
        Which of them count on the side of an improvement.
    turned : float
        1 where lower is better, so that an improvement rests on the lower tail, else -1.
    """
    n = len(bottom)
    weights = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float)
    total = (weights @ bottom)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (weights @ left) / total
        squares = weights @ left**2 - 2 * shift * (weights @ (left * bottom[:, None]))
        squares += shift**2 * (weights @ bottom**2)[:, None]
        # A resample that misses the few instances on which two programs differ has no spread of its own.
        least = _LEAST_ERROR * _errors(np.square(left).sum(axis=0), bottom.sum(), n)
        studentised = shift / np.maximum(_errors(squares, total, n), least)
    if not np.isfinite(studentised).all():
        return -math.inf, math.inf
    tail = (1 - LEVEL) / 2
    below, above = (studentised[:, rivals], studentised) if turned > 0 else (studentised, studentised[:, rivals])
    return float(np.quantile(below.min(axis=1), tail)), float(np.quantile(above.max(axis=1), 1 - tail))


def _errors(squares: np.ndarray | float, total: float | np.ndarray, n: int) -> np.ndarray:
    """Standard errors of ratios from sums of squared residuals and the sum of denominators."""
    found: np.ndarray = np.sqrt(np.maximum(squares, 0.0) * n / (n - 1)) / total
    return found


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


def _terms(objective: Objective, a: Ok, b: Ok, instances: Sequence[Instance]) -> tuple[np.ndarray, np.ndarray]:
    """Per instance, what the difference a - b is a ratio of sums of: numerators, denominators.

    100 (a - b) and the reference for a ratio of sums, else a - b and 1; NaN where there is none.
    """
    if objective.kind != "ratio_of_sums":
        first, second = (np.array(outcome.values[objective.name], dtype=float) for outcome in (a, b))
        return _finite(first - second), np.ones(len(instances))
    pairs = zip(a.raw[objective.of], b.raw[objective.of], strict=True)
    references = [instance.references.get(objective.of) for instance in instances]
    bottom = np.array([math.nan if r is None else r.value for r in references], dtype=float)
    top = _finite(np.array([100.0 * (x - y) for x, y in pairs], dtype=float))
    return np.where(np.isfinite(bottom), top, math.nan), bottom


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, math.nan)


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
