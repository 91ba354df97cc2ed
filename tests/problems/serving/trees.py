"""Small instances of prefix caching for tests, and the rules as they run compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from servers import linear_cost
from simulate import simulate

from problems._hardware.step_cost import StepCost
from problems.serving._eviction.data import Caching, Prompts, make_instance
from problems.serving._eviction.engine import Cached
from problems.serving.prefix_eviction import PROBLEM

COST = linear_cost(step=0.01, token=0.003, pair=1e-5)


def instance(
    arrival_s: Sequence[float],
    paths: Sequence[Sequence[int]],
    parent: Sequence[int],
    *,
    blocks: int,
    cost: StepCost = COST,
    **given: object,
) -> Caching:
    """Requests with these paths, blocks of 10 tokens and one token behind them, and no hints."""
    n = len(paths)
    columns: dict = {
        "arrival_s": arrival_s,
        "prompt_tokens": [10 * len(path) + 1 for path in paths],
        "session": np.arange(n),
        "kind": np.zeros(n, int),
        "path_start": np.cumsum([0, *map(len, paths)]),
        "path": np.array([node for path in paths for node in path], dtype=int),
        "hint_start": np.zeros(n + 1, int),
        "hint_node": np.array([], int),
        "hint_s": np.array([], float),
        "parent": np.array(parent, dtype=int),
    }
    return make_instance(Prompts(**(columns | given)), cost, block_tokens=10, blocks=blocks)


def draw(rng: np.random.Generator, count: int, blocks: int) -> Caching:
    """Random requests over a random tree, with random hints; some come together."""
    size = int(rng.integers(1, 30))
    parent = [int(rng.integers(-1, k)) for k in range(size)]
    paths = []
    for _ in range(count):
        node, path = int(rng.integers(-1, size)), []
        while node >= 0:
            path.append(node)
            node = parent[node]
        paths.append(path[::-1])
    hints = rng.integers(0, 3, count)
    far = rng.random(hints.sum()) < 0.2
    return instance(
        np.cumsum(rng.exponential(0.3, count) * rng.integers(0, 2, count)),
        paths,
        parent,
        blocks=blocks,
        prompt_tokens=[10 * len(path) + int(rng.integers(1, 20)) for path in paths],
        session=rng.integers(0, max(count // 3, 1), count),
        kind=rng.integers(0, 3, count),
        hint_start=np.concatenate([[0], np.cumsum(hints)]),
        hint_node=rng.integers(0, size, hints.sum()),
        hint_s=np.where(far, 1e6, rng.exponential(1.0, hints.sum())),
    )


def solve(data: Caching, rule: Callable[..., float], theta: Sequence[float] = ()) -> Cached:
    """Run one rule, verified."""
    found: Cached = simulate(PROBLEM, (rule,), data, theta=theta)
    PROBLEM.verify(data, found)
    return found
