"""Pareto dominance over arrays of minimised points: fronts and crowding.

References
----------
.. [1] Deb, Pratap, Agarwal and Meyarivan (2002), "A fast and elitist multiobjective genetic
   algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2):182-197.
"""

from __future__ import annotations

import numpy as np


def fronts(points: np.ndarray) -> np.ndarray:
    """Index of the front each point is on: 0 where no other dominates it.

    Parameters
    ----------
    points : (n, k) array
        Lower is better in every column.

    Returns
    -------
    (n,) int64 array
    """
    below: np.ndarray = np.all(points[:, None, :] <= points[None, :, :], axis=2)
    dominates = below & ~below.T  # equal points do not dominate each other
    found = np.full(len(points), -1, dtype=np.int64)
    rank = 0
    while (left := found < 0).any():
        found[left & ~dominates[left].any(axis=0)] = rank
        rank += 1
    return found


def crowding(points: np.ndarray) -> np.ndarray:
    """Sum over objectives of the gap between a point's two neighbours, as a share of the span.

    Parameters
    ----------
    points : (n, k) array
        Of one front.

    Returns
    -------
    (n,) float64 array; infinite at the ends of any objective.
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
            distance[order[[0, -1]]] = np.inf
    return distance
