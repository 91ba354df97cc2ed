"""The engine of serving/kv_offloading: a queue of prompts, a cache on the GPU, and tiers of memory below it.

Prompts are computed one after the other, in order of arrival, as in serving/prefix_eviction. When one starts,
what the host, then the remote pool, has of it beyond the GPU's prefix is loaded over a link each, where the rule
says so; the server waits for that, and computes the rest. When it is done, its blocks are also written to the
tiers below (links carry both directions at once, so that takes no time). Links that are idle fetch ahead, a piece
at a time, for requests that wait or are announced. Every tier evicts as the rule says.

Instants are the start and the end of a prompt, arrivals, and ends of transfers. At each one what has come over a
link is let go, what has arrived joins the queue, and then idle links are asked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._eviction.books import announce, arrive, meet, use
from problems.serving._eviction.data import prefill_seconds, unpack
from problems.serving._offloading.data import LEVELS, Offloading
from problems.serving._offloading.links import ask, load
from problems.serving._offloading.state import Evict, Load, Prefetch, Rules, State, enlist, open_state, settle
from problems.serving._offloading.tiers import add, put_down
from problems.serving._prefix.store import hold, length, match, release


class Offloaded(NamedTuple):
    """A solution: when each prompt was computed, and what went and came."""

    start_s: np.ndarray  # (n,) float64, its turn comes: loading starts
    ready_s: np.ndarray  # (n,) float64, what is loaded is there: computing starts
    finish_s: np.ndarray  # (n,) float64, first token
    loaded: np.ndarray  # (loads,) int64 in their order, request << 2 | tier
    evicted: np.ndarray  # (evictions,) int64 in their order, cause << 34 | tier << 32 | node: request, or n + piece
    fetched: np.ndarray  # (pieces,) int64 in their order, prompts started << 34 | tier << 32 | last node
    fetched_s: np.ndarray  # (pieces,) float64, start of the transfer


@inlined
def _catch_up(data: Offloading, state: State) -> None:
    """Note what has come over links and who has arrived by now."""
    settle(state)
    arrive(data.caching, state.books)


@kernel
def _pass(data: Offloading, state: State, until_s: float, computing: int, rules: Rules) -> None:
    """Go on to a time, through all instants before it."""
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    server, arrival_s = state.books.server[0], data.caching.arrival_s
    while True:
        next_s = arrival_s[server.arrived] if server.arrived < len(arrival_s) else np.inf
        for i in range(1, LEVELS):
            if state.link[i].free_s > server.now_s:
                next_s = min(next_s, state.link[i].free_s)
        if next_s >= until_s:
            break
        server.now_s = next_s
        _catch_up(data, state)
        ask(data, state, computing, rules)
    server.now_s = until_s
    _catch_up(data, state)


@kernel
def _serve(data: Offloading, state: State, r: int, found: Offloaded, rules: Rules) -> None:
    """Load and compute the prompt of request r, whose turn it is."""
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    caching, books = data.caching, state.books
    store, server, first = books.store, books.server[0], caching.path_start[r]
    path = caching.path[first : caching.path_start[r + 1]]
    found.start_s[r] = server.now_s
    meet(caching, books, r)
    tail = match(store, 0, path)
    hits = length(store, tail)
    hold(store, 0, tail, server.now_s)
    loaded = load(data, state, r, path, hits, rules)
    tail = add(data, state, 0, tail, path, r, rules)
    held = length(store, tail)
    use(caching, books, r, loaded.blocks, held)
    for node in path[:held]:
        state.place[node].ahead = 0
    found.ready_s[r] = loaded.ready_s
    found.finish_s[r] = loaded.ready_s + prefill_seconds(caching, unpack(caching), r, loaded.blocks)
    ask(data, state, 1, rules)
    _pass(data, state, found.finish_s[r], 1, rules)
    release(store, 0, tail, server.now_s)
    announce(caching, books, r, server.now_s)
    enlist(data, state, r)
    put_down(data, state, path[:held], r, rules)
    if server.arrived == server.started:
        ask(data, state, 0, rules)


@kernel
def kv_offloading(instance: Offloading, evict: Evict, load_: Load, prefetch: Prefetch, theta: np.ndarray) -> Offloaded:
    """Compute all prompts in order of arrival, with evictions, loads and fetches ahead as the rules say."""
    opened, data = open_state(instance), borrow(instance)
    state, rules, n = borrow(opened), Rules(evict, load_, prefetch, theta), len(instance.caching.arrival_s)
    log = opened.log
    found = Offloaded(np.empty(n), np.empty(n), np.empty(n), log.loaded, log.evicted, log.fetched, log.fetched_s)
    for r in range(n):
        _pass(data, state, max(state.books.server[0].now_s, data.caching.arrival_s[r]), 0, rules)
        _serve(data, state, r, found, rules)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    loads, evictions, pieces = opened.counter[0].loaded, opened.counter[0].evicted, opened.counter[0].fetched
    return Offloaded(
        found.start_s,
        found.ready_s,
        found.finish_s,
        log.loaded[:loads].copy(),
        log.evicted[:evictions].copy(),
        log.fetched[:pieces].copy(),
        log.fetched_s[:pieces].copy(),
    )
