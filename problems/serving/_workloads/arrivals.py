"""When requests arrive: gamma or mixture gaps, slow change and bursts of the rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems.serving._workloads.mixtures import Mixture

PROFILE_STEP_S = 1.0


class Arrivals(NamedTuple):
    """A point process with a mean rate: gaps between arrivals, in a time that runs with the rate's profile."""

    rate_per_s: float
    cv: float = 1.0  # coefficient of variation of gamma gaps; 1: Poisson
    gaps: Mixture | None = None  # instead of gamma gaps; scaled to the rate
    swing: float = 0.0  # amplitude of a sine on the rate, in [0, 1)
    period_s: float = 86400.0
    bursts_per_hour: float = 0.0
    burst_factor: float = 1.0  # the rate in a burst, over the one outside
    burst_s: float = 60.0  # mean length of a burst


def arrival_times(arrivals: Arrivals, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) float64 ascending arrival times in seconds, the first at or after 0.

    The rate's profile has mean 1 over the horizon of the arrivals, so that bursts move load and do not add any.

    Raises
    ------
    ValueError
        If a number of ``arrivals`` is impossible.
    """
    _check(arrivals)
    if arrivals.gaps is None:
        gaps = rng.gamma(arrivals.cv**-2, arrivals.cv**2, size=count)
    else:
        gaps = arrivals.gaps.sample(count, rng)[:, 0] / arrivals.gaps.mean()
    even = np.cumsum(gaps) / arrivals.rate_per_s
    if arrivals.swing == 0 and arrivals.bursts_per_hour == 0:
        return even
    return _modulated(arrivals, even, rng)


def _check(arrivals: Arrivals) -> None:
    for name in ("rate_per_s", "cv", "period_s", "burst_factor", "burst_s"):
        if not getattr(arrivals, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(arrivals, name)}")
    if not 0 <= arrivals.swing < 1:
        raise ValueError(f"swing must be in [0, 1), got {arrivals.swing}")
    if not arrivals.bursts_per_hour >= 0:
        raise ValueError(f"bursts_per_hour must not be negative, got {arrivals.bursts_per_hour}")


def _modulated(arrivals: Arrivals, even: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Times at which the integral of the profile reaches even times."""
    horizon = float(even[-1])
    edges = np.linspace(0, horizon, max(2, int(horizon / PROFILE_STEP_S) + 1))
    middle = (edges[1:] + edges[:-1]) / 2
    # a random phase: where in the day the horizon lies
    profile = 1 + arrivals.swing * np.sin(2 * np.pi * (middle / arrivals.period_s + rng.random()))
    number = rng.poisson(arrivals.bursts_per_hour * horizon / 3600)
    for start, length in zip(rng.random(number) * horizon, rng.exponential(arrivals.burst_s, number), strict=True):
        profile[(middle >= start) & (middle < start + length)] *= arrivals.burst_factor
    passed = np.concatenate([[0.0], np.cumsum(profile * np.diff(edges))])
    return np.interp(even, passed * (horizon / passed[-1]), edges)
