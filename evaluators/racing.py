"""Racing: stop running a candidate once it is clearly worse than its reference.

Candidate and reference meet the same instances (common random numbers), so their losses are
compared instance by instance. Instances are run in a fixed order, in blocks; after each block a
one-sided test asks whether the mean difference over the *whole* split is above zero.

What is unknown is the rest of one given split, not a population, so the standard error of the mean
of the first n of N differences carries the finite-population correction: s sqrt((1 - n/N) / n).
Standardised, the estimates at n_1 < ... < n_K then form a Brownian bridge divided by its standard
deviation. In u = n / (N - n) that is a Brownian motion divided by sqrt(u), with correlation
sqrt(u_j / u_k) between looks, so the constant boundary that it crosses with probability alpha at
any look (Pocock's, for a bridge) follows from K one-dimensional integrals. The spread s is
estimated, so the tail probability of that boundary is read off Student's distribution with n - 1
degrees of freedom instead of the normal one.

On some problems few instances make up most of a difference, and a test that has not met one of
them yet is too sure. Instances therefore have a *scale*, the mean distance between baselines there,
and the standard error is at least GUARD times what a spread in proportion to scale predicts for
the instances not seen.

The order of instances decides how much the first blocks say of the whole: groups are interleaved
in proportion to their size, and within them instances are chosen so that the running means of the
baselines keep close to their means over the split.

References
----------
.. [1] Maron and Moore (1994), "Hoeffding races: accelerating model selection search for
   classification and function approximation", NIPS 6:59-66.
.. [2] Pocock (1977), "Group sequential methods in the design and analysis of clinical trials",
   Biometrika 64(2):191-199.
.. [3] Armitage, McPherson and Rowe (1969), "Repeated significance tests on accumulating data",
   Journal of the Royal Statistical Society A 132(2):235-244 (the recursive integral).
.. [4] Lopez-Ibanez, Dubois-Lacoste, Perez Caceres, Birattari and Stuetzle (2016), "The irace
   package: iterated racing for automatic algorithm configuration", Operations Research
   Perspectives 3:43-58.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from problems.problem import Instance, Objective

# For a candidate exactly as good; of those that are better, a third as many are dropped (benchmarks/racing.py).
ALPHA = 0.1
# The first look, and by how much the number of instances grows until the next: measured in
# benchmarks/racing.py. After the last look the saving is too small to be worth an error.
FIRST_LOOK = 5
GROWTH = 1.3
LAST_LOOK = 0.8
GUARD = 0.3
_LEAST_SCALE = 0.05  # of the mean scale: baselines may agree on an instance by accident


@dataclass(frozen=True)
class Plan:
    """In which order a split is run, and when a candidate may be dropped."""

    order: tuple[int, ...]  # positions of all instances; those without a value come last
    size: int  # how many have a value of the primary objective
    looks: tuple[int, ...]  # instances run at each look, increasing, all less than size
    alpha: float  # probability that a candidate exactly as good as its reference is dropped
    scale: tuple[float, ...]  # of the instances with a value, in order

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """What is run before each look, and in the end."""
        edges = (0, *self.looks, len(self.order))
        return tuple(self.order[a:b] for a, b in itertools.pairwise(edges))

    @cached_property
    def scales(self) -> np.ndarray:
        """The scale as a (size,) array."""
        return np.array(self.scale)

    @cached_property
    def limits(self) -> tuple[float, ...]:
        """The paired t statistic beyond which a candidate is dropped, by look."""
        from scipy.special import ndtr, stdtrit

        if not self.looks:
            return ()
        boundary = bridge_boundary(tuple(n / self.size for n in self.looks), self.alpha)
        tail = float(ndtr(-boundary))
        return tuple(-float(stdtrit(n - 1, tail)) for n in self.looks)


@dataclass(frozen=True)
class Race:
    """A reference to beat on one split."""

    plan: Plan
    reference: Sequence[float]  # its value of the primary objective per instance, in the order of the split
    name: str  # of the reference, for people: program 12

    def check(self, instances: int) -> None:
        """Refuse a race on another split: its reference has other instances."""
        if not len(self.reference) == len(self.plan.order) == instances:
            raise ValueError(f"the race is over {len(self.reference)} instances, the split has {instances}")


def is_worse(differences: np.ndarray, plan: Plan) -> bool:
    """Whether (n,) differences in loss say that their mean over all instances is above zero.

    Differences that are all equal say so at once if they are positive, and nothing if they are zero.

    Parameters
    ----------
    differences : (n,) array
        Candidate minus reference, on the first n instances in the plan's order.
    plan : Plan
        With a look after n instances.
    """
    n = len(differences)
    mean, scale = float(differences.mean()), plan.scales
    foreseen = float((differences / scale[:n]).std(ddof=1)) * math.sqrt(float((scale[n:] ** 2).mean()))
    spread = max(float(differences.std(ddof=1)), GUARD * foreseen)
    return mean > plan.limits[plan.looks.index(n)] * spread * math.sqrt((1.0 - n / plan.size) / n)


def plan(
    objective: Objective, instances: Sequence[Instance], baselines: Sequence[Sequence[float]], alpha: float = ALPHA
) -> Plan | None:
    """Plan races on a split; None if there is nothing to go by.

    That is so without baselines, without instances that have a value, and where the objective is a
    measured time, which no verdict may hang on.

    Parameters
    ----------
    objective : Objective
        The primary one.
    instances : sequence of Instance
        The split.
    baselines : sequence of (number of instances,) sequences
        The objective's value per instance, of each baseline.
    alpha : float
        Probability that a candidate exactly as good as its reference is dropped, in (0, 0.5).
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be between 0 and 0.5, got {alpha}")
    values = np.array(baselines, dtype=np.float64).reshape(-1, len(instances))
    usable = np.flatnonzero(np.isfinite(values).all(axis=0))
    if objective.kind == "decision_time" or not usable.size or not len(values):
        return None
    groups = [instances[i].group for i in usable.tolist()]
    order = usable[_interleaved(groups, _representative(values[:, usable]))]
    rest = np.setdiff1d(np.arange(len(instances)), usable)
    scale = tuple(_scale(values[:, order]).tolist())
    return Plan((*order.tolist(), *rest.tolist()), len(usable), _looks(len(usable)), alpha, scale)


