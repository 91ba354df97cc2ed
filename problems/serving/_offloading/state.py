"""What a server with tiers of KV cache keeps: the books of its caches, its links, who is announced, and a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._eviction.books import State as Books
from problems.serving._eviction.books import open_books
from problems.serving._eviction.data import NEVER_S, NONE
from problems.serving._eviction.views import Block, Cache
from problems.serving._offloading.data import LEVELS, Offloading, capacities
from problems.serving._offloading.views import Copy, Link, Request, Session
from problems.serving._prefix.store import NOBODY, unpin

Evict = Callable[[Block, Cache, Copy, np.ndarray], float]
Load = Callable[[Request, Link, np.ndarray], float]
Prefetch = Callable[[Session, Link, np.ndarray], float]

PLACE = np.dtype(
    (
        np.record,
        [
            ("depth", np.int32),  # blocks of its prefix, itself included
            ("tiers", np.int32),  # bit i: tier i has it
            ("ahead", np.int32),  # 1: fetched ahead, and not used by a request since
        ],
    )
)

LINK = np.dtype(
    (
        np.record,
        [
            ("free_s", np.float64),  # end of the transfer it is taken by
            ("busy_s", np.float64),  # in use so far, what it is taken by included
            ("tail", np.int64),  # last block of the piece that is fetched ahead, pinned; or NOBODY
            ("head", np.int64),  # first node of that piece, or NONE
        ],
    )
)

ANNOUNCED = np.dtype(
    (
        np.record,
        [
            ("made_s", np.float64),  # when its last request ended,
            ("request", np.int32),  # which one that was,
            ("place", np.int32),  # and the session's place among those that are announced, or NONE
        ],
    )
)

COUNT = np.dtype(
    (np.record, [("announced", np.int64), ("loaded", np.int64), ("evicted", np.int64), ("fetched", np.int64)])
)


class Log(NamedTuple):
    """Decisions in their order."""

    loaded: np.ndarray  # int64 request << 2 | tier
    evicted: np.ndarray  # int64 cause << 34 | tier << 32 | node
    fetched: np.ndarray  # int64 prompts started << 34 | tier << 32 | last node of a piece
    fetched_s: np.ndarray  # float64


class State(NamedTuple):
    """Everything that changes."""

    books: Books
    place: np.ndarray  # (b,) PLACE
    link: np.ndarray  # (LEVELS,) LINK, from each tier; none from the GPU's
    announced: np.ndarray  # (n,) ANNOUNCED, by session
    session: np.ndarray  # (n,) int32 sessions that are announced, in any order
    counter: np.ndarray  # (1,) COUNT
    chain: np.ndarray  # int64 nodes of the piece at hand, by depth
    log: Log


class Rules(NamedTuple):
    """A candidate's hooks."""

    evict: Evict
    load: Load
    prefetch: Prefetch
    theta: np.ndarray


@kernel
def open_state(data: Offloading) -> State:
    """An empty server."""
    caching = data.caching
    n, entries = len(caching.arrival_s), len(caching.path)
    place, link, announced = np.zeros(len(caching.parent), PLACE), np.zeros(LEVELS, LINK), np.zeros(n, ANNOUNCED)
    deepest = 0
    for k in range(len(place)):
        above = caching.parent[k]
        place[k].depth = 1 + (0 if above == NOBODY else place[above].depth)
        deepest = max(deepest, place[k].depth)
    for i in range(1, LEVELS):
        link[i].tail, link[i].head = NOBODY, NONE
    for s in range(n):
        announced[s].place = NONE
    # a block comes into each tier at most once per use, and once more per use into the GPU's, ahead of it
    log = Log(
        np.empty(2 * n, np.int64), np.empty(4 * entries, np.int64), np.empty(entries, np.int64), np.empty(entries)
    )
    books = open_books(caching, capacities(data))
    chain = np.empty(deepest, np.int64)
    return State(books, place, link, announced, np.empty(n, np.int32), np.zeros(1, COUNT), chain, log)


@inlined
def settle(state: State) -> None:
    """Let go of pieces that have come by now: requests may evict them."""
    for i in range(1, LEVELS):
        link = state.link[i]
        if link.tail != NOBODY and link.free_s <= state.books.server[0].now_s:
            unpin(state.books.store, 0, link.tail)
            link.tail, link.head = NOBODY, NONE


@inlined
def take(data: Offloading, state: State, i: int, seconds: float) -> None:
    """Use a link for so long, as soon as it is free."""
    link = state.link[i]
    link.free_s = max(state.books.server[0].now_s, link.free_s) + seconds
    link.busy_s += seconds


@inlined
def enlist(data: Offloading, state: State, r: int) -> None:
    """Note what request r, which ends now, says of its session: of what it announces, if that is anything."""
    caching, count = data.caching, state.counter[0]
    session = caching.session[r]
    own, comes = state.announced[session], False
    for h in range(caching.hint_start[r], caching.hint_start[r + 1]):
        comes = comes or caching.hint_s[h] < NEVER_S
    own.request, own.made_s = r, state.books.server[0].now_s
    if comes and own.place == NONE:
        own.place = count.announced
        state.session[own.place] = session
        count.announced += 1
    elif not comes and own.place != NONE:
        count.announced -= 1
        last = state.session[count.announced]
        state.session[own.place] = last
        state.announced[last].place = own.place
        own.place = NONE
