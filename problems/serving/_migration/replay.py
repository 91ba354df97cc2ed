"""Replay of a log of migrations: what its decisions lead to.

Written apart from the engine: one step at a time, the server that is furthest behind first, without leaps, reports
or running totals. The log says where each request was sent, and who was to move where at which tick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DECIDING, DELAY, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.log import SERVER_BITS
from problems.serving._cluster.service import admissions, free_blocks, preemptions, step, step_end_s
from problems.serving._migration.books import (
    NOT_BEGUN,
    RESUMES,
    STANDS,
    Books,
    give_up,
    is_lost,
    land,
    leave,
    mark,
    of_server,
    open_books,
    put_last,
)
from problems.serving._migration.data import Migrating
from problems.serving._migration.log import LOST, REQUEST_BITS
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import DONE, RUNNING, TO_COME, WAITING, load
from problems.serving._server.machine import HORIZON, MAX_RUNNING

FINE, NO_TARGET, NOT_THERE, BUSY, LEFT_OVER = range(5)


class Replayed(NamedTuple):
    """What a log leads to."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    sent_s: np.ndarray  # (n,) float64
    computed_tokens: np.ndarray  # (n,) int64
    preemptions: np.ndarray  # (n,) int64
    decided_s: np.ndarray  # (moves,) float64
    fate: np.ndarray  # (moves,) int64
    pause_s: np.ndarray  # (moves,) float64
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the last server stopped
    broken: int  # the rule that an entry breaks, FINE if none does
    entry: int


@inlined
def _skip(books: Books, server: np.ndarray, i: int) -> None:
    """Find the next request that is sent to server i."""
    hands = books.hands[i]
    while hands.next_sent < len(server) and server[hands.next_sent] != i:
        hands.next_sent += 1


@inlined
def _change_hands(data: Migrating, books: Books, server: np.ndarray, sent_s: np.ndarray, i: int) -> None:
    """Between two steps of server i: requests come, leave and land."""
    book, hands = books.book[i], books.hands[i]
    while hands.next_sent < len(server) and sent_s[hands.next_sent] <= book.now_s:
        r = hands.next_sent
        put_last(books, i, r)
        books.job[r].status = WAITING
        book.waiting += 1
        book.changed = 1
        hands.next_sent += 1
        _skip(books, server, i)
    if hands.out >= 0 and hands.leaves_s <= book.now_s:
        leave(data, books, i)
    if hands.coming >= 0 and hands.comes_s <= book.now_s:
        land(data, books, i)


@inlined
def _next_s(books: Books, sent_s: np.ndarray, i: int) -> float:
    """When server i goes on: at once if it has something to do, or when something comes."""
    book, hands, at_s = books.book[i], books.hands[i], np.inf
    if book.running + book.waiting > 0:
        return float(book.now_s)
    if hands.next_sent < len(sent_s):
        at_s = sent_s[hands.next_sent]
    if hands.coming >= 0:
        at_s = min(at_s, hands.comes_s)
    return float(max(at_s, book.now_s))


@kernel
def _serve(
    data: Migrating, books: Books, server: np.ndarray, sent_s: np.ndarray, i: int, tick_s: float, before: np.ndarray
) -> None:
    """Server i runs its next step, unless that ends after a tick: then it has begun, and runs after the tick."""
    data, books, server, sent_s = borrow(data), borrow(books), borrow(server), borrow(sent_s)
    own, hands, book, ledger = at_server(data.cluster, i), books.hands[i], books.book[i], of_server(books, i)
    book.now_s = _next_s(books, sent_s, i)
    if hands.begun == NOT_BEGUN:
        _change_hands(data, books, server, sent_s, i)
        if book.running + book.waiting == 0:
            return
        mine = books.mine[i, : hands.requests]
        if book.changed == 1:
            admissions(data.cluster, ledger, books.shared, i, mine)
        preemptions(data.cluster, ledger, books.shared, i, mine)
    if step_end_s(own, ledger) > tick_s:
        hands.begun = STANDS
        return
    hands.begun = NOT_BEGUN
    step(data.cluster, ledger, books.shared, i, load(own, ledger), before)
    _change_hands(data, books, server, sent_s, i)


@inlined
def _start(data: Migrating, books: Books, sent_s: np.ndarray, server: np.ndarray, entry: int, move: int) -> int:
    """Follow an entry about a migration; the rule that it breaks, FINE if none."""
    target, r = move & ((1 << SERVER_BITS) - 1), (move >> SERVER_BITS) & ((1 << REQUEST_BITS) - 1)
    tick_s = (move >> (SERVER_BITS + REQUEST_BITS)) * data.tick_s[0]
    if r >= len(books.job):
        return NOT_THERE
    i, job = books.where[r], books.job[r]
    if i == NOBODY and job.status == TO_COME and job.generated == 0 and sent_s[r] <= tick_s:
        # It has come while a step was running.
        i = server[r] if books.hands[server[r]].next_sent <= r else NOBODY
    decodes = job.status == RUNNING and job.cached >= job.target
    if i == NOBODY or job.status == DONE or (job.status == RUNNING and not decodes):
        return NOT_THERE
    if target >= len(books.hands) or target == i:
        return NO_TARGET
    hands, other = books.hands[i], books.hands[target]
    if hands.out >= 0 or hands.awaits == 1 or other.out >= 0 or other.awaits == 1:
        return BUSY
    hands.out, hands.to, hands.out_entry, hands.was = r, target, entry, mark(books, r)
    hands.copied = job.cached if decodes else 0
    copy_s = move_seconds(data, i, target, hands.copied) if decodes else 0.0
    hands.leaves_s = tick_s + data.cluster.router_s[DELAY] + copy_s
    other.awaits = 1
    return FINE


