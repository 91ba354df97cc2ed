"""What a server with prefix caches keeps of blocks, sessions and kinds, and how rules see it.

Shared by serving/prefix_eviction, with one cache, and serving/kv_offloading, with one per tier of memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import COARSE, StepCost
from problems._jit import inlined, kernel
from problems.serving._eviction.data import BLOCK_TOKENS, KINDS, NEVER_S, Caching
from problems.serving._eviction.views import Block, Cache
from problems.serving._prefix.store import NOBODY, Store, drop, empty_store, lowest

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
            ("arrived", np.int64),
            ("started", np.int64),
            ("tokens", np.int64),  # of prompts that have started,
            ("cached", np.int64),  # and what of them was cached
        ],
    )
)

TIER = np.dtype(
    (
        np.record,
        [
            ("turnover_s", np.float64),
            ("evicted", np.int64),
            ("needed", np.int64),  # blocks still to be evicted for what comes now
        ],
    )
)


class State(NamedTuple):
    """Everything that changes."""

    store: Store
    node: np.ndarray  # (b,) NODE
    session: np.ndarray  # (n,) SESSION
    kind: np.ndarray  # (len(KINDS),) KIND, what has started: requests, later ones of sessions, and pauses in all
    server: np.ndarray  # (1,) SERVER
    tier: np.ndarray  # (caches,) TIER


@kernel
def open_books(data: Caching, capacities: np.ndarray) -> State:
    """Nothing has come, and caches of so many blocks are empty."""
    n = len(data.arrival_s)
    node = np.zeros(len(data.parent), NODE)
    for k in range(len(node)):
        node[k].due_s = np.inf
    session = np.zeros(n, SESSION)
    for s in range(n):
        session[s].pause_s = NEVER_S
    return State(
        empty_store(capacities),
        node,
        session,
        np.zeros(len(KINDS), KIND),
        np.zeros(1, SERVER),
        np.zeros(len(capacities), TIER),
    )


@inlined
def arrive(data: Caching, state: State) -> None:
    """Queue what has arrived by now: its blocks are wanted."""
    server = state.server[0]
    while server.arrived < len(data.arrival_s) and data.arrival_s[server.arrived] <= server.now_s:
        for k in range(data.path_start[server.arrived], data.path_start[server.arrived + 1]):
            state.node[data.path[k]].wanted += 1
        server.arrived += 1


@inlined
def meet(data: Caching, state: State, r: int) -> None:
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
def recompute_seconds(data: Caching, cost: StepCost, before: int, blocks: int) -> float:
    """What computing so many blocks behind so many others adds to a large step."""
    tokens, coarse = data.limit[BLOCK_TOKENS], (cost.layers_s[-1] - cost.layers_s[-2]) / COARSE
    return blocks * tokens * (coarse + cost.prefill_pair_s * (before + 0.5 * blocks) * tokens)


@inlined
def describe_block(data: Caching, cost: StepCost, state: State, slot: int) -> Block:
    """What rules see of a block."""
    block, now_s, tokens = state.store.block[slot], state.server[0].now_s, data.limit[BLOCK_TOKENS]
    node = state.node[block.node]
    session, kind = state.session[data.session[node.last]], state.kind[data.kind[node.last]]
    return Block(
        idle=now_s - block.used_s,
        age=now_s - block.made_s,
        uses=float(block.uses),
        seen=float(node.seen),
        sharers=float(node.sharers),
        depth=float(block.depth * tokens),
        recompute=recompute_seconds(data, cost, block.depth - 1, 1),
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
def describe_cache(data: Caching, state: State, i: int) -> Cache:
    """What rules see of cache i and the server."""
    server, tier, tokens = state.server[0], state.tier[i], data.limit[BLOCK_TOKENS]
    return Cache(
        capacity=float(state.store.cache[i].blocks * tokens),
        needed=float(tier.needed * tokens),
        evictable=float(state.store.cache[i].leaves),
        waiting=float(server.arrived - server.started),
        gap=server.now_s / server.arrived,
        hit_rate=server.cached / max(server.tokens, 1),
        turnover=tier.turnover_s,
    )


@inlined
def evict_lowest(state: State, i: int) -> int:
    """Evict the block that goes next from cache i; its parent if that one may go now, else NOBODY."""
    tier, slot = state.tier[i], lowest(state.store, i)
    tier.evicted += 1
    tier.needed -= 1
    weight = max(_LATELY, 1.0 / tier.evicted)
    tier.turnover_s += weight * (state.server[0].now_s - state.store.block[slot].used_s - tier.turnover_s)
    return drop(state.store, i, slot)


@inlined
def use(data: Caching, state: State, r: int, hits: int, held: int) -> None:
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
def announce(data: Caching, state: State, r: int, now_s: float) -> None:
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
