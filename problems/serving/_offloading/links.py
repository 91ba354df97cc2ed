"""What comes up to the GPU: loaded for the prompt whose turn it is, or fetched ahead while a link is idle."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._eviction.books import recompute_seconds
from problems.serving._eviction.data import BLOCK_TOKENS, NEVER_S, NONE, prefill_seconds, unpack
from problems.serving._offloading.data import LEVELS, PIECE_BLOCKS, Offloading, transfer_seconds
from problems.serving._offloading.state import Rules, State, take
from problems.serving._offloading.tiers import add
from problems.serving._offloading.views import Link, Request, Session
from problems.serving._prefix.store import NOBODY, find, length, match, pin, room, unpin


@inlined
def describe_link(data: Offloading, state: State, i: int, computing: int) -> Link:
    """What rules see of a link and the queue."""
    books = state.books
    server, cache = books.server[0], books.store.cache[0]
    return Link(
        tier=float(i),
        block=transfer_seconds(data, i, 1),
        # it may be taken beyond now
        busy=min(state.link[i].busy_s / max(server.now_s, 1e-9), 1.0),
        waiting=float(server.arrived - server.started),
        computing=float(computing),
        gap=server.now_s / server.arrived,
        empty=float((cache.blocks - cache.used) * data.caching.limit[BLOCK_TOKENS]),
        turnover=books.tier[0].turnover_s,
    )


@inlined
def _describe_request(data: Offloading, state: State, i: int, r: int, have: int, extent: int) -> Request:
    """Request r, with so many blocks on the GPU or loading, of which tier i has those up to extent."""
    caching, cost, now_s = data.caching, unpack(data.caching), state.books.server[0].now_s
    tokens = caching.limit[BLOCK_TOKENS]
    waits_s = max(state.link[i].free_s - now_s, 0.0)
    return Request(
        waited=now_s - caching.arrival_s[r],
        prompt=float(caching.prompt_tokens[r]),
        cached=float(have * tokens),
        tokens=float((extent - have) * tokens),
        load=waits_s + transfer_seconds(data, i, extent - have),
        compute=prefill_seconds(caching, cost, r, have) - prefill_seconds(caching, cost, r, extent),
        kind=float(caching.kind[r]),
        turns=float(state.books.session[caching.session[r]].turns),
    )


class Loaded(NamedTuple):
    """What need not be computed of a prompt, and from when on it is there."""

    blocks: int
    ready_s: float


@inlined
def load(data: Offloading, state: State, r: int, path: np.ndarray, hits: int, rules: Rules) -> Loaded:
    """Load what lower tiers have of request r's path beyond its hits, where the rule says so: host first."""
    store, ready_s = state.books.store, state.books.server[0].now_s
    for i in range(1, LEVELS):
        head = state.link[i].head
        # a piece on its way is hit once it has come
        if head != NONE and state.place[head].depth <= hits and path[state.place[head].depth - 1] == head:
            ready_s = max(ready_s, state.link[i].free_s)
    have, most, count = hits, hits + room(store, 0), state.counter[0]
    for i in range(1, LEVELS):
        extent = min(length(store, match(store, i, path)), most)
        if extent <= have:
            continue
        request = _describe_request(data, state, i, r, have, extent)
        value = rules.load(request, describe_link(data, state, i, 1), rules.theta)
        if not math.isfinite(value):
            raise NonFiniteScore("load returned NaN or an infinity")
        if value > 0.0:
            take(data, state, i, transfer_seconds(data, i, extent - have))
            ready_s = max(ready_s, state.link[i].free_s)
            have = extent
            state.log.loaded[count.loaded] = r << 2 | i
            count.loaded += 1
    return Loaded(have, ready_s)


class Reach(NamedTuple):
    """How far the path to a node lies on the GPU, and how far beyond that in a lower tier."""

    have: int  # blocks on the GPU
    missing: int  # blocks behind them in the tier, of which the first lies in no nearer one; 0: nothing to fetch


@inlined
def reach(data: Offloading, state: State, i: int, node: int) -> Reach:
    """What tier i's link could fetch of the path to a node."""
    extent, nearest, ahead = 0, 0, 0
    while node != NOBODY:
        place = state.place[node]
        if place.tiers & 1:
            break
        if extent == 0 and place.tiers >> i & 1:
            extent = place.depth
        nearest, ahead = place.tiers, place.ahead
        node = data.caching.parent[node]
    have = 0 if node == NOBODY else state.place[node].depth
    # what was evicted before anybody used it is fetched ahead once; and a nearer tier's link fetches what that has
    if extent <= have or ahead or nearest & ((1 << i) - 2):
        return Reach(have, 0)
    return Reach(have, extent - have)


