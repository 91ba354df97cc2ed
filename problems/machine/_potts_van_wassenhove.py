"""Generated instances of total tardiness, on the grid of Potts and Van Wassenhove and beyond it.

Durations are uniform in 1..100 and, with P their sum, due dates uniform in
P (1 - TF - RDD/2) .. P (1 - TF + RDD/2), those below 0 set to 0: TF (tardiness factor) is about
the share of late jobs, RDD the range of due dates. Factors are given in tenths, so that all
arithmetic is whole.

References
----------
.. [1] Potts and Van Wassenhove (1982), "A decomposition algorithm for the single machine total
   tardiness problem", Operations Research Letters 1(5):177-181.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np


class Suite(NamedTuple):
    """How the instances of one split are drawn."""

    seed: int
    copies: Mapping[int, int]  # jobs -> instances of each class (TF, RDD)
    tardiness_factors: tuple[int, ...] = (2, 4, 6, 8)
    due_ranges: tuple[int, ...] = (2, 4, 6, 8, 10)
    long_tail: bool = False


SUITES: Mapping[str, Suite] = {
    "train": Suite(seed=1, copies={20: 10, 50: 6, 100: 4, 200: 2, 500: 1}),
    "valid": Suite(seed=2, copies={20: 5, 50: 4, 100: 3, 200: 3, 500: 2}),
    "test": Suite(seed=3, copies={20: 10, 50: 5, 100: 5, 200: 2, 500: 2}),
    # Most jobs short, a few fifty times as long: mean and longest duration mislead.
    "shift-long-tail": Suite(seed=4, copies={100: 3}, long_tail=True),
    # Nearly every job late, beyond the grid that rules are trained on.
    "shift-tight": Suite(seed=5, copies={100: 10}, tardiness_factors=(9, 10), due_ranges=(2, 6, 10)),
}
# Small, but of every kind, so that rules which differ are told apart.
PROBE = Suite(seed=6, copies={12: 1}, due_ranges=(2, 6, 10))


class Draw(NamedTuple):
    """One drawn instance."""

    name: str
    duration: np.ndarray  # (n,) int64
    due: np.ndarray  # (n,) int64


def draw(name: str, suite: Suite) -> Iterator[Draw]:
    """Draw the instances of a suite: by jobs, TF, RDD and copy."""
    bits = np.random.PCG64(suite.seed)
    for n, copies in suite.copies.items():
        for tf, rdd, copy in product(suite.tardiness_factors, suite.due_ranges, range(1, copies + 1)):
            # Long tail: Pareto with shape 1, cut to 10..1000, median 20.
            duration = 10_000 // _uniform(bits, 10, 1000, n) if suite.long_tail else _uniform(bits, 1, 100, n)
            due = _due_dates(bits, duration, tf, rdd)
            yield Draw(f"{name}-n{n}-tf{tf / 10:g}-rdd{rdd / 10:g}-{copy}", duration, due)


def _due_dates(bits: np.random.PCG64, duration: np.ndarray, tf: int, rdd: int) -> np.ndarray:
    work, middle = int(duration.sum()), 20 - 2 * tf
    return np.maximum(_uniform(bits, work * (middle - rdd) // 20, work * (middle + rdd) // 20, len(duration)), 0)


def _uniform(bits: np.random.PCG64, low: int, high: int, n: int) -> np.ndarray:
    """Whole numbers in low..high. Raw bits: numpy keeps their stream across versions, not that of integers()."""
    return low + (bits.random_raw(n) % np.uint64(high - low + 1)).astype(np.int64)
