# EVOLVE-BLOCK-START
"""Priority rule for one machine, weighted completion time."""

import numpy as np


def priority(duration, weight):
    """The job of the smallest priority goes first."""
    return float(duration)


# EVOLVE-BLOCK-END


# This part remains fixed (not evolved)
def run_schedule(durations, weights):
    ranks = np.array([priority(p, w) for p, w in zip(durations, weights, strict=True)])
    return np.argsort(ranks, kind="stable")