@kernel
def _tick(
    data: Migrating, books: Books, sent_s: np.ndarray, server: np.ndarray, moves: np.ndarray, entry: int, tick: int
) -> tuple[int, int]:
    """What is decided at a tick; the next entry, and the rule that this one breaks."""
    data, books = borrow(data), borrow(books)
    broken = FINE
    for i in range(len(books.hands)):
        if books.hands[i].begun == STANDS:
            books.hands[i].begun = RESUMES
        if books.hands[i].out >= 0 and is_lost(books, i):
            give_up(books, i, LOST)
    while entry < len(moves) and moves[entry] >> (SERVER_BITS + REQUEST_BITS) == tick:
        broken = _start(data, books, sent_s, server, entry, moves[entry])
        if broken != FINE:
            break
        entry += 1
    for i in range(len(books.hands)):
        if books.hands[i].out >= 0:
            target = books.hands[i].to
            own, ledger = at_server(data.cluster, target), of_server(books, target)
            used = load(own, ledger).used
            books.hands[target].told_free = free_blocks(data.cluster, own, ledger, books.shared, target, used)
            books.hands[target].told_running = books.book[target].running
    return entry, broken


@inlined
def _next_server(books: Books, sent_s: np.ndarray, before_s: float) -> int:
    """The server that goes on first before a time, NOBODY if none does; one that stands waits for a tick."""
    best, at_s = NOBODY, before_s
    for i in range(len(books.hands)):
        next_s = _next_s(books, sent_s, i)
        if books.hands[i].begun != STANDS and next_s < at_s:
            best, at_s = i, next_s
    return best


@inlined
def _catch_up(data: Migrating, books: Books, server: np.ndarray, sent_s: np.ndarray) -> None:
    """Who has left one server while the last step of another was running lands at its end."""
    for i in range(len(books.hands)):
        if books.hands[i].begun == NOT_BEGUN:
            _change_hands(data, books, server, sent_s, i)


@inlined
def _send_times(data: Migrating) -> np.ndarray:
    sent_s, free_s = np.empty(len(data.cluster.requests.arrival_s)), 0.0
    for r in range(len(sent_s)):
        sent_s[r] = max(data.cluster.requests.arrival_s[r], free_s) + data.cluster.router_s[DECIDING]
        free_s = sent_s[r]
    return sent_s


@kernel
def _follow(
    data: Migrating, books: Books, sent_s: np.ndarray, server: np.ndarray, moves: np.ndarray
) -> tuple[int, int, int]:
    """Let all happen; the rule that is broken, by which entry, at which tick."""
    data, books = borrow(data), borrow(books)
    horizon_s, before = data.cluster.time_s[HORIZON], np.empty(data.cluster.limit[0, MAX_RUNNING], np.int64)
    entry, tick, broken = 0, 0, FINE
    for i in range(len(books.hands)):
        _skip(books, server, i)
    while True:
        tick_s = tick * data.tick_s[0]
        if tick_s >= horizon_s or books.book["done"].sum() == len(sent_s):
            tick_s = np.inf
        i = _next_server(books, sent_s, min(tick_s, horizon_s))
        if i != NOBODY:
            _serve(data, books, server, sent_s, i, tick_s, before)
        else:
            _catch_up(data, books, server, sent_s)
            if tick_s == np.inf:
                break
            entry, broken = _tick(data, books, sent_s, server, moves, entry, tick)
            if broken != FINE:
                break
            tick += 1
    if broken == FINE and entry < len(moves):
        broken = LEFT_OVER
    return broken, entry, tick


@kernel
def replay(instance: Migrating, log: np.ndarray, moves: np.ndarray) -> Replayed:
    """Follow logs of valid entries."""
    opened, data = open_books(instance.cluster, len(moves)), borrow(instance)
    sent_s, n = _send_times(instance), len(log)
    broken, entry, _ = _follow(data, borrow(opened), sent_s, log & ((1 << SERVER_BITS) - 1), moves)
    first, finish, gap = np.empty(n), np.empty(n), np.empty(n)
    generated, preempted, now_s = np.empty(n, np.int64), np.empty(n, np.int64), 0.0
    for r in range(n):
        job = opened.job[r]
        first[r], finish[r], gap[r] = job.first_s, job.finish_s, job.gap_s
        generated[r], preempted[r] = job.generated, job.preemptions
    for i in range(len(opened.book)):
        now_s = max(now_s, opened.book[i].now_s)
    computed, fate, pause_s = opened.shared.computed.copy(), opened.fate.copy(), opened.pause_s.copy()
    decided_s = (moves >> (SERVER_BITS + REQUEST_BITS)) * data.tick_s[0]
    return Replayed(
        first, finish, gap, sent_s, computed, preempted, decided_s, fate, pause_s, generated, now_s, broken, entry
    )
