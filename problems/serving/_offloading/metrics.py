"""What is measured of a solution of serving/kv_offloading."""

from __future__ import annotations

import numpy as np

from problems.serving._eviction.data import BLOCK_TOKENS
from problems.serving._eviction.replay import UNITS, bounds, metrics
from problems.serving._offloading.data import Offloading
from problems.serving._offloading.engine import Offloaded
from problems.serving._offloading.verify import followed

RAW_UNITS = {
    **UNITS,
    "loaded": "%",
    "fetched": "%",
    "load_wait": "s",
    "evictions": "1/request",
}


def measure(data: Offloading, solution: Offloaded) -> dict[str, float]:
    """Raw metrics of one instance.

    As of serving/prefix_eviction, where ``uncached`` is what was computed; and the shares of prompt tokens that
    were loaded when a prompt's turn came and that were fetched ahead, the mean time that a prompt waits for
    blocks after its turn has come, and evictions from all tiers.
    """
    found, n = followed(data, solution), len(data.caching.arrival_s)
    share = 100.0 * int(data.caching.limit[BLOCK_TOKENS]) / int(data.caching.prompt_tokens.sum())
    return metrics(data.caching, found.cached, solution.finish_s) | {
        "loaded": share * int(found.moved[1:].sum()),
        "fetched": share * int(found.moved[0]),
        "load_wait": float(np.mean(solution.ready_s - solution.start_s)),
        "evictions": solution.evicted.size / n,
    }


def lower_bounds(data: Offloading) -> dict[str, float]:
    """What each metric would be with a GPU's cache that holds everything.

    No tiers have more, what is on the GPU need not be waited for, and fewer computed tokens never take longer.
    """
    return bounds(data.caching) | {"loaded": 0.0, "fetched": 0.0, "load_wait": 0.0, "evictions": 0.0}
