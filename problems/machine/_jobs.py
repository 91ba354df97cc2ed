"""Jobs of one machine: the data of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Jobs(NamedTuple):
    """One instance."""

    duration: np.ndarray  # (n,) int64, processing time p_j > 0
    due: np.ndarray  # (n,) int64, due date d_j >= 0
    work_due_sooner: np.ndarray  # (n,) float64, work that is due no later than job j, itself included
    work_shorter: np.ndarray  # (n,) float64, work in jobs no longer than job j, itself included


def make_instance(duration: np.ndarray | Sequence[int], due: np.ndarray | Sequence[int]) -> Jobs:
    """Check and freeze an instance of n >= 1 jobs; see Jobs.

    Raises
    ------
    ValueError
        If a duration is not positive, a due date is negative, or numbers are too large to be added
        exactly.
    """
    p, d = np.array(duration, dtype=np.int64), np.array(due, dtype=np.int64)
    if p.ndim != 1 or len(p) == 0 or p.shape != d.shape:
        raise ValueError(f"duration and due must be two lists of equal length >= 1, got shapes {p.shape} and {d.shape}")
    for j in np.flatnonzero(p <= 0)[:1]:
        raise ValueError(f"duration must be positive, got {p[j]} at job {j}")
    for j in np.flatnonzero(d < 0)[:1]:
        raise ValueError(f"due date must not be negative, got {d[j]} at job {j} (what is overdue is due at 0)")
    if len(p) * p.astype(float).sum() >= 2.0**53 or d.max() >= 2**53:
        raise ValueError("jobs times total duration, and due dates, must stay below 2**53: choose a coarser unit")
    data = Jobs(p, d, _work_up_to(d, p), _work_up_to(p, p))
    for array in data:
        array.setflags(write=False)
    return data


def _work_up_to(key: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """For each job the total duration of the jobs whose key is no larger."""
    order = np.argsort(key)
    last = np.searchsorted(key[order], key, side="right") - 1
    return np.cumsum(duration[order])[last].astype(np.float64)
