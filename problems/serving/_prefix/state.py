"""Layout of the prefix store: a record per block, a hash table and a heap per server.

A *node* is a block of tokens together with all that comes before it, given by a number: prompts with the
same first k nodes share the KV cache of these k blocks. A store holds some of the nodes of a tree, with
each its parent. All servers share flat arrays; each has its own stretch of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel

NOBODY = -1

BLOCK = np.dtype(
    (
        np.record,
        [
            ("node", np.int64),  # which block of the tree it holds
            ("score", np.float64),  # the lowest of those that may go is evicted first
            ("made_s", np.float64),  # when it was computed
            ("used_s", np.float64),  # when it was last taken or left by a request
            ("expires_s", np.float64),  # may be dropped as expired from then on, inf: never
            ("uses", np.int32),  # requests that took it, its first one included
            ("refs", np.int32),  # running requests that hold it, and pins
            ("children", np.int32),  # blocks in the store that continue it
            ("parent", np.int32),  # block before it, or NOBODY; of an empty place: the next empty one
            ("place", np.int32),  # in the heap of blocks that may go, or NOBODY
            ("depth", np.int32),  # blocks of its prefix, itself included
        ],
    )
)

CACHE = np.dtype(
    (
        np.record,
        [
            ("blocks", np.int64),  # capacity
            ("first", np.int64),  # of its stretch of block and heap
            ("bucket", np.int64),  # first of its stretch of the table
            ("bits", np.int64),  # the table has 2 ** bits buckets
            ("empty", np.int64),  # first empty place, or NOBODY
            ("used", np.int64),  # blocks it holds
            ("idle", np.int64),  # of these, what no request holds
            ("leaves", np.int64),  # of these, what no other block continues: they may go
            ("evicted", np.int64),  # blocks so far
        ],
    )
)


class Store(NamedTuple):
    """Prefix caches of any number of servers: 64 bytes per block of capacity, and 8 to 16 for the table."""

    block: np.ndarray  # (sum of capacities,) BLOCK
    heap: np.ndarray  # (sum of capacities,) int32, blocks that may go, the lowest score first
    table: np.ndarray  # (buckets,) int32, open addressing from nodes to blocks, NOBODY: empty
    cache: np.ndarray  # (servers,) CACHE


def open_store(capacities: Sequence[int]) -> Store:
    """Empty stores of so many blocks each.

    Raises
    ------
    ValueError
        If there is no server, or a capacity is not positive.
    """
    if not len(capacities):
        raise ValueError("a prefix store needs at least one server")
    for i, blocks in enumerate(capacities):
        if not 0 < blocks < 2**30:
            raise ValueError(f"capacity must be between 1 and {2**30 - 1}, got {blocks} blocks at server {i}")
    opened = empty_store(np.array(capacities, dtype=np.int64))
    # records made by compiled code have no attributes in Python
    return opened._replace(block=opened.block.view(BLOCK), cache=opened.cache.view(CACHE))


@kernel
def empty_store(capacities: np.ndarray) -> Store:
    """As open_store, for kernels; the capacities are in order."""
    cache = np.zeros(len(capacities), CACHE)
    first, bucket = 0, 0
    for i in range(len(capacities)):
        cache[i].blocks, cache[i].first, cache[i].bucket = capacities[i], first, bucket
        while (1 << cache[i].bits) < 2 * capacities[i]:  # at most half full
            cache[i].bits += 1
        cache[i].empty = first
        first += capacities[i]
        bucket += 1 << cache[i].bits
    block = np.zeros(first, BLOCK)
    for i in range(len(capacities)):
        for slot in range(cache[i].first, cache[i].first + cache[i].blocks):
            block[slot].place = NOBODY
            block[slot].parent = slot + 1
        block[cache[i].first + cache[i].blocks - 1].parent = NOBODY
    return Store(block, np.zeros(first, np.int32), np.full(bucket, NOBODY, np.int32), cache)


@inlined
def home(store: Store, i: int, node: int) -> int:
    """Bucket where the search for a node starts, from 0; the highest bits of a multiplicative hash."""
    return ((node * 2654435761) & 0xFFFFFFFF) >> (32 - store.cache[i].bits)


@inlined
def find(store: Store, i: int, node: int) -> int:
    """Block of server i that holds a node, or NOBODY."""
    first, mask = store.cache[i].bucket, (1 << store.cache[i].bits) - 1
    k = home(store, i, node)
    while True:
        slot = store.table[first + k]
        if slot == NOBODY or store.block[slot].node == node:
            return slot
        k = (k + 1) & mask


@inlined
def enter(store: Store, i: int, slot: int) -> None:
    """Put a block into the table."""
    first, mask = store.cache[i].bucket, (1 << store.cache[i].bits) - 1
    k = home(store, i, store.block[slot].node)
    while store.table[first + k] != NOBODY:
        k = (k + 1) & mask
    store.table[first + k] = slot


@inlined
def leave(store: Store, i: int, slot: int) -> None:
    """Take a block out of the table, and close the gap: no search then meets a deleted entry."""
    first, mask = store.cache[i].bucket, (1 << store.cache[i].bits) - 1
    gap = home(store, i, store.block[slot].node)
    while store.table[first + gap] != slot:
        gap = (gap + 1) & mask
    k = gap
    while True:
        k = (k + 1) & mask
        other = store.table[first + k]
        if other == NOBODY:
            break
        # it may move up to the gap unless its search starts behind it
        if ((k - home(store, i, store.block[other].node)) & mask) >= ((k - gap) & mask):
            store.table[first + gap] = other
            gap = k
    store.table[first + gap] = NOBODY


@inlined
def _before(store: Store, a: int, b: int) -> bool:
    """Whether block a goes before block b: the lower score, then the lower node."""
    x, y = store.block[a], store.block[b]
    return x.score < y.score or (x.score == y.score and x.node < y.node)


@inlined
def _sink(store: Store, i: int, k: int, slot: int) -> None:
    """Put a block at place k of the heap or below."""
    heap, block, first, count = store.heap, store.block, store.cache[i].first, store.cache[i].leaves
    while 2 * k + 1 < count:
        child = 2 * k + 1
        if child + 1 < count and _before(store, heap[first + child + 1], heap[first + child]):
            child += 1
        if not _before(store, heap[first + child], slot):
            break
        heap[first + k] = heap[first + child]
        block[heap[first + k]].place = k
        k = child
    heap[first + k] = slot
    block[slot].place = k


@inlined
def _rise(store: Store, i: int, k: int, slot: int) -> int:
    """Put a block at place k of the heap or above; its place."""
    heap, block, first = store.heap, store.block, store.cache[i].first
    while k > 0 and _before(store, slot, heap[first + (k - 1) // 2]):
        heap[first + k] = heap[first + (k - 1) // 2]
        block[heap[first + k]].place = k
        k = (k - 1) // 2
    heap[first + k] = slot
    block[slot].place = k
    return k


@inlined
def push(store: Store, i: int, slot: int) -> None:
    """Let a block go when its turn comes."""
    store.cache[i].leaves += 1
    _rise(store, i, store.cache[i].leaves - 1, slot)


@inlined
def reorder(store: Store, i: int, slot: int) -> None:
    """Restore the order of the heap after the score of one block in it has changed."""
    _sink(store, i, _rise(store, i, store.block[slot].place, slot), slot)


@inlined
def pull(store: Store, i: int, slot: int) -> None:
    """Take a block out of the heap."""
    k = store.block[slot].place
    store.block[slot].place = NOBODY
    store.cache[i].leaves -= 1
    last = store.heap[store.cache[i].first + store.cache[i].leaves]
    if last != slot:
        _sink(store, i, _rise(store, i, k, last), last)


@inlined
def heapify(store: Store, i: int) -> None:
    """Restore the order of the heap after any scores in it have changed."""
    for k in range(store.cache[i].leaves // 2 - 1, -1, -1):
        _sink(store, i, k, store.heap[store.cache[i].first + k])
