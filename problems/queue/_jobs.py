"""Streams of jobs with predicted sizes: the data, random instances, and CSV files of one's own.

Sizes have mean 1 (1000 ticks) and arrivals are Poisson. Predictions are the size times a lognormal
factor of median 1.

References
----------
.. [1] Mitzenmacher (2020), "Scheduling with predictions and the price of misprediction", ITCS,
   LIPIcs 151, 14:1-14:18: the distributions, and predictions that are wrong by a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from problems.problem import BadInstance

TICKS = 1000  # of the mean size

# Bounded Pareto of index 1.5 on [k, 3000 k]: its mean is 1 for this k.
_INDEX, _SPREAD = 1.5, 3000.0
_LEAST = (1 - _SPREAD**-_INDEX) / (3 * (1 - _SPREAD**-0.5))


class Jobs(NamedTuple):
    """One instance: jobs in order of arrival, times in ticks."""

    arrival: np.ndarray  # (n,) int64, ascending, >= 0
    size: np.ndarray  # (n,) int64, > 0, known only when the job completes
    predicted: np.ndarray  # (n,) int64, > 0, known at arrival
    review: np.ndarray  # (1,) int64, ticks of service after which a job is looked at again: a quarter of the mean size


class Mix(NamedTuple):
    """What instances are drawn from."""

    replications: int  # of each distribution and load
    jobs: int
    loads: tuple[float, ...]
    sigma: float  # of the logarithm of the prediction's factor
    seed: int


SUITES = {
    "train": Mix(2, 1000, (0.7, 0.9), 1.0, 1),
    "valid": Mix(8, 1000, (0.7, 0.9), 1.0, 2),
    "test": Mix(8, 1000, (0.7, 0.9), 1.0, 3),
    "shift-error": Mix(8, 1000, (0.7, 0.9), 2.0, 4),
    "shift-load": Mix(8, 1000, (0.95,), 1.0, 5),
}
PROBE = Mix(2, 40, (0.9,), 1.0, 6)
DISTRIBUTIONS = ("exponential", "weibull", "pareto")


def make_instance(
    arrival: Sequence[int] | np.ndarray, size: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray
) -> Jobs:
    """Check and freeze an instance.

    Raises
    ------
    ValueError
        If arrivals are negative or descend, or a size or prediction is not positive.
    """
    columns = [np.array(column, dtype=np.int64) for column in (arrival, size, predicted)]
    if columns[0].ndim != 1 or columns[0].size == 0 or len({column.shape for column in columns}) > 1:
        raise ValueError(f"the columns must be of equal length > 0, got {[column.shape for column in columns]}")
    review = np.maximum(1, columns[1].sum(keepdims=True) // (4 * len(columns[1])))
    data = Jobs(columns[0], columns[1], columns[2], review)
    for name in ("size", "predicted"):
        column = getattr(data, name)
        for j in np.flatnonzero(column <= 0)[:1]:
            raise ValueError(f"{name} must be positive, got {column[j]} at job {j}")
    for j in np.flatnonzero(np.diff(data.arrival, prepend=0) < 0)[:1]:
        raise ValueError(f"arrivals must ascend from 0, got {data.arrival[j]} at job {j}")
    if (total := float(data.arrival[-1]) + data.size.astype(np.float64).sum()) >= 2.0**53:
        raise ValueError(f"times must stay below 2**53, got {total:g}")
    for column in data:
        column.setflags(write=False)
    return data


def sizes(distribution: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) float64 sizes of mean 1."""
    if distribution == "exponential":
        return rng.exponential(1.0, n)
    if distribution == "weibull":
        return 0.5 * rng.weibull(0.5, n)  # Gamma(3) = 2
    uniform = rng.random(n)
    return _LEAST * (1 - uniform * (1 - _SPREAD**-_INDEX)) ** (-1 / _INDEX)


def draw(distribution: str, n: int, load: float, sigma: float, rng: np.random.Generator) -> Jobs:
    """One random instance of n jobs."""
    size = sizes(distribution, n, rng)
    predicted = size * rng.lognormal(0.0, sigma, n)
    gaps = rng.exponential(1.0 / load, n)
    arrival = np.cumsum(np.maximum(1, np.rint(TICKS * gaps)))
    columns = (np.maximum(1, np.rint(TICKS * column)).astype(np.int64) for column in (size, predicted))
    return make_instance(arrival.astype(np.int64), *columns)


@cache
def drawn(mix: Mix) -> tuple[tuple[str, str, Jobs], ...]:
    """Name, group and data of each instance of a mix."""
    found = []
    for d, distribution in enumerate(DISTRIBUTIONS):
        for load in mix.loads:
            for k in range(mix.replications):
                rng = np.random.default_rng((mix.seed, d, round(100 * load), k))
                group = f"{distribution} {load:g}"
                found.append((f"{group} {k}", group, draw(distribution, mix.jobs, load, mix.sigma, rng)))
    return tuple(found)


def read_csv(path: Path) -> list[tuple[str, Jobs]]:
    """Read a CSV file ``arrival,size,predicted``, or all those of a folder.

    Raises
    ------
    BadInstance
        If there is none, or a line breaks the format.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise BadInstance(f"{path}: no CSV file in this folder")
    return [(file.stem, _read_file(file)) for file in files]


def _read_file(path: Path) -> Jobs:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInstance(f"{path}: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.lower().replace(" ", "").startswith("arrival,")):
            continue
        try:
            arrival, size, predicted = (int(cell) for cell in line.split(","))
        except ValueError:
            raise BadInstance(
                f"{path}: line {number}: three whole numbers arrival,size,predicted, got {line!r}"
            ) from None
        rows.append((arrival, size, predicted))
    if not rows:
        raise BadInstance(f"{path}: no job in this file, it is empty")
    try:
        return make_instance(*zip(*rows, strict=True))
    except (ValueError, OverflowError) as error:
        raise BadInstance(f"{path}: {error}") from None