class Wanted(NamedTuple):
    """A request that waits or is announced."""

    node: int  # last block of its prompt, as far as that is known
    session: int
    kind: int
    place: int  # in the queue, from 1; 0: announced
    due_s: float
    notice_s: float


@inlined
def value_of(data: Offloading, state: State, i: int, wanted: Wanted, link: Link, rules: Rules) -> float:
    """What the rule gives for fetching ahead for a request; 0 if there is nothing to fetch."""
    found = reach(data, state, i, wanted.node)
    if found.missing == 0:
        return 0.0
    tokens = data.caching.limit[BLOCK_TOKENS]
    session = Session(
        place=float(wanted.place),
        due=wanted.due_s - state.books.server[0].now_s,
        notice=wanted.notice_s,
        cached=float(found.have * tokens),
        missing=float(found.missing * tokens),
        fetch=transfer_seconds(data, i, found.missing),
        compute=recompute_seconds(data.caching, unpack(data.caching), found.have, found.missing),
        kind=float(wanted.kind),
        turns=float(state.books.session[wanted.session].turns),
    )
    value = rules.prefetch(session, link, rules.theta)
    if not math.isfinite(value):
        raise NonFiniteScore("prefetch returned NaN or an infinity")
    return value


@kernel
def most_wanted(data: Offloading, state: State, i: int, computing: int, rules: Rules) -> int:
    """End of the path that the rule would fetch first from tier i (ties: the lowest node), NONE if none."""
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    caching, server, link = data.caching, state.books.server[0], describe_link(data, state, i, computing)
    best, node = 0.0, NONE
    for r in range(server.started, server.arrived):
        if caching.path_start[r + 1] > caching.path_start[r]:
            end, due_s = caching.path[caching.path_start[r + 1] - 1], caching.arrival_s[r]
            wanted = Wanted(end, caching.session[r], caching.kind[r], r + 1 - server.started, due_s, 0.0)
            value = value_of(data, state, i, wanted, link, rules)
            if value > best or (value == best and value > 0.0 and end < node):
                best, node = value, end
    for k in range(state.counter[0].announced):
        # of the types of requests that wait, or numba would compile what it calls for both
        s = int(state.session[k])
        r, made_s = int(state.announced[s].request), state.announced[s].made_s
        for h in range(caching.hint_start[r], caching.hint_start[r + 1]):
            if caching.hint_s[h] < NEVER_S:
                end, notice_s = caching.hint_node[h], caching.hint_s[h]
                wanted = Wanted(end, s, caching.kind[r], 0, made_s + notice_s, notice_s)
                value = value_of(data, state, i, wanted, link, rules)
                if value > best or (value == best and value > 0.0 and end < node):
                    best, node = value, end
    return node


@kernel
def fetch(data: Offloading, state: State, i: int, node: int, rules: Rules) -> None:
    """Start to fetch a piece of the path to a node from tier i, as far as there is room."""
    data, state, rules = borrow(data), borrow(state), borrow(rules)
    store, parent, found = state.books.store, data.caching.parent, reach(data, state, i, node)
    while node != NOBODY and state.place[node].depth > found.have:
        state.chain[state.place[node].depth - 1] = node
        node = parent[node]
    tail = NOBODY if node == NOBODY else find(store, 0, node)
    pin(store, 0, tail)
    blocks = min(found.missing, data.limit[PIECE_BLOCKS], room(store, 0))
    if blocks == 0:
        unpin(store, 0, tail)
        return
    end, link, count = found.have + blocks, state.link[i], state.counter[0]
    tail = add(data, state, 0, tail, state.chain[:end], len(data.caching.arrival_s) + count.fetched, rules)
    server = state.books.server[0]
    state.log.fetched[count.fetched] = server.started << 34 | i << 32 | state.chain[end - 1]
    state.log.fetched_s[count.fetched] = server.now_s
    count.fetched += 1
    link.tail, link.head = tail, state.chain[found.have]
    take(data, state, i, transfer_seconds(data, i, blocks))
    for k in range(found.have, end):
        state.place[state.chain[k]].ahead = 1
    while store.block[tail].depth > found.have:
        store.block[tail].uses = 0
        if store.block[tail].parent == NOBODY:
            break
        tail = store.block[tail].parent


@inlined
def ask(data: Offloading, state: State, computing: int, rules: Rules) -> None:
    """Ask each idle link for the piece to fetch ahead."""
    for i in range(1, LEVELS):
        if data.below[i - 1] > 0 and state.link[i].free_s <= state.books.server[0].now_s:
            node = most_wanted(data, state, i, computing, rules)
            if node != NONE:
                fetch(data, state, i, node, rules)