def _scale(values: np.ndarray) -> np.ndarray:
    """How far (b, n) values of baselines lie apart on each instance, on average over pairs; above 0."""
    apart = np.abs(values[:, None, :] - values[None, :, :]).mean(axis=(0, 1))
    mean = float(apart.mean()) if apart.size else 0.0
    return np.maximum(apart, _LEAST_SCALE * mean) if mean > 0.0 else np.ones_like(apart)


def _looks(size: int) -> tuple[int, ...]:
    found, n = [], FIRST_LOOK
    while n <= LAST_LOOK * size:
        found.append(n)
        n = max(n + 1, round(n * GROWTH))
    return tuple(found)


def _representative(values: np.ndarray) -> np.ndarray:
    """Order (b, n) instances so that each prefix has means as the whole has, up to a constant.

    Greedy: the next instance is the one after which the running means of the baselines, each
    without their common mean, are closest to those of all instances. Ties go to the first.
    """
    # Not clipped: the instances on which poor baselines are far off are those that weigh most.
    centred = values - values.mean(axis=0)
    target = centred.mean(axis=1)
    unit = float((centred**2).sum()) or 1.0
    order: list[int] = []
    left = np.arange(values.shape[1])
    total = np.zeros(len(values))
    while left.size:
        running = (total[:, None] + centred[:, left]) / (len(order) + 1) - target[:, None]
        errors = (running**2).sum(axis=0) / unit
        best = int(np.argmin(np.round(errors, 12)))  # rounded: the order must not hang on the last bit
        order.append(int(left[best]))
        total += centred[:, left[best]]
        left = np.delete(left, best)
    return np.array(order, dtype=np.int64)


def _interleaved(groups: Sequence[str], order: np.ndarray) -> np.ndarray:
    """Keep the order within groups; spread each group evenly over the whole."""
    sizes = {group: groups.count(group) for group in groups}
    seen = dict.fromkeys(sizes, 0)
    place = np.empty(len(groups))
    for i in order:
        place[i] = (seen[groups[i]] + 0.5) / sizes[groups[i]]
        seen[groups[i]] += 1
    rank = np.empty(len(groups))
    rank[order] = np.arange(len(groups))
    return np.lexsort((rank, place))


@lru_cache
def bridge_boundary(shares: tuple[float, ...], alpha: float) -> float:
    """The constant that a standardised Brownian bridge crosses at one of its looks with probability alpha.

    Parameters
    ----------
    shares : tuple of float
        Share of all instances at each look, increasing, in (0, 1).
    alpha : float
        In (0, 0.5).
    """
    low, high = 0.0, 8.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _crossing(shares, middle) > alpha else (low, middle)
    return round(high, 6)  # what is left of rounding must not differ between machines


def _crossing(shares: tuple[float, ...], boundary: float) -> float:
    """Probability that a standardised Brownian bridge is above the boundary at any of the looks."""
    points, weights = np.polynomial.legendre.leggauss(64)
    lowest = -8.0
    x = lowest + (points + 1.0) * (boundary - lowest) / 2.0
    w = weights * (boundary - lowest) / 2.0
    density = np.exp(-0.5 * x**2) / math.sqrt(2.0 * math.pi)  # of those that have not crossed yet
    clock = [share / (1.0 - share) for share in shares]
    for before, now in itertools.pairwise(clock):
        correlation = math.sqrt(before / now)
        deviation = math.sqrt(1.0 - correlation**2)
        step = np.exp(-0.5 * ((x[:, None] - correlation * x[None, :]) / deviation) ** 2)
        density = step @ (w * density) / (deviation * math.sqrt(2.0 * math.pi))
    return 1.0 - float(w @ density)
