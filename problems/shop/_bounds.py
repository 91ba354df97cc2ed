"""Lower bounds that machine shops share."""

from __future__ import annotations

import numpy as np

from problems._jit import kernel


def one_machine_bound(head: np.ndarray, duration: np.ndarray, tail: np.ndarray) -> float:
    """Optimal makespan of one machine with heads and tails when preemption is allowed.

    It bounds every shop whose jobs need at least head before and tail after this machine.

    Parameters
    ----------
    head, duration, tail : (n,) float64; heads and tails >= 0, durations > 0.

    References
    ----------
    .. [1] Carlier (1982), "The one-machine sequencing problem", European Journal of Operational
       Research 11(1):42-47.
    """
    urgency = np.argsort(-tail)
    return float(_jackson(np.sort(head), head[urgency], duration[urgency], tail[urgency]))


@kernel
def _jackson(releases: np.ndarray, head: np.ndarray, left: np.ndarray, tail: np.ndarray) -> float:
    """Jackson's preemptive schedule: always run the released job of the longest tail; left is used up.

    releases are the heads in ascending order; the others stand in the order of descending tails.
    """
    now, bound, released, unfinished = 0.0, 0.0, 0, len(left)
    while unfinished > 0:
        while released < len(releases) and releases[released] <= now:
            released += 1
        release = releases[released] if released < len(releases) else np.inf
        running = 0
        while running < len(left) and (left[running] == 0.0 or head[running] > now):
            running += 1
        if running == len(left):
            now = release
        elif now + left[running] > release:
            left[running] -= release - now
            now = release
        else:
            now += left[running]
            left[running] = 0.0
            bound = max(bound, now + tail[running])
            unfinished -= 1
    return bound
