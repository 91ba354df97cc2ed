"""What a rule of serving/kv_offloading must not know: requests that have not arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._eviction.hidden import WHAT, permuted
from problems.serving._offloading.data import Offloading
from problems.serving._offloading.engine import Offloaded


def permute(data: Offloading, solution: Offloaded, rng: np.random.Generator) -> Future:
    """Permute all that has not arrived by a random time: which request comes when, and the gaps between them."""
    caching, until = permuted(data.caching, rng)
    return Future(data._replace(caching=caching), until)


def decided(solution: Offloaded, until: float) -> Sequence[np.ndarray]:
    """Starts up to a time and what was loaded for them, and what was evicted and fetched by then."""
    n = len(solution.start_s)
    cause, tier = solution.evicted >> 34, solution.evicted >> 32 & 3
    of_prompt, piece = np.minimum(cause, n - 1), np.maximum(cause - n, 0)
    # the GPU makes room for a prompt at its start, the tiers below at its end
    by_prompt_s = np.where(tier == 0, solution.start_s[of_prompt], solution.finish_s[of_prompt])
    evicted_s = np.where(cause < n, by_prompt_s, np.append(solution.fetched_s, np.inf)[piece])
    started, came = solution.start_s <= until, solution.fetched_s <= until
    return [
        np.where(started, solution.start_s, np.inf),
        solution.loaded[started[solution.loaded >> 2]],
        solution.evicted[evicted_s <= until],
        solution.fetched[came],
        solution.fetched_s[came],
    ]


HIDDEN = Hidden(WHAT, permute, decided)
