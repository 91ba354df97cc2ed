"""Mixtures of log-normal distributions: lengths, gaps and pauses of the workloads."""

from __future__ import annotations

from math import erf, exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np


def _normal_below(z: float) -> float:
    return 0.5 * (1 + erf(z / sqrt(2)))


class Mixture(NamedTuple):
    """A mixture of log-normal components in one or more dimensions, independent within a component."""

    weights: tuple[float, ...]  # (K,), any scale
    medians: tuple[tuple[float, ...], ...]  # (K, D), > 0
    spreads: tuple[tuple[float, ...], ...]  # (K, D), standard deviation of the logarithm, > 0
    low: tuple[float, ...]  # (D,), values are cut to low..high
    high: tuple[float, ...]

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, D) float64 values."""
        weights = np.array(self.weights)
        component = rng.choice(len(weights), size=count, p=weights / weights.sum())
        centre, spread = np.log(self.medians)[component], np.array(self.spreads)[component]
        drawn = np.exp(centre + spread * rng.standard_normal(centre.shape))
        return np.clip(drawn, self.low, self.high)

    def mean(self, dimension: int = 0) -> float:
        """Mean of one dimension, with the cut."""
        low, high = self.low[dimension], self.high[dimension]
        total = 0.0
        for weight, medians, spreads in zip(self.weights, self.medians, self.spreads, strict=True):
            median, spread = medians[dimension], spreads[dimension]
            below = (log(low / median) / spread) if low > 0 else -inf
            above = (log(high / median) / spread) if high < inf else inf
            inside = _normal_below(above - spread) - _normal_below(below - spread)
            part = median * exp(spread**2 / 2) * inside + low * _normal_below(below)
            total += weight * (part + (high * (1 - _normal_below(above)) if high < inf else 0.0))
        return total / sum(self.weights)


def log_normal(median: float, spread: float, low: float = 0.0, high: float = inf) -> Mixture:
    """One component in one dimension."""
    return Mixture((1.0,), ((median,),), ((spread,),), (low,), (high,))
