"""The engine of serving/prefix_eviction: a queue of prompts, and a cache whose evictions a rule decides.

Prompts are computed one after the other, in order of arrival. When one starts, the longest cached prefix of it
is held; if the rest does not fit, the rule scores every block that may go, and the highest are evicted. A block
that may go because its last continuation went is scored then. When the prompt is done its blocks may go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._eviction.books import (
    State,
    announce,
    arrive,
    describe_block,
    describe_cache,
    evict_lowest,
    meet,
    open_books,
    use,
)
from problems.serving._eviction.data import BLOCKS, Caching, prefill_seconds, unpack
from problems.serving._eviction.views import Block, Cache
from problems.serving._prefix.store import NOBODY, extend, heapify, hold, length, lowest, match, release, reorder, room

Evict = Callable[[Block, Cache, np.ndarray], float]


class Cached(NamedTuple):
    """A solution: when each prompt was computed, and what was evicted."""

    start_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64, first token
    evicted: np.ndarray  # (evictions,) int64 in their order, request << 32 | node: for which request which block


@inlined
def _score(
    data: Caching, cost: StepCost, state: State, slot: int, cache: Cache, evict: Evict, theta: np.ndarray
) -> None:
    value = evict(describe_block(data, cost, state, slot), cache, theta)
    if not math.isfinite(value):
        raise NonFiniteScore("evict returned NaN or an infinity")
    state.store.block[slot].score = -value


@inlined
def _make_room(
    data: Caching, cost: StepCost, state: State, log: np.ndarray, r: int, evict: Evict, theta: np.ndarray
) -> None:
    """Evict what request r needs, highest value first (ties: the node that came up first)."""
    store, tier = state.store, state.tier[0]
    cache = describe_cache(data, state, 0)
    for k in range(store.cache[0].leaves):
        _score(data, cost, state, store.heap[k], cache, evict, theta)
    heapify(store, 0)
    while tier.needed > 0:
        log[tier.evicted] = r << 32 | store.block[lowest(store, 0)].node
        parent = evict_lowest(state, 0)
        if parent != NOBODY and tier.needed > 0:
            _score(data, cost, state, parent, describe_cache(data, state, 0), evict, theta)
            reorder(store, 0, parent)


@kernel
def prefix_caching(instance: Caching, evict: Evict, theta: np.ndarray) -> Cached:
    """Compute all prompts in order of arrival, with evictions as the rule says."""
    opened, data = open_books(instance, instance.limit[BLOCKS : BLOCKS + 1]), borrow(instance)
    state, cost = borrow(opened), unpack(data)
    store, server, tier, n = state.store, state.server[0], state.tier[0], len(data.arrival_s)
    start, finish, log = np.empty(n), np.empty(n), np.empty(len(data.path), np.int64)
    for r in range(n):
        server.now_s = max(server.now_s, data.arrival_s[r])
        arrive(data, state)
        meet(data, state, r)
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        tail = match(store, 0, path)
        hits = length(store, tail)
        hold(store, 0, tail, server.now_s)
        tier.needed = min(len(path) - hits, room(store, 0)) - (store.cache[0].blocks - store.cache[0].used)
        if tier.needed > 0:
            _make_room(data, cost, state, log, r, evict, theta)
        tail = extend(store, 0, tail, path, server.now_s)
        use(data, state, r, hits, length(store, tail))
        start[r] = server.now_s
        server.now_s += prefill_seconds(data, cost, r, hits)
        finish[r] = server.now_s
        release(store, 0, tail, server.now_s)
        announce(data, state, r, server.now_s)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return Cached(start, finish, log[: opened.tier[0].evicted].copy())
