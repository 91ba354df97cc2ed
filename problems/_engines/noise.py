"""Random numbers that hooks may read, by counting instead of by state: no order of evaluation matters."""

from __future__ import annotations

import numpy as np

from problems._jit import inlined


@inlined
def uniform(seed: np.uint64, decision: int, option: int) -> float:
    """Uniform in [0, 1), a function of its arguments alone (counters >= 0).

    References
    ----------
    .. [1] Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA:
       the finaliser of SplitMix64, its two counters spread by odd multipliers.
    """
    z = seed + np.uint64(decision) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(option) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
