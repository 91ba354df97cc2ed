"""The books of a replay of migrations, written apart from the engine's: who is where, and who is on the way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._cluster.cache import leave as release
from problems.serving._cluster.cache import open_caches, trim
from problems.serving._cluster.data import DELAY, Cluster, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.service import Shared, free_blocks
from problems.serving._migration.data import Migrating
from problems.serving._migration.log import JOINED, LOST, QUEUED, RECOMPUTED, REFUSED
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import BOOK, DONE, JOB, RUNNING, TO_COME, WAITING, Ledger, blocks_of, load
from problems.serving._server.machine import MAX_RUNNING

# A step that has begun and ends after the next tick stands until then.
NOT_BEGUN, STANDS, RESUMES = 0, 1, 2

# One row per server
HANDS = np.dtype(
    (
        np.record,
        [
            ("out", np.int64),  # request that is to leave, NOBODY: none
            ("to", np.int64),
            ("out_entry", np.int64),
            ("leaves_s", np.float64),
            ("copied", np.int64),
            ("was", np.int64),  # preemptions and computed tokens, together: it is lost when they change
            ("coming", np.int64),  # request that is on its way here
            ("awaits", np.int64),  # 1: one is coming, or will be
            ("in_entry", np.int64),
            ("comes_s", np.float64),
            ("told_free", np.int64),  # blocks, at the last tick
            ("told_running", np.int64),
            ("requests", np.int64),  # that are or were here: rows of mine
            ("begun", np.int64),  # the next step
            ("next_sent", np.int64),  # the next request that the router sends here, or n
        ],
    )
)


class Books(NamedTuple):
    """All that the replay keeps."""

    job: np.ndarray  # (n,) JOB
    book: np.ndarray  # (servers,) BOOK
    running: np.ndarray  # (servers, max_running) int64, in order of admission
    mine: np.ndarray  # (servers, n) int64, in order of the queue
    hands: np.ndarray  # (servers,) HANDS
    where: np.ndarray  # (n,) int64, server of a request, or NOBODY
    shared: Shared
    fate: np.ndarray  # (moves,) int64
    pause_s: np.ndarray  # (moves,) float64
    no_gaps: np.ndarray  # (0,) float64


@kernel
def open_books(data: Cluster, moves: int) -> Books:
    """Nothing has come, and nothing moves."""
    n, servers = len(data.requests.arrival_s), len(data.kind)
    job = np.zeros(n, JOB)
    for r in range(n):
        job[r].target = data.requests.prompt_tokens[r]
        job[r].first_s, job[r].finish_s = np.inf, np.inf
    hands = np.zeros(servers, HANDS)
    for i in range(servers):
        hands[i].out, hands[i].coming = NOBODY, NOBODY
    return Books(
        job,
        np.zeros(servers, BOOK),
        np.empty((servers, data.limit[0, MAX_RUNNING]), np.int64),
        np.empty((servers, n), np.int64),
        hands,
        np.full(n, NOBODY),
        Shared(open_caches(data), np.full(n, NOBODY), np.zeros(n, np.int64)),
        np.zeros(moves, np.int64),
        np.zeros(moves),
        np.empty(0),
    )


@inlined
def of_server(books: Books, i: int) -> Ledger:
    """What a replay of one server keeps."""
    return Ledger(books.job, books.book[i : i + 1], books.running[i], books.no_gaps)


@inlined
def mark(books: Books, r: int) -> int:
    """A number that changes when request r is admitted or preempted."""
    return int(books.job[r].preemptions + (books.shared.computed[r] << 20))


@inlined
def is_lost(books: Books, i: int) -> bool:
    """Whether the request that is to leave server i has finished, run or been preempted."""
    hands = books.hands[i]
    return bool(books.job[hands.out].status == DONE or mark(books, hands.out) != hands.was)


@inlined
def give_up(books: Books, i: int, fate: int) -> None:
    """Nobody leaves server i for now."""
    hands = books.hands[i]
    books.fate[hands.out_entry] = fate
    books.hands[hands.to].awaits = 0
    hands.out = NOBODY


@inlined
def put_last(books: Books, i: int, r: int) -> None:
    """Request r is at server i, behind all others."""
    books.mine[i, books.hands[i].requests] = r
    books.hands[i].requests += 1
    books.where[r] = i


@inlined
def _take_away(books: Books, i: int, r: int) -> None:
    """Request r is at server i no longer."""
    kept = 0
    for k in range(books.hands[i].requests):
        if books.mine[i, k] != r:
            books.mine[i, kept] = books.mine[i, k]
            kept += 1
    books.hands[i].requests = kept
    books.where[r] = NOBODY


@inlined
def _hand_over(books: Books, i: int, comes_s: float) -> None:
    hands = books.hands[i]
    target = books.hands[hands.to]
    _take_away(books, i, hands.out)
    target.coming, target.comes_s, target.in_entry = hands.out, comes_s, hands.out_entry
    books.book[i].changed = 1
    hands.out = NOBODY


@kernel
def leave(data: Migrating, books: Books, i: int) -> None:
    """Who is to leave server i does so, if it is still what it was, and the target has room."""
    own, hands, book = at_server(data.cluster, i), books.hands[i], books.book[i]
    r, target = hands.out, books.hands[hands.to]
    job = books.job[r]
    if is_lost(books, i):
        give_up(books, i, LOST)
    elif job.status == WAITING:
        book.waiting -= 1
        job.status = TO_COME
        _hand_over(books, i, book.now_s + data.cluster.router_s[DELAY])
    elif blocks_of(own, job.cached) > target.told_free or target.told_running >= own.limit[MAX_RUNNING]:
        give_up(books, i, REFUSED)
    else:
        pause_s = move_seconds(data, i, hands.to, max(job.cached - hands.copied, 1))
        kept = 0
        for k in range(book.running):
            if books.running[i, k] != r:
                books.running[i, kept] = books.running[i, k]
                kept += 1
        book.running = kept
        release(books.shared.caches, i, books.shared.tail[r], book.now_s)
        books.shared.tail[r] = NOBODY
        job.status = TO_COME
        books.pause_s[hands.out_entry] = pause_s
        _hand_over(books, i, book.now_s + pause_s)


@kernel
def land(data: Migrating, books: Books, i: int) -> None:
    """Who comes to server i joins its batch if it decodes and there is room, or else its queue."""
    own, hands, book, ledger = at_server(data.cluster, i), books.hands[i], books.book[i], of_server(books, i)
    r = hands.coming
    job = books.job[r]
    hands.coming, hands.awaits = NOBODY, 0
    put_last(books, i, r)
    job.status, fate = WAITING, QUEUED
    if job.cached > 0:
        free = free_blocks(data.cluster, own, ledger, books.shared, i, load(own, ledger).used)
        blocks = blocks_of(own, job.cached)
        if blocks <= free and book.running < own.limit[MAX_RUNNING]:
            job.status, fate = RUNNING, JOINED
            books.running[i, book.running] = r
            book.running += 1
            if data.cluster.cache_tokens[0] > 0:
                trim(data.cluster, books.shared.caches, i, free - blocks)
        else:
            fate = RECOMPUTED
            job.cached, job.target = 0, data.cluster.requests.prompt_tokens[r] + job.generated
            job.preemptions += 1
            last = hands.requests - 1
            books.mine[i, 1 : last + 1] = books.mine[i, :last].copy()
            books.mine[i, 0] = r
    if fate != JOINED:
        book.waiting += 1
        book.changed = 1
    books.fate[hands.in_entry] = fate
