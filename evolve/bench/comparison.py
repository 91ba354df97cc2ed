"""Which of several strategies is better, and how sure that is.

Every strategy has one loss per problem and seed. Nothing is averaged across problems but ranks and
probabilities, so units and scales do not matter.

References
----------
.. [1] Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical
   precipice", NeurIPS 34 (probability of improvement, stratified bootstrap over runs).
.. [2] Friedman (1937), "The use of ranks to avoid the assumption of normality implicit in the
   analysis of variance", JASA 32(200):675-701 (mean ranks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_RESAMPLES = 2000
_SEED = 20210817  # fixed: the same losses always print the same intervals

Losses = Mapping[str, Mapping[str, np.ndarray]]  # strategy -> problem -> (seeds,) losses


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_ranks(losses: Losses) -> dict[str, Estimate]:
    """Mean rank of each strategy over problems and seeds, 1 the best; ties share their ranks.

    Strategies meet the same seeds, so ranks are taken seed by seed, and whole seeds are resampled
    within each problem.
    """
    names = list(losses)
    ranks = {
        problem: _ranks(np.array([losses[name][problem] for name in names])) for problem in _problems(losses)
    }  # (strategies, seeds) each
    rng = np.random.default_rng(_SEED)
    resampled = np.empty((_RESAMPLES, len(names)))
    for k in range(_RESAMPLES):
        means = [rank[:, rng.integers(rank.shape[1], size=rank.shape[1])].mean(axis=1) for rank in ranks.values()]
        resampled[k] = np.mean(means, axis=0)
    value = np.mean([rank.mean(axis=1) for rank in ranks.values()], axis=0)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return {name: Estimate(float(value[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}


def improvement(losses: Losses, a: str, b: str) -> Estimate:
    """Probability that a run of a ends better than a run of b, ties counting half.

    The mean over problems of the share of pairs of runs that a wins; the runs of either strategy
    are resampled within each problem.
    """
    problems = _problems(losses)
    pairs = [(losses[a][problem], losses[b][problem]) for problem in problems]
    rng = np.random.default_rng(_SEED)
    resampled = [
        np.mean([_wins(x[rng.integers(len(x), size=len(x))], y[rng.integers(len(y), size=len(y))]) for x, y in pairs])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(np.mean([_wins(x, y) for x, y in pairs])), float(low), float(high))


def _problems(losses: Losses) -> list[str]:
    return list(next(iter(losses.values())))


def _wins(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((x[:, None] < y[None, :]) + 0.5 * (x[:, None] == y[None, :])))


def _ranks(losses: np.ndarray) -> np.ndarray:
    """(strategies, seeds) ranks from 1 within each seed."""
    below = (losses[None, :, :] < losses[:, None, :]).sum(axis=1)
    equal = (losses[None, :, :] == losses[:, None, :]).sum(axis=1)
    return 1.0 + below + (equal - 1) / 2
