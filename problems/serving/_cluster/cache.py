"""The prefix cache of each server of a cluster, in the same memory as what runs there.

Blocks of the cache that running requests hold are shared among them, and count once. The others stay while
nothing else needs their place, and go least recently used first: to whoever needs blocks, they are free. A prompt
enters the cache when it is done, the output when the request is; each takes what it finds there at admission.
"""

from __future__ import annotations

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._cluster.data import Cluster
from problems.serving._prefix.store import (
    NOBODY,
    Store,
    drop,
    empty_store,
    extend,
    hold,
    length,
    lowest,
    match,
    release,
)
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS

__all__ = ["Store", "cached_tokens", "held", "leave", "length", "needed", "open_caches", "remember", "take", "trim"]


@kernel
def open_caches(data: Cluster) -> Store:
    """Empty caches as large as the servers' memory; of one block where there is no caching."""
    capacities = np.ones(len(data.kind), np.int64)
    if data.cache_tokens[0] > 0:
        for i in range(len(data.kind)):
            limit = data.limit[data.kind[i]]
            capacities[i] = max(1, limit[BLOCKS] * limit[BLOCK_TOKENS] // data.cache_tokens[0])
    return empty_store(capacities)


@inlined
def _path(data: Cluster, r: int, tokens: int) -> np.ndarray:
    """Full blocks of the first tokens of request r."""
    first = data.path_start[r]
    return data.path[first : first + tokens // data.cache_tokens[0]]


@inlined
def cached_tokens(data: Cluster, store: Store, i: int, r: int, tokens: int) -> int:
    """Of the first tokens of request r, how many server i has cached."""
    if data.cache_tokens[0] == 0:
        return 0
    return length(store, match(store, i, _path(data, r, tokens))) * data.cache_tokens[0]


@inlined
def held(data: Cluster, store: Store, i: int) -> int:
    """Blocks of memory that the requests of server i hold in its cache."""
    ratio = data.cache_tokens[0] // data.limit[data.kind[i], BLOCK_TOKENS]
    return (store.cache[i].used - store.cache[i].idle) * ratio


@inlined
def needed(data: Cluster, store: Store, i: int, r: int, tokens: int, blocks: int) -> int:
    """Free blocks of memory that request r takes, if what it has to compute takes so many without a cache."""
    if data.cache_tokens[0] == 0:
        return blocks
    slot, shared = match(store, i, _path(data, r, tokens - 1)), 0
    while slot != NOBODY:
        if store.block[slot].refs > 0:
            # All before it are held as well.
            shared = store.block[slot].depth
            break
        slot = store.block[slot].parent
    return blocks - shared * (data.cache_tokens[0] // data.limit[data.kind[i], BLOCK_TOKENS])


@inlined
def take(data: Cluster, store: Store, i: int, r: int, tokens: int, now_s: float) -> int:
    """Hold the longest cached prefix for request r, which leaves at least one token to compute; its last block."""
    tail = match(store, i, _path(data, r, tokens - 1))
    hold(store, i, tail, now_s)
    return tail


@inlined
def remember(data: Cluster, store: Store, i: int, r: int, tail: int, tokens: int, now_s: float) -> int:
    """Put the first tokens of request r into the cache, and hold them; the last block."""
    path = _path(data, r, tokens)
    found = match(store, i, path)
    if found != tail:  # another request was faster
        hold(store, i, found, now_s)
        release(store, i, tail, now_s)
    return extend(store, i, found, path, now_s)


@inlined
def leave(store: Store, i: int, tail: int, now_s: float) -> None:
    """Request r needs its blocks no longer."""
    release(store, i, tail, now_s)


@inlined
def trim(data: Cluster, store: Store, i: int, free: int) -> None:
    """Evict until what nobody holds fits the free memory."""
    ratio = data.cache_tokens[0] // data.limit[data.kind[i], BLOCK_TOKENS]
    while store.cache[i].idle * ratio > free:
        drop(store, i, lowest(store, i))
