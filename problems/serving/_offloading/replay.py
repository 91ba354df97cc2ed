"""Solutions of serving/kv_offloading, checked and measured from their log of decisions.

Written apart from the engine: no store, no heap, a flag per node and tier. Whatever the rules were, hits, times
and all that is in a tier follow from what was evicted, loaded and fetched.
"""

from __future__ import annotations

import numpy as np

from problems._borrow import borrow
from problems._jit import kernel
from problems.serving._eviction.data import BLOCKS, NEVER_S, Caching, prefill_seconds, unpack
from problems.serving._offloading.data import LEVELS, PIECE_BLOCKS, Offloading, transfer_seconds
from problems.serving._offloading.engine import Offloaded
from problems.serving._offloading.ledger import (
    AGAIN,
    ARRIVED,
    CONTINUED,
    EVICTED,
    FETCHED,
    FINE,
    HELD,
    LINK,
    LOAD,
    LOADED,
    NOTHING,
    OTHER,
    STARTED,
    TOO_FEW,
    UNWANTED,
    WRONG,
    Replay,
    open_replay,
)


@kernel
def _hold(caching: Caching, now: Replay, node: int, change: int) -> None:
    """Hold the path to a node on the GPU, or let go of it."""
    while node >= 0:
        now.held[node] += change
        node = caching.parent[node]


@kernel
def _put(data: Offloading, now: Replay, i: int, path: np.ndarray, most: int, cause: int, log: Offloaded) -> int:
    """Put what tier i lacks of a path into it, up to ``most`` blocks, as the log makes room; its new length."""
    data, now = borrow(data), borrow(now)
    caching, have = data.caching, 0
    while have < len(path) and now.there[i, path[have]]:
        have += 1
    added = min(len(path), most) - have
    size = caching.limit[BLOCKS] if i == 0 else data.below[i - 1]
    for _ in range(now.used[i] + added - size):
        k = now.at[EVICTED]
        if k == len(log.evicted) or log.evicted[k] >> 32 != (cause << 2 | i):
            now.at[WRONG] = TOO_FEW
            return have
        node = log.evicted[k] & 0xFFFFFFFF
        if node >= len(caching.parent) or not now.there[i, node]:
            now.at[WRONG] = OTHER
        elif (now.held[node] > 0) if i == 0 else (path[:have] == node).any():
            now.at[WRONG] = HELD
        elif now.continued[i, node] > 0:
            now.at[WRONG] = CONTINUED
        if now.at[WRONG] != FINE:
            return have
        now.there[i, node] = False
        now.used[i] -= 1
        now.at[EVICTED] += 1
        if caching.parent[node] >= 0:
            now.continued[i, caching.parent[node]] -= 1
    for node in path[have : have + added]:
        now.there[i, node] = True
        if caching.parent[node] >= 0:
            now.continued[i, caching.parent[node]] += 1
    now.used[i] += added
    return have + added


@kernel
def _room(data: Offloading, now: Replay, i: int, path: np.ndarray) -> int:
    """How many blocks of a path tier i can hold, if what it has of it stays."""
    have = 0
    while have < len(path) and now.there[i, path[have]]:
        have += 1
    if i > 0:
        return int(data.below[i - 1])
    return int(have + data.caching.limit[BLOCKS] - np.count_nonzero(now.held))


@kernel
def _catch_up(data: Offloading, now: Replay) -> None:
    caching = data.caching
    for i in range(1, LEVELS):
        if now.tail[i] >= 0 and now.free_s[i] <= now.clock[0]:
            _hold(caching, now, now.tail[i], -1)
            now.tail[i] = now.head[i] = -1
    while now.at[ARRIVED] < len(caching.arrival_s) and caching.arrival_s[now.at[ARRIVED]] <= now.clock[0]:
        now.at[ARRIVED] += 1


@kernel
def _wanted(caching: Caching, now: Replay, node: int) -> bool:
    """Whether a request that waits, or one that a session announced when it ended last, has a node in its path."""
    caching, now = borrow(caching), borrow(now)
    for r in range(now.at[STARTED], now.at[ARRIVED]):
        if (caching.path[caching.path_start[r] : caching.path_start[r + 1]] == node).any():
            return True
    for r in now.last:
        if r >= 0:
            for h in range(caching.hint_start[r], caching.hint_start[r + 1]):
                other = caching.hint_node[h] if caching.hint_s[h] < NEVER_S else -1
                while other > node:
                    other = caching.parent[other]
                if other == node:
                    return True
    return False


@kernel
def _fetch(data: Offloading, now: Replay, i: int, node: int, log: Offloaded) -> None:
    """Start the transfer of the piece that ends with a node."""
    data, now = borrow(data), borrow(now)
    caching, depth, above = data.caching, 0, node
    while above >= 0:
        depth, above = depth + 1, caching.parent[above]
    path, above = np.empty(depth, np.int64), node
    for k in range(depth - 1, -1, -1):
        path[k] = above
        above = caching.parent[above]
    have = 0
    while have < depth and now.there[0, path[have]]:
        have += 1
    blocks = depth - have
    if (
        not 0 < blocks <= data.limit[PIECE_BLOCKS]
        or not now.there[i, node]
        or now.there[1:i, path[min(have, depth - 1)]].any()
    ):
        now.at[WRONG] = NOTHING
        return
    if now.ahead[path[have]]:
        now.at[WRONG] = AGAIN
        return
    if not _wanted(caching, now, node):
        now.at[WRONG] = UNWANTED
        return
    for k in range(have):
        now.held[path[k]] += 1
    end = _put(data, now, 0, path, _room(data, now, 0, path), len(caching.arrival_s) + now.at[FETCHED] - 1, log)
    if now.at[WRONG] != FINE or end < depth:
        now.at[WRONG] = max(now.at[WRONG], TOO_FEW)
        return
    for k in range(have, depth):
        now.held[path[k]] += 1
        now.ahead[path[k]] = True
    now.head[i], now.tail[i] = path[have], node
    now.free_s[i] = now.clock[0] + transfer_seconds(data, i, blocks)
    now.moved[0] += blocks


