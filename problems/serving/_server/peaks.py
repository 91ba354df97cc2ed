"""The peak of what accumulates over time: requests that wait, memory that is held."""

from __future__ import annotations

import numpy as np


def peak(start_s: np.ndarray, end_s: np.ndarray, amount: np.ndarray) -> tuple[float, float]:
    """The most that is held at once, and when it first is; what ends at a time makes room before what starts then.

    Parameters
    ----------
    start_s, end_s : (n,) arrays
        From when to when each is held.
    amount : (n,) array
        How much of it.
    """
    if not len(start_s):
        return 0.0, 0.0
    times = np.concatenate([start_s, end_s])
    steps = np.concatenate([amount, -amount])
    by_time = np.lexsort((steps, times))
    held = np.cumsum(steps[by_time])
    most = int(np.argmax(held))
    return float(held[most]), float(times[by_time][most])
