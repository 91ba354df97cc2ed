"""Optimisers of parameters: generators that yield points and are sent their losses.

Points lie in the unit cube; a Space maps them to values within bounds, on a logarithmic scale
where a parameter has one. Only the order of losses matters to all three, and infinity is a loss
like any other, so that values with which a program fails need no case of their own.

References
----------
.. [1] Hansen (2016), "The CMA evolution strategy: a tutorial", arXiv:1604.00772.
.. [2] Nelder and Mead (1965), "A simplex method for function minimization", The Computer Journal
   7(4):308-313.
.. [3] Auger and Hansen (2005), "A restart CMA evolution strategy with increasing population size",
   CEC 2005:1769-1776.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence

import numpy as np

from evaluators.admission.parameters import Parameter

# Yields (k, d) points, is sent (k,) losses.
Search = Generator[np.ndarray, np.ndarray, None]
# From the starting point and a generator of randomness.
Optimiser = Callable[[np.ndarray, np.random.Generator], Search]

_SIGMA = 0.2  # of the first sample of CMA-ES, and the edge of the first simplex: shares of the bounds
_RANDOM_BATCH = 16
_FLAT = 1e-4  # a simplex smaller than this has converged


class Space:
    """Values of parameters as points of the unit cube."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = parameters
        self._log = np.array([p.log for p in parameters])
        bounds = np.array([[p.low, p.high] for p in parameters], dtype=np.float64)
        self._low, self._high = self._scaled(bounds[:, 0]), self._scaled(bounds[:, 1])
        self._least, self._most = bounds[:, 0], bounds[:, 1]

    def point(self, values: Sequence[float]) -> np.ndarray:
        """Where (d,) values lie in the cube."""
        span = self._high - self._low
        # bounds next to each other may have the same logarithm
        return (self._scaled(np.array(values, dtype=np.float64)) - self._low) / np.where(span > 0, span, 1.0)

    def values(self, point: np.ndarray) -> np.ndarray:
        """The values at a (d,) point, never beyond their bounds."""
        scaled = self._low + np.clip(point, 0.0, 1.0) * (self._high - self._low)
        # Back from the logarithm a bound may be missed by a rounding.
        return np.clip(np.where(self._log, np.exp(np.where(self._log, scaled, 0.0)), scaled), self._least, self._most)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.where(self._log, np.log(np.where(self._log, values, 1.0)), values)


def cma_es(start: np.ndarray, rng: np.random.Generator) -> Search:
    """CMA-ES from the library ``cmaes``, restarted with twice the population each time it has converged.

    Restarts begin at the best point so far in turn with a random one.
    """
    from cmaes import CMA

    best, lowest, center = start, math.inf, start
    dimensions = len(start)
    size = 4 + int(3 * math.log(dimensions))
    bounds = np.tile([0.0, 1.0], (dimensions, 1))
    restart = 0
    while True:
        seed = int(rng.integers(2**31))
        search = CMA(mean=center, sigma=_SIGMA, bounds=bounds, seed=seed, population_size=size)
        while not search.should_stop():
            points = np.array([search.ask() for _ in range(size)])
            losses = yield points
            if losses.min() < lowest:
                best, lowest = points[int(np.argmin(losses))], float(losses.min())
            # Infinities would make the library's test of convergence warn; their rank is what counts.
            finite = np.nan_to_num(losses, nan=1e300, posinf=1e300)
            search.tell([(point, float(loss)) for point, loss in zip(points, finite, strict=True)])
        restart += 1
        size *= 2
        center = best if restart % 2 else rng.random(dimensions)


class Center:
    """CMA-ES for losses that are samples: what counts is the center of its distribution, not a lucky point.

    Points and losses must be compared within one generation only, so that each may meet other instances.
    """

    def __init__(self, start: np.ndarray, rng: np.random.Generator, sigma: float) -> None:
        from cmaes import CMA

        bounds = np.tile([0.0, 1.0], (len(start), 1))
        self._search = CMA(mean=start, sigma=sigma, bounds=bounds, seed=int(rng.integers(2**31)))

    def ask(self) -> np.ndarray:
        """The (k, d) points of a generation.

        Rounded, so that the last bits of a linear algebra library decide nothing.
        """
        return np.round([self._search.ask() for _ in range(self._search.population_size)], 6)

    def tell(self, points: np.ndarray, losses: np.ndarray) -> None:
        """Move towards the better points; if all fail, or none differs, nothing is learnt."""
        if losses.min() < losses.max():
            finite = np.nan_to_num(losses, nan=1e300, posinf=1e300)
            self._search.tell([(point, float(loss)) for point, loss in zip(points, finite, strict=True)])

    @property
    def point(self) -> np.ndarray:
        """The (d,) center."""
        return np.round(np.clip(self._search.mean, 0.0, 1.0), 6)


def random_search(start: np.ndarray, rng: np.random.Generator) -> Search:
    """Uniform points: what every optimiser has to beat."""
    while True:
        yield rng.random((_RANDOM_BATCH, len(start)))


def nelder_mead(start: np.ndarray, rng: np.random.Generator) -> Search:
    """The simplex method within the cube, restarted around the best point whenever it has converged."""
    best = start
    while True:
        simplex = np.tile(best, (len(start) + 1, 1))
        for i in range(len(start)):
            step = _SIGMA if best[i] < 0.5 else -_SIGMA
            simplex[i + 1, i] += step * (0.5 + rng.random())
        losses = yield simplex
        while True:
            order = np.argsort(losses, kind="stable")
            simplex, losses = simplex[order], losses[order]
            if np.ptp(simplex, axis=0).max() < _FLAT or losses[0] == losses[-1]:
                break
            center = simplex[:-1].mean(axis=0)
            reflected, loss = yield from _try(center, simplex[-1], 1.0)
            if loss < losses[0]:
                expanded, further = yield from _try(center, simplex[-1], 2.0)
                simplex[-1], losses[-1] = (expanded, further) if further < loss else (reflected, loss)
            elif loss < losses[-2]:
                simplex[-1], losses[-1] = reflected, loss
            else:
                contracted, less = yield from _try(center, simplex[-1], 0.5 if loss < losses[-1] else -0.5)
                if less < min(loss, losses[-1]):
                    simplex[-1], losses[-1] = contracted, less
                else:
                    simplex[1:] = simplex[0] + 0.5 * (simplex[1:] - simplex[0])
                    losses[1:] = yield simplex[1:]
        # where every vertex fails, around it is no better
        best = simplex[0] if math.isfinite(losses[0]) else rng.random(len(start))


def _try(
    center: np.ndarray, worst: np.ndarray, factor: float
) -> Generator[np.ndarray, np.ndarray, tuple[np.ndarray, float]]:
    """A point on the line from the worst vertex through the others' center, and its loss."""
    point = np.clip(center + factor * (center - worst), 0.0, 1.0)
    losses = yield point[None, :]
    return point, float(losses[0])


OPTIMISERS: dict[str, Optimiser] = {"cmaes": cma_es, "random": random_search, "nelder-mead": nelder_mead}