@kernel
def _ask(data: Offloading, now: Replay, log: Offloaded) -> None:
    """Start what the log says is fetched now, at most one piece per link."""
    for i in range(1, LEVELS):
        k = now.at[FETCHED]
        if data.below[i - 1] == 0 or now.free_s[i] > now.clock[0] or k == len(log.fetched):
            continue
        if log.fetched[k] >> 32 == (now.at[STARTED] << 2 | i) and log.fetched_s[k] == now.clock[0]:
            node = log.fetched[k] & 0xFFFFFFFF
            now.at[FETCHED] += 1
            if node >= len(data.caching.parent):
                now.at[WRONG] = NOTHING
            else:
                _fetch(data, now, i, node, log)
            if now.at[WRONG] != FINE:
                now.at[FETCHED] = k
                return


@kernel
def _pass(data: Offloading, now: Replay, until_s: float, log: Offloaded) -> None:
    """Go through all instants before a time."""
    data, now = borrow(data), borrow(now)
    arrival_s = data.caching.arrival_s
    while now.at[WRONG] == FINE:
        next_s = until_s
        if now.at[ARRIVED] < len(arrival_s):
            next_s = min(next_s, arrival_s[now.at[ARRIVED]])
        for i in range(1, LEVELS):
            if now.free_s[i] > now.clock[0]:
                next_s = min(next_s, now.free_s[i])
        now.clock[0] = next_s
        _catch_up(data, now)
        if next_s >= until_s:
            break
        _ask(data, now, log)


@kernel
def _serve(data: Offloading, now: Replay, r: int, log: Offloaded) -> None:
    """Load, compute and write through what request r lacks."""
    data, now = borrow(data), borrow(now)
    caching, clock = data.caching, now.clock
    path = caching.path[caching.path_start[r] : caching.path_start[r + 1]]
    now.at[STARTED], now.start_s[r] = r + 1, clock[0]
    hits, ready_s = 0, clock[0]
    while hits < len(path) and now.there[0, path[hits]]:
        now.held[path[hits]] += 1
        hits += 1
    for i in range(1, LEVELS):
        if now.head[i] >= 0 and (path[:hits] == now.head[i]).any():
            ready_s = max(ready_s, now.free_s[i])
    have, most = hits, _room(data, now, 0, path)
    for i in range(1, LEVELS):
        extent = have
        while extent < min(len(path), most) and now.there[i, path[extent]]:
            extent += 1
        k = now.at[LOADED]
        if k < len(log.loaded) and log.loaded[k] == (r << 2 | i):
            now.at[LOADED] += 1
            if extent == have:
                now.at[WRONG] = LOAD
                return
            now.free_s[i] = max(now.free_s[i], clock[0]) + transfer_seconds(data, i, extent - have)
            ready_s = max(ready_s, now.free_s[i])
            now.moved[i] += extent - have
            have = extent
    held = _put(data, now, 0, path, most, r, log)
    for k in range(held):
        now.held[path[k]] += 1 if k >= hits else 0
        now.ahead[path[k]] = False
    now.cached[r], now.ready_s[r] = have, ready_s
    now.finish_s[r] = ready_s + prefill_seconds(caching, unpack(caching), r, have)
    if now.at[WRONG] == FINE:
        _ask(data, now, log)
        _pass(data, now, now.finish_s[r], log)
    for k in range(held):
        now.held[path[k]] -= 1
    now.last[caching.session[r]] = r
    for i in range(1, LEVELS):
        if now.at[WRONG] == FINE:
            _put(data, now, i, path[:held], _room(data, now, i, path), r, log)
    if now.at[WRONG] == FINE and now.at[ARRIVED] == r + 1:
        _ask(data, now, log)


@kernel
def replay(instance: Offloading, log: Offloaded) -> Replay:
    """Follow a log until it ends or breaks a rule."""
    opened, data = open_replay(instance), borrow(instance)
    now = borrow(opened)
    for r in range(len(data.caching.arrival_s)):
        _pass(data, now, max(now.clock[0], data.caching.arrival_s[r]), log)
        if now.at[WRONG] == FINE:
            _serve(data, now, r, log)
    if now.at[WRONG] == FINE and now.at[FETCHED] < len(log.fetched):
        now.at[WRONG] = LINK
    if now.at[WRONG] == FINE and now.at[EVICTED] < len(log.evicted):
        now.at[WRONG] = OTHER
    if now.at[WRONG] == FINE and now.at[LOADED] < len(log.loaded):
        now.at[WRONG] = LOAD
    return opened
