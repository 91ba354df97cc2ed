"""Blocks that go from a tier, come up from one, and are put down into one."""

from __future__ import annotations

import math

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._eviction.books import describe_block, describe_cache, evict_lowest, recompute_seconds
from problems.serving._eviction.data import unpack
from problems.serving._eviction.views import Cache
from problems.serving._offloading.data import LEVELS, Offloading, transfer_seconds
from problems.serving._offloading.state import Rules, State
from problems.serving._offloading.views import Copy
from problems.serving._prefix.store import (
    NOBODY,
    extend,
    heapify,
    hold,
    length,
    lowest,
    match,
    release,
    reorder,
    room,
)


@inlined
def describe_copy(data: Offloading, state: State, i: int, slot: int) -> Copy:
    """What rules see of where else the block is."""
    block = state.books.store.block[slot]
    tiers, reload_s = state.place[block.node].tiers, -1.0
    for j in range(i + 1, LEVELS):
        if reload_s < 0.0 and tiers >> j & 1:
            reload_s = transfer_seconds(data, j, 1)
    if reload_s < 0.0:
        reload_s = recompute_seconds(data.caching, unpack(data.caching), block.depth - 1, 1)
    return Copy(
        tier=float(i),
        above=1.0 if tiers & ((1 << i) - 1) else 0.0,
        below=1.0 if tiers >> (i + 1) else 0.0,
        reload=reload_s,
    )


@inlined
def _score(data: Offloading, state: State, i: int, slot: int, cache: Cache, rules: Rules) -> None:
    block = describe_block(data.caching, unpack(data.caching), state.books, slot)
    value = rules.evict(block, cache, describe_copy(data, state, i, slot), rules.theta)
    if not math.isfinite(value):
        raise NonFiniteScore("evict returned NaN or an infinity")
    state.books.store.block[slot].score = -value


@kernel
def make_room(data: Offloading, state: State, i: int, blocks: int, cause: int, rules: Rules) -> None:
    """Evict from tier i until so many more blocks fit, highest value first (ties: the node that came up first)."""
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    store, tier, count = state.books.store, state.books.tier[i], state.counter[0]
    tier.needed = blocks - (store.cache[i].blocks - store.cache[i].used)
    if tier.needed <= 0:
        return
    cache = describe_cache(data.caching, state.books, i)
    for k in range(store.cache[i].first, store.cache[i].first + store.cache[i].leaves):
        # of one type with a parent, or numba would compile what it calls for both
        _score(data, state, i, int(store.heap[k]), cache, rules)
    heapify(store, i)
    while tier.needed > 0:
        node = store.block[lowest(store, i)].node
        state.log.evicted[count.evicted] = cause << 34 | i << 32 | node
        count.evicted += 1
        state.place[node].tiers &= ~(1 << i)
        parent = evict_lowest(state.books, i)
        if parent != NOBODY and tier.needed > 0:
            _score(data, state, i, parent, describe_cache(data.caching, state.books, i), rules)
            reorder(store, i, parent)


@kernel
def add(data: Offloading, state: State, i: int, tail: int, path: np.ndarray, cause: int, rules: Rules) -> int:
    """Put what of a path lies behind a held prefix of it into tier i, as far as it can fit; the new last block, held.

    Of path only what lies behind that prefix is read.
    """
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    store, have = state.books.store, length(state.books.store, tail)
    most = min(len(path), have + room(store, i))
    make_room(data, state, i, most - have, cause, rules)
    for k in range(have, most):
        state.place[path[k]].tiers |= 1 << i
    return extend(store, i, tail, path[:most], state.books.server[0].now_s)


@inlined
def put_down(data: Offloading, state: State, path: np.ndarray, r: int, rules: Rules) -> None:
    """Write the path of request r, which ends, through to the tiers below the GPU; what they have of it is used."""
    store, now_s = state.books.store, state.books.server[0].now_s
    for i in range(1, LEVELS):
        tail = match(store, i, path)
        hold(store, i, tail, now_s)
        tail = add(data, state, i, tail, path, r, rules)
        release(store, i, tail, now_s)
