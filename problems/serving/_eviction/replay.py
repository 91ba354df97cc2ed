"""Solutions of serving/prefix_eviction, checked and measured from their log of evictions.

Written apart from the engine: no store, no heap, one flag per node. Whatever the rule was, hits and times
follow from what was evicted for whom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import kernel
from problems.problem import Infeasible
from problems.serving._eviction.data import BLOCK_TOKENS, BLOCKS, KINDS, Caching, prefill_seconds, unpack
from problems.serving._eviction.engine import Cached

UNITS = {
    "uncached": "%",
    "uncached_blocks": "%",
    "mean_ttft": "s",
    "p99_ttft": "s",
    "worst_kind_ttft": "s",
}
RAW_UNITS = {**UNITS, "evictions": "1/request"}

# What a replay finds wrong
_FINE, _TOO_FEW, _TOO_MANY, _NOT_THERE, _HELD, _CONTINUED = range(6)
_RULES = {
    _TOO_FEW: "evictions end before there is room",
    _TOO_MANY: "more is evicted than the request needs",
    _NOT_THERE: "the evicted block is not in the cache",
    _HELD: "the evicted block is held by the request that starts",
    _CONTINUED: "the evicted block is continued by another one in the cache",
}


class Replayed(NamedTuple):
    """What follows from a log."""

    start_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    hits: np.ndarray  # (n,) int64 blocks
    wrong: int  # _FINE, or the rule that is broken
    place: int  # entry of the log where


@kernel
def replay(data: Caching, evicted: np.ndarray) -> Replayed:
    """Follow a log of evictions until it ends or breaks a rule."""
    n, cost, blocks = len(data.arrival_s), unpack(data), data.limit[BLOCKS]
    start_s, finish_s, hits = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    there, held = np.zeros(len(data.parent), np.bool_), np.zeros(len(data.parent), np.bool_)
    continued = np.zeros(len(data.parent), np.int64)  # children that are there
    used, k, now_s = 0, 0, 0.0
    for r in range(n):
        path = data.path[data.path_start[r] : data.path_start[r + 1]]
        while hits[r] < len(path) and there[path[hits[r]]]:
            held[path[hits[r]]] = True
            hits[r] += 1
        # what is held stays; as much of the rest as there is room for is added
        added = min(len(path) - hits[r], blocks - hits[r])
        for _ in range(used + added - blocks):
            if k == len(evicted) or evicted[k] >> 32 != r:
                return Replayed(start_s, finish_s, hits, _TOO_FEW, k)
            node = evicted[k] & 0xFFFFFFFF
            if node >= len(there) or not there[node]:
                return Replayed(start_s, finish_s, hits, _NOT_THERE, k)
            if held[node]:
                return Replayed(start_s, finish_s, hits, _HELD, k)
            if continued[node] > 0:
                return Replayed(start_s, finish_s, hits, _CONTINUED, k)
            there[node] = False
            if data.parent[node] >= 0:
                continued[data.parent[node]] -= 1
            used -= 1
            k += 1
        if k < len(evicted) and evicted[k] >> 32 <= r:
            return Replayed(start_s, finish_s, hits, _TOO_MANY, k)
        for node in path[hits[r] : hits[r] + added]:
            there[node] = True
            if data.parent[node] >= 0:
                continued[data.parent[node]] += 1
        used += added
        for node in path[: hits[r]]:
            held[node] = False
        start_s[r] = max(now_s, data.arrival_s[r])
        now_s = start_s[r] + prefill_seconds(data, cost, r, hits[r])
        finish_s[r] = now_s
    return Replayed(start_s, finish_s, hits, _FINE if k == len(evicted) else _TOO_MANY, k)


def verify(data: Caching, solution: Cached) -> None:
    """Check that evictions are legal, and no more or less than needed, and that all times follow from them.

    Raises
    ------
    Infeasible
        Naming the rule, the value and the request.
    """
    n = len(data.arrival_s)
    for name, shape, dtype in (
        ("start_s", (n,), np.float64),
        ("finish_s", (n,), np.float64),
        ("evicted", (solution.evicted.size,), np.int64),
    ):
        array = getattr(solution, name)
        if array.shape != shape or array.dtype != dtype:
            raise Infeasible(f"{name} must be {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}")
    found = replay(data, np.ascontiguousarray(solution.evicted))
    if found.wrong != _FINE:
        at = f"entry {found.place} of {solution.evicted.size}"
        if found.place < solution.evicted.size:
            entry = int(solution.evicted[found.place])
            at += f" (node {entry & 0xFFFFFFFF} for request {entry >> 32})"
        raise Infeasible(f"evicted: {_RULES[found.wrong]}, at {at}")
    for name in ("start_s", "finish_s"):
        claimed, true = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(claimed == true))[:1]:
            raise Infeasible(f"{name} of request {r} must be {true[r]!r}, which its hits lead to, got {claimed[r]!r}")


def measure(data: Caching, solution: Cached) -> dict[str, float]:
    """Raw metrics of one instance.

    ``uncached`` is the share of all prompt tokens that were computed, ``uncached_blocks`` the share of full
    blocks; TTFT the time from arrival to the end of prefill; ``worst_kind_ttft`` its mean over the requests of
    the kind that fares worst.
    """
    found = replay(data, np.ascontiguousarray(solution.evicted))
    return metrics(data, found.hits, solution.finish_s) | {
        "evictions": solution.evicted.size / len(data.arrival_s),
    }


def metrics(data: Caching, hits: np.ndarray, finish_s: np.ndarray) -> dict[str, float]:
    """What follows from hits and first tokens."""
    ttft_s = finish_s - data.arrival_s
    cached = int(hits.sum())
    kinds = [ttft_s[data.kind == k] for k in range(len(KINDS))]
    return {
        "uncached": 100.0 * (1.0 - cached * int(data.limit[BLOCK_TOKENS]) / int(data.prompt_tokens.sum())),
        "uncached_blocks": 100.0 * (1.0 - cached / max(len(data.path), 1)),
        "mean_ttft": float(np.mean(ttft_s)),
        "p99_ttft": float(np.quantile(ttft_s, 0.99)),
        "worst_kind_ttft": max(float(np.mean(of)) for of in kinds if of.size),
    }


def lower_bounds(data: Caching) -> dict[str, float]:
    """What each metric would be with a cache that holds everything.

    No cache has more hits, fewer computed tokens never take longer, and in a queue served in order of arrival
    nothing starts later if nothing before it takes longer.
    """
    return bounds(data) | {"evictions": 0.0}


def bounds(data: Caching) -> dict[str, float]:
    """As lower_bounds, of what follows from hits and first tokens."""
    found = replay(unlimited(data), np.zeros(0, np.int64))
    return metrics(data, found.hits, found.finish_s)


def unlimited(data: Caching) -> Caching:
    """The same requests at a cache that holds everything."""
    limit = data.limit.copy()
    limit[BLOCKS] = max(len(data.parent), 1)
    limit.setflags(write=False)
    return data._replace(limit=limit)
