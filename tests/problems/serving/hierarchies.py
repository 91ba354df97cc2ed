"""Small instances with tiers of memory for tests, and the rules as they run compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trees
from simulate import simulate

from problems.serving._eviction.data import Caching
from problems.serving._offloading.data import Offloading, Tier, make_instance
from problems.serving._offloading.engine import Offloaded
from problems.serving.kv_offloading import PROBLEM


def tiered(caching: Caching, host: int, remote: int = 0, *, block_s: float = 0.004, **given: int) -> Offloading:
    """Tiers of so many blocks; one from the pool takes three times as long as one from the host."""
    tiers = (Tier(host, block_s, 0.5 * block_s, 0.1 * block_s), Tier(remote, 3 * block_s, 0.5 * block_s, block_s))
    return make_instance(caching, tiers, **given)


def draw(rng: np.random.Generator, count: int, blocks: int) -> Offloading:
    """Random requests over a random tree, and random tiers."""
    host, remote = (int(rng.integers(0, 3 * blocks)) * int(rng.integers(0, 4) > 0) for _ in range(2))
    group, piece = (int(size) for size in rng.integers(1, 4, 2))
    block_s = float(rng.choice([0.0, 0.001, 0.01, 0.1]))
    caching = trees.draw(rng, count, blocks)
    return tiered(caching, host, remote, block_s=block_s, group_blocks=group, piece_blocks=piece)


def solve(data: Offloading, rules: Sequence[Callable[..., float]], theta: Sequence[float] = ()) -> Offloaded:
    """Run one set of rules, verified."""
    found: Offloaded = simulate(PROBLEM, rules, data, theta=theta)
    PROBLEM.verify(data, found)
    return found
