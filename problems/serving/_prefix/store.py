"""The prefix store: blocks of KV cache that requests with equal prefixes share, on any number of servers.

A block stays after the requests that computed it; it may go when no running request holds it and no other
block in the store continues it. The one with the lowest score goes first (ties: the lower node). Unless a
caller sets scores of its own, a block's score is the time of its last use: least recently used, tails first.

The way of a request on server i, each call O(log n) per block touched and without allocation:

    tail = match(store, i, path)                 # last block of the longest cached prefix, or NOBODY
    hits = length(store, tail)                   # its blocks
    hold(store, i, tail, now_s)                  # these stay while the request runs
    tail = extend(store, i, tail, path, now_s)   # what it computes; evicts as needed
    ...
    release(store, i, tail, now_s)               # they may go

``path`` is an int64 array of nodes, from the root on (0 <= node < 2**31). A caller with a rule of its own
calls ``lowest`` and ``drop`` itself before ``extend``, see serving/prefix_eviction.
"""

from __future__ import annotations

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._prefix.state import (
    NOBODY,
    Store,
    empty_store,
    enter,
    find,
    heapify,
    leave,
    open_store,
    pull,
    push,
    reorder,
)

__all__ = [
    "NOBODY",
    "Store",
    "drop",
    "empty_store",
    "expire",
    "extend",
    "find",
    "heapify",
    "hold",
    "length",
    "lowest",
    "match",
    "open_store",
    "pin",
    "release",
    "reorder",
    "room",
    "unpin",
]


@inlined
def match(store: Store, i: int, path: np.ndarray) -> int:
    """Last block of the longest prefix of a path that server i holds, or NOBODY. Changes nothing.

    A block is never there without its parent, so the end is found by bisection: cheap enough to ask
    every server about every request.
    """
    low, high, found = 0, len(path), NOBODY
    while low < high:
        middle = (low + high) // 2
        slot = find(store, i, path[middle])
        if slot == NOBODY:
            high = middle
        else:
            low, found = middle + 1, slot
    return found


@inlined
def length(store: Store, tail: int) -> int:
    """Blocks of the prefix that ends in a block; 0 for NOBODY."""
    return 0 if tail == NOBODY else store.block[tail].depth


@inlined
def room(store: Store, i: int) -> int:
    """Blocks that can still be had: empty places, and what no request holds."""
    return store.cache[i].blocks - store.cache[i].used + store.cache[i].idle


@kernel
def pin(store: Store, i: int, tail: int) -> None:
    """Keep a prefix until it is unpinned; it does not count as a use."""
    while tail != NOBODY:
        block = store.block[tail]
        if block.refs == 0:
            store.cache[i].idle -= 1
            if block.place != NOBODY:
                pull(store, i, tail)
        block.refs += 1
        tail = block.parent


@kernel
def unpin(store: Store, i: int, tail: int) -> None:
    """Take back one pin; what no request holds then may go, tails first."""
    while tail != NOBODY:
        block = store.block[tail]
        block.refs -= 1
        if block.refs == 0:
            store.cache[i].idle += 1
            if block.children == 0:
                push(store, i, tail)
        tail = block.parent


@kernel
def hold(store: Store, i: int, tail: int, now_s: float) -> None:
    """Take a prefix for a request: a use of each of its blocks, which stay until they are released."""
    pin(store, i, tail)
    while tail != NOBODY:
        block = store.block[tail]
        block.used_s = now_s
        block.score = now_s
        block.uses += 1
        tail = block.parent


@kernel
def release(store: Store, i: int, tail: int, now_s: float) -> None:
    """A request has ended: its blocks were last used now, and may go if no other holds them."""
    slot = tail
    while slot != NOBODY:
        block = store.block[slot]
        block.used_s = now_s
        block.score = now_s
        slot = block.parent
    unpin(store, i, tail)


@inlined
def lowest(store: Store, i: int) -> int:
    """The block that goes next, or NOBODY if all are held."""
    return store.heap[store.cache[i].first] if store.cache[i].leaves > 0 else NOBODY


@kernel
def drop(store: Store, i: int, slot: int) -> int:
    """Evict a block that may go; its parent if that one may go now, with the score it has, else NOBODY."""
    cache, block = store.cache[i], store.block[slot]
    pull(store, i, slot)
    leave(store, i, slot)
    cache.used -= 1
    cache.idle -= 1
    cache.evicted += 1
    parent = block.parent
    block.parent = cache.empty
    cache.empty = slot
    if parent == NOBODY:
        return NOBODY
    above = store.block[parent]
    above.children -= 1
    if above.children > 0 or above.refs > 0:
        return NOBODY
    push(store, i, parent)
    return parent


@inlined
def _add(store: Store, i: int, tail: int, node: int, now_s: float) -> int:
    """Fill an empty place with a block that continues tail, held once; it."""
    cache = store.cache[i]
    slot = cache.empty
    block = store.block[slot]
    cache.empty = block.parent
    cache.used += 1
    block.node = node
    block.made_s = now_s
    block.used_s = now_s
    block.score = now_s
    block.expires_s = np.inf
    block.uses = 1
    block.refs = 1
    block.children = 0
    block.parent = tail
    block.place = NOBODY
    block.depth = 1
    if tail != NOBODY:
        block.depth = store.block[tail].depth + 1
        store.block[tail].children += 1
    enter(store, i, slot)
    return slot


@kernel
def extend(store: Store, i: int, tail: int, path: np.ndarray, now_s: float) -> int:
    """Add what of a path lies behind a held prefix of it, as far as there is room; the new last block, held.

    Where no place is empty, the blocks with the lowest scores are evicted.
    """
    have = length(store, tail)
    for k in range(have, min(len(path), have + room(store, i))):
        if store.cache[i].empty == NOBODY:
            drop(store, i, lowest(store, i))
        tail = _add(store, i, tail, path[k], now_s)
    return tail


@inlined
def _doom(store: Store, slot: int, now_s: float) -> bool:
    """Whether a block has expired; if so it is the next to go, once the heap is in order."""
    if store.block[slot].expires_s > now_s:
        return False
    store.block[slot].score = -np.inf
    return True


@kernel
def expire(store: Store, i: int, now_s: float) -> int:
    """Drop what may go and has expired, and what then may go and has expired; the number of blocks."""
    cache, before = store.cache[i], store.cache[i].evicted
    for k in range(cache.leaves):
        _doom(store, store.heap[cache.first + k], now_s)
    heapify(store, i)
    while cache.leaves > 0 and store.block[lowest(store, i)].expires_s <= now_s:
        parent = drop(store, i, lowest(store, i))
        if parent != NOBODY and _doom(store, parent, now_s):
            reorder(store, i, parent)
    return cache.evicted - before
