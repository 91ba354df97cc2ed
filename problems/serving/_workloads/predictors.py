"""What a predictor of output lengths says at arrival: the truth, with an error of a stated size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

KINDS = {
    "oracle": "the true length",
    "constant": "the mean of all lengths",
    "log-normal": "the true length times a log-normal error of median 1; value: its spread, >= 0",
    "rank": "the same, with the spread that gives this rank correlation (Spearman); value in (0, 1]",
    "mae": "the same, with the spread that gives this mean absolute error over the mean length; value >= 0",
    "bucket": "the mean of the true length's bucket, or of a neighbour; value: accuracy, in [0, 1]",
}
WIDEST = 16.0  # spread beyond which nothing is left of the truth
FEW = 1000
BUCKETS = 10


def predict(output_tokens: np.ndarray, kind: str, value: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) float64 predicted lengths, > 0.

    Parameters
    ----------
    output_tokens : (n,) array
        True lengths, >= 1.
    kind, value : str, float
        One of KINDS, and the number it asks for.
    rng : Generator
        Draws one error per request, the same ones whatever the value: errors grow with it, and are comparable.

    Raises
    ------
    ValueError
        If there is no such kind, or the value is outside its range.
    """
    true = np.asarray(output_tokens, dtype=np.float64)
    error = rng.standard_normal(len(true))
    if kind == "oracle":
        return true
    if kind == "constant":
        return np.full(len(true), true.mean())
    if kind == "log-normal":
        _check(kind, value, value >= 0)
        return true * np.exp(value * error)
    if kind == "rank":
        _check(kind, value, 0 < value <= 1)
        return true * np.exp(_spread(lambda a, b: -_spearman(a, b), -value, true, error) * error)
    if kind == "mae":
        _check(kind, value, value >= 0)
        return true * np.exp(_spread(_relative_error, value, true, error) * error)
    if kind == "bucket":
        _check(kind, value, 0 <= value <= 1)
        return _bucketed(true, value, rng)
    raise ValueError(f"unknown predictor {kind!r}; known: {', '.join(KINDS)}")


def _check(kind: str, value: float, holds: Any) -> None:
    if not holds:
        raise ValueError(f"predictor {kind!r}: {KINDS[kind]}; got {value}")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, with the mean rank for ties."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    x, y = _ranks(a), _ranks(b)
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return 1.0
    return float(np.corrcoef(x, y)[0, 1])


def _relative_error(true: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(predicted - true).mean() / true.mean())


def _spread(
    measure: Callable[[np.ndarray, np.ndarray], float], wanted: float, true: np.ndarray, error: np.ndarray
) -> float:
    """Spread of the error at which a measure of (true, predicted) that grows with it is what is wanted."""
    if len(true) < FEW:  # what a handful of draws says is not the predictor's quality
        true, error = np.resize(true, 4 * FEW), np.random.default_rng(0).standard_normal(4 * FEW)
    low, high = 0.0, WIDEST
    if measure(true, true) >= wanted or true.min() == true.max():
        return low
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if measure(true, true * np.exp(middle * error)) < wanted else (low, middle)
    return high


def _bucketed(true: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Ten buckets of equal number; a wrong answer is one of the two neighbours."""
    edges = np.unique(np.quantile(true, np.linspace(0, 1, BUCKETS + 1)[1:-1]))
    bucket = np.searchsorted(edges, true, side="left")
    number = len(edges) + 1
    totals, sizes = np.bincount(bucket, true, number), np.bincount(bucket, minlength=number)
    means = np.divide(totals, sizes, out=np.full(number, true.mean()), where=sizes > 0)
    wrong = rng.random(len(true)) >= accuracy
    said = np.clip(bucket + np.where(wrong, rng.choice((-1, 1), len(true)), 0), 0, number - 1)
    return means[said]
