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
from problems._hardware.step_cost import COARSE, StepCost
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._eviction.data import BLOCK_TOKENS, BLOCKS, KINDS, NEVER_S, Caching, prefill_seconds, unpack
from problems.serving._eviction.views import Block, Cache
from problems.serving._prefix.store import (
    NOBODY,
    Store,
    drop,
    empty_store,
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

Evict = Callable[[Block, Cache, np.ndarray], float]

# Weight of one more evicted block in the mean that rules see as turnover.
_LATELY = 0.01

NODE = np.dtype(
    (
        np.record,
        [
            ("due_s", np.float64),  # earliest announced use, inf: none
            ("due_by", np.int32),  # session that announced it
            ("last", np.int32),  # request that used it last
            ("seen", np.int32),  # requests that have had it
            ("sharers", np.int32),
            ("wanted", np.int32),  # requests in the queue that repeat it
        ],
    )
)

SESSION = np.dtype((np.record, [("last_s", np.float64), ("pause_s", np.float64), ("turns", np.int64)]))

KIND = np.dtype((np.record, [("requests", np.int64), ("again", np.int64), ("pause_s", np.float64)]))

SERVER = np.dtype(
    (
        np.record,
        [
            ("now_s", np.float64),
            ("turnover_s", np.float64),
            ("arrived", np.int64),
            ("started", np.int64),
            ("tokens", np.int64),  # of prompts that have started,
            ("cached", np.int64),  # and what of them was cached
            ("evicted", np.int64),
            ("needed", np.int64),  # blocks still to be evicted for the request that starts
        ],
    )
)


class Cached(NamedTuple):
    """A solution: when each prompt was computed, and what was evicted."""

    start_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64, first token
    evicted: np.ndarray  # (evictions,) int64 in their order, request << 32 | node: for which request which block


class State(NamedTuple):
    """Everything that changes."""

    store: Store
    node: np.ndarray  # (b,) NODE
    session: np.ndarray  # (n,) SESSION
    kind: np.ndarray  # (len(KINDS),) KIND, what has started: requests, later ones of sessions, and pauses in all
    server: np.ndarray  # (1,) SERVER


@kernel
def _open(data: Caching) -> State:
    n = len(data.arrival_s)
    node = np.zeros(len(data.parent), NODE)
    for k in range(len(node)):
        node[k].due_s = np.inf
    session = np.zeros(n, SESSION)
    for s in range(n):
        session[s].pause_s = NEVER_S
    return State(
        empty_store(data.limit[BLOCKS : BLOCKS + 1]), node, session, np.zeros(len(KINDS), KIND), np.zeros(1, SERVER)
    )


@inlined
def _arrive(data: Caching, state: State) -> None:
    """Queue what has arrived by now: its blocks are wanted."""
    server = state.server[0]
    while server.arrived < len(data.arrival_s) and data.arrival_s[server.arrived] <= server.now_s:
        for k in range(data.path_start[server.arrived], data.path_start[server.arrived + 1]):
            state.node[data.path[k]].wanted += 1
        server.arrived += 1


@inlined
def _meet(data: Caching, state: State, r: int) -> None:
    """Note that request r starts: a turn of its session, and what its session had announced has come."""
    server, session, kind = state.server[0], state.session[data.session[r]], state.kind[data.kind[r]]
    kind.requests += 1
    if session.turns > 0:
        session.pause_s = data.arrival_s[r] - session.last_s
        kind.pause_s += session.pause_s
        kind.again += 1
    session.last_s = data.arrival_s[r]
    session.turns += 1
    server.started += 1
    for k in range(data.path_start[r], data.path_start[r + 1]):
        node = state.node[data.path[k]]
        node.wanted -= 1
        node.seen += 1
        if node.due_by == data.session[r]:
            node.due_s = np.inf


@inlined
def _describe_block(data: Caching, cost: StepCost, state: State, slot: int) -> Block:
    block, now_s, tokens = state.store.block[slot], state.server[0].now_s, data.limit[BLOCK_TOKENS]
    node = state.node[block.node]
    session, kind = state.session[data.session[node.last]], state.kind[data.kind[node.last]]
    coarse = (cost.layers_s[-1] - cost.layers_s[-2]) / COARSE
    return Block(
        idle=now_s - block.used_s,
        age=now_s - block.made_s,
        uses=float(block.uses),
        seen=float(node.seen),
        sharers=float(node.sharers),
        depth=float(block.depth * tokens),
        recompute=tokens * (coarse + cost.prefill_pair_s * (block.depth - 0.5) * tokens),
        beyond=float(data.prompt_tokens[node.last] - block.depth * tokens),
        kind=float(data.kind[node.last]),
        turns=float(session.turns),
        pause=session.pause_s,
        returns=kind.again / kind.requests,
        usual=kind.pause_s / max(kind.again, 1),
        due=min(node.due_s - now_s, NEVER_S),
        wanted=float(node.wanted),
    )


@inlined
def _describe_cache(data: Caching, state: State) -> Cache:
    server, tokens = state.server[0], data.limit[BLOCK_TOKENS]
    return Cache(
        capacity=float(data.limit[BLOCKS] * tokens),
        needed=float(server.needed * tokens),
        evictable=float(state.store.cache[0].leaves),
        waiting=float(server.arrived - server.started),
        gap=server.now_s / server.arrived,
        hit_rate=server.cached / max(server.tokens, 1),
        turnover=server.turnover_s,
    )


@inlined
def _score(
    data: Caching, cost: StepCost, state: State, slot: int, cache: Cache, evict: Evict, theta: np.ndarray
) -> None:
    value = evict(_describe_block(data, cost, state, slot), cache, theta)
    if not math.isfinite(value):
        raise NonFiniteScore("evict returned NaN or an infinity")
    state.store.block[slot].score = -value


@inlined
def _make_room(
    data: Caching, cost: StepCost, state: State, log: np.ndarray, r: int, evict: Evict, theta: np.ndarray
) -> None:
    """Evict what request r needs, highest value first (ties: the node that came up first)."""
    store, server = state.store, state.server[0]
    cache = _describe_cache(data, state)
    for k in range(store.cache[0].leaves):
        _score(data, cost, state, store.heap[k], cache, evict, theta)
    heapify(store, 0)
    while server.needed > 0:
        slot = lowest(store, 0)
        block = store.block[slot]
        log[server.evicted] = r << 32 | block.node
        server.evicted += 1
        server.needed -= 1
        weight = max(_LATELY, 1.0 / server.evicted)
        server.turnover_s += weight * (server.now_s - block.used_s - server.turnover_s)
        parent = drop(store, 0, slot)
        if parent != NOBODY and server.needed > 0:
            _score(data, cost, state, parent, _describe_cache(data, state), evict, theta)
            reorder(store, 0, parent)


@inlined
def _use(data: Caching, state: State, r: int, hits: int, held: int) -> None:
    """Note who has used the blocks of request r: those that were there, and those that are new."""
    server, first = state.server[0], data.path_start[r]
    for k in range(held):
        node = state.node[data.path[first + k]]
        if k >= hits:
            node.sharers = 1
        elif data.session[node.last] != data.session[r]:
            node.sharers += 1
        node.last = r
    server.tokens += data.prompt_tokens[r]
    server.cached += hits * data.limit[BLOCK_TOKENS]


@inlined
def _announce(data: Caching, state: State, r: int, now_s: float) -> None:
    """Note when request r's session will want blocks again; of several sessions the earliest counts."""
    for h in range(data.hint_start[r], data.hint_start[r + 1]):
        due_s, k = now_s + data.hint_s[h], data.hint_node[h]
        while k != NOBODY:
            node = state.node[k]
            if data.hint_s[h] >= NEVER_S:
                if node.due_by == data.session[r]:
                    node.due_s = np.inf
            elif node.due_s <= now_s or node.due_by == data.session[r] or due_s < node.due_s:
                node.due_s = due_s
                node.due_by = data.session[r]
            k = data.parent[k]


@kernel
def prefix_caching(instance: Caching, evict: Evict, theta: np.ndarray) -> Cached:
    """Compute all prompts in order of arrival, with evictions as the rule says."""
    opened, data = _open(instance), borrow(instance)
    state, cost = borrow(opened), unpack(data)
    store, server, n = state.store, state.server[0], len(data.arrival_s)
    start, finish, log = np.empty(n), np.empty(n), np.empty(len(data.path), np.int64)
    for r in range(n):
        server.now_s = max(server.now_s, data.arrival_s[r])
        _arrive(data, state)
        _meet(data, state, r)
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        tail = match(store, 0, path)
        hits = length(store, tail)
        hold(store, 0, tail, server.now_s)
        server.needed = min(len(path) - hits, room(store, 0)) - (store.cache[0].blocks - store.cache[0].used)
        if server.needed > 0:
            _make_room(data, cost, state, log, r, evict, theta)
        tail = extend(store, 0, tail, path, server.now_s)
        _use(data, state, r, hits, length(store, tail))
        start[r] = server.now_s
        server.now_s += prefill_seconds(data, cost, r, hits)
        finish[r] = server.now_s
        release(store, 0, tail, server.now_s)
        _announce(data, state, r, server.now_s)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return Cached(start, finish, log[: opened.server[0].evicted].copy())
