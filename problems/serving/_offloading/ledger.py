"""What a replay of serving/kv_offloading keeps, and the rules that a log may break."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import kernel
from problems.serving._offloading.data import LEVELS, Offloading

# What is wrong
FINE, TOO_FEW, OTHER, HELD, CONTINUED, NOTHING, LINK, UNWANTED, AGAIN, LOAD = range(10)
RULES = {
    TOO_FEW: "evictions end before there is room",
    OTHER: "an eviction that nothing needs then, or of what is not in that tier",
    HELD: "the evicted block is held by the request that runs, or on its way",
    CONTINUED: "the evicted block is continued by another one in that tier",
    NOTHING: "what is fetched is not a piece of at most the allowed length that this tier alone has next",
    LINK: "a link is asked only at the start or end of a prompt, at arrivals and ends of transfers, while it is idle",
    UNWANTED: "what is fetched is wanted by no request that waits or is announced",
    AGAIN: "what is fetched was fetched before, and no request has used it since",
    LOAD: "a load from a tier that has nothing of the prompt beyond what is on the GPU, or of no prompt",
}


class Replay(NamedTuple):
    """What is where, and what follows."""

    there: np.ndarray  # (LEVELS, b) bool
    continued: np.ndarray  # (LEVELS, b) int64 children that are there
    used: np.ndarray  # (LEVELS,) int64 blocks
    held: np.ndarray  # (b,) int64 by the request that runs, and by pieces on their way; on the GPU
    ahead: np.ndarray  # (b,) bool, fetched and not used since
    free_s: np.ndarray  # (LEVELS,) when each tier's link is free
    tail: np.ndarray  # (LEVELS,) int64 last node of the piece on its way, or -1
    head: np.ndarray  # (LEVELS,) int64 first node of that
    last: np.ndarray  # (n,) int64 by session, the request that ended last, or -1
    clock: np.ndarray  # (1,) float64
    at: np.ndarray  # (6,) int64: entries of loaded, evicted and fetched so far; what is wrong; arrived; started
    start_s: np.ndarray  # (n,) float64
    ready_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    cached: np.ndarray  # (n,) int64 blocks on the GPU, hit or loaded
    moved: np.ndarray  # (LEVELS,) int64 blocks: fetched ahead (0), loaded from each tier


LOADED, EVICTED, FETCHED, WRONG, ARRIVED, STARTED = range(6)


@kernel
def open_replay(data: Offloading) -> Replay:
    """Nothing has happened."""
    b, n = len(data.caching.parent), len(data.caching.arrival_s)
    return Replay(
        np.zeros((LEVELS, b), np.bool_),
        np.zeros((LEVELS, b), np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros(b, np.int64),
        np.zeros(b, np.bool_),
        np.zeros(LEVELS),
        np.full(LEVELS, -1),
        np.full(LEVELS, -1),
        np.full(n, -1),
        np.zeros(1),
        np.zeros(6, np.int64),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.zeros(LEVELS, np.int64),
    )
