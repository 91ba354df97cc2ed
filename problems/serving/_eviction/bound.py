"""Farthest next use: evictions with knowledge of all requests to come, tails first.

For single blocks this is Belady's rule, and optimal. In a tree, where a block cannot stay without those before
it and several go for one request, it is a strong bound in practice and not a proof.
"""

from __future__ import annotations

import numpy as np

from problems._borrow import borrow
from problems._jit import kernel
from problems.serving._eviction.data import BLOCKS, Caching, prefill_seconds, unpack
from problems.serving._eviction.engine import Cached
from problems.serving._prefix.store import (
    NOBODY,
    drop,
    empty_store,
    extend,
    hold,
    length,
    lowest,
    match,
    release,
    reorder,
    room,
)


@kernel
def next_uses(data: Caching) -> np.ndarray:
    """(entries of path,) int64: the next request that uses the same node, or n."""
    n = len(data.arrival_s)
    coming = np.full(len(data.parent), n, np.int64)
    found = np.empty(len(data.path), np.int64)
    for r in range(n - 1, -1, -1):
        for k in range(data.path_start[r], data.path_start[r + 1]):
            found[k] = coming[data.path[k]]
            coming[data.path[k]] = r
    return found


@kernel
def farthest_next_use(instance: Caching) -> Cached:
    """Evict the block whose next use is farthest away; of several the deepest."""
    data, opened = borrow(instance), empty_store(instance.limit[BLOCKS : BLOCKS + 1])
    store, cost, n, coming = borrow(opened), unpack(data), len(data.arrival_s), next_uses(instance)
    start, finish, log = np.empty(n), np.empty(n), np.empty(len(data.path), np.int64)
    now_s, evicted = 0.0, 0
    for r in range(n):
        now_s = max(now_s, data.arrival_s[r])
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        tail = match(store, 0, path)
        hits = length(store, tail)
        hold(store, 0, tail, now_s)
        needed = min(len(path) - hits, room(store, 0)) - (store.cache[0].blocks - store.cache[0].used)
        for _ in range(needed):
            slot = lowest(store, 0)
            log[evicted] = r << 32 | store.block[slot].node
            evicted += 1
            drop(store, 0, slot)
        tail = extend(store, 0, tail, path, now_s)
        start[r] = now_s
        now_s += prefill_seconds(data, cost, r, hits)
        finish[r] = now_s
        release(store, 0, tail, now_s)
        while tail != NOBODY:
            block = store.block[tail]
            block.score = -float(coming[data.path_start[r] + block.depth - 1]) - 1e-7 * block.depth
            if block.place != NOBODY:
                reorder(store, 0, tail)
            tail = block.parent
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return Cached(start, finish, log[: evicted + 0 * len(opened.heap)].copy())
