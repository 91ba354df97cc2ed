# EVOLVE-BLOCK-START
"""Dispatching for one machine, weighted completion time."""

import numpy as np


def sequence(durations, weights):
    """Order of the jobs: shortest first."""
    return np.argsort(durations, kind="stable")


# EVOLVE-BLOCK-END


def run_experiment(seed=0, jobs=12):
    """Sequence one random instance; returns durations, weights and order."""
    rng = np.random.default_rng(seed)
    durations, weights = rng.integers(1, 20, jobs), rng.integers(1, 10, jobs)
    return durations, weights, sequence(durations, weights)
