"""Replay of a fleet's log: what its decisions lead to.

Written apart from the engine: failures, ticks and decisions of the router in order of time, without reports or rules;
each instance is simulated once, when it is known which requests it gets. From the log come the places that
requests are sent to, and the instances that are started and stopped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._cluster.cache import open_caches
from problems.serving._cluster.data import DECIDING, DELAY, DOWN, LOADING, UP, at_server
from problems.serving._cluster.log import SERVER_BITS
from problems.serving._cluster.router import last_report_s
from problems.serving._cluster.service import Shared
from problems.serving._fleet.books import (
    CLOCK,
    DRAINING,
    EARLY,
    FINE,
    LATE,
    NO_PLACE,
    NO_TICK,
    NOT_DOWN,
    NOT_FIRST,
    NOT_LIVE,
    NOT_NEXT,
    NOT_UP,
    SLOT,
    TOO_FEW,
    Books,
    break_rule,
    gone,
    send_back,
    wake,
)
from problems.serving._fleet.data import TICK, Elastic, places_of
from problems.serving._fleet.log import KIND_BITS, PLACE_BITS, START, TIME_SHIFT, move
from problems.serving._fleet.service import serve
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import DONE, open_ledger
from problems.serving._server.machine import HORIZON


class Replayed(NamedTuple):
    """What a log leads to."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    computed_tokens: np.ndarray  # (n,) int64
    sent_s: np.ndarray  # (sends,) float64
    paid_s: np.ndarray  # (places,) float64
    generated: np.ndarray  # (n,) int64, tokens put out
    now_s: float  # when the last step has ended
    broken: int  # an index of BROKEN,
    at: int  # with the number of an entry
    value: int


@kernel
def _serve(data: Elastic, books: Books, log: np.ndarray, i: int, fails_s: float) -> np.ndarray:
    """Simulate the instance at place i; the requests that it does not finish, in order of arrival."""
    slot, clock = books.slot[i], books.clock[0]
    mine, count = np.empty(clock.sends - slot.since, np.int64), 0
    for k in range(slot.since, clock.sends):
        if log[k] & ((1 << SERVER_BITS) - 1) == i:
            mine[count] = log[k] >> SERVER_BITS
            count += 1
    mine = mine[:count]
    last_s = serve(data.cluster, books.ledger, books.shared, i, mine, books.at_s, (slot.ready_s, fails_s))
    slot.end_s = last_s
    clock.last_s = max(clock.last_s, last_s)
    left = 0
    mine.sort()
    for k in range(count):
        if books.ledger.job[mine[k]].status != DONE:
            mine[left] = mine[k]
            left += 1
    return mine[:left]


@inlined
def _unfinished(books: Books, log: np.ndarray, i: int) -> np.ndarray:
    """Requests of the draining instance at place i that are not done, in order of arrival."""
    slot, clock, count = books.slot[i], books.clock[0], 0
    left = np.empty(slot.left, np.int64)
    for k in range(slot.since, clock.sends):
        r = log[k] >> SERVER_BITS
        if log[k] & ((1 << SERVER_BITS) - 1) == i and books.ledger.job[r].status != DONE and count < slot.left:
            left[count] = r
            count += 1
    left.sort()
    return left


@inlined
def _failure(data: Elastic, books: Books, log: np.ndarray) -> None:
    """The next failure happens."""
    clock = books.clock[0]
    i, now_s = data.fail_place[clock.failed], data.fail_s[clock.failed]
    slot = books.slot[i]
    wake(books, now_s)
    if slot.status == LOADING:
        gone(slot, now_s)
    elif slot.status == UP:
        send_back(books, _serve(data, books, log, i, now_s), now_s)
        gone(slot, now_s)
    elif slot.status == DRAINING and slot.left == 0:
        gone(slot, slot.end_s)
    elif slot.status == DRAINING:
        send_back(books, _unfinished(books, log, i), now_s)
        gone(slot, now_s)
    clock.failed += 1


@inlined
def _next_failure_s(data: Elastic, books: Books, i: int) -> float:
    """When place i fails next."""
    for k in range(books.clock[0].failed, len(data.fail_s)):
        if data.fail_place[k] == i and data.fail_s[k] < data.cluster.time_s[HORIZON]:
            return float(data.fail_s[k])
    return np.inf


@inlined
def _move(data: Elastic, books: Books, log: np.ndarray, entry: int, now_s: float) -> int:
    """Start or stop an instance; the rule that is broken."""
    kind, i = entry & ((1 << KIND_BITS) - 1), (entry >> KIND_BITS) & ((1 << PLACE_BITS) - 1)
    if i >= len(books.slot) or kind > 1:
        return NO_PLACE
    slot = books.slot[i]
    if kind == START:
        if slot.status != DOWN:
            return NOT_DOWN
        slot.status, slot.begun_s, slot.ready_s = LOADING, now_s, now_s + data.load_s[data.cluster.kind[i]]
        slot.since = books.clock[0].sends
    elif slot.status == LOADING:
        gone(slot, now_s)
    elif slot.status == UP:
        slot.left = len(_serve(data, books, log, i, _next_failure_s(data, books, i)))
        slot.end_s = max(slot.end_s, now_s)
        slot.status = DRAINING
    else:
        return NOT_LIVE
    return FINE


@inlined
def _tick(data: Elastic, books: Books, log: np.ndarray, moves: np.ndarray, now_s: float) -> None:
    """All moves of a tick."""
    clock, at_ms = books.clock[0], round(1e3 * now_s)
    known_s = last_report_s(data.cluster, now_s - data.cluster.router_s[DELAY])
    wake(books, now_s)
    for i in range(len(books.slot)):
        slot = books.slot[i]
        if slot.status == DRAINING and slot.left == 0 and slot.end_s <= known_s:
            gone(slot, slot.end_s)
    while clock.moves < len(moves) and moves[clock.moves] >> TIME_SHIFT == at_ms and clock.broken == FINE:
        entry = moves[clock.moves]
        broken = _move(data, books, log, entry, now_s)
        if broken != FINE:
            break_rule(books, broken, clock.moves, (entry >> KIND_BITS) & ((1 << PLACE_BITS) - 1))
        clock.moves += 1
    for p in range(len(data.least)):
        low, high = places_of(data, p)
        live, empty = 0, 0
        for i in range(low, high):
            status = books.slot[i].status
            live += 1 if status in (UP, LOADING) else 0
            empty += 1 if status == DOWN else 0
        if live < data.least[p] and empty > 0:
            break_rule(books, TOO_FEW, clock.moves, p)
    clock.tick += 1


@inlined
def _next(data: Elastic, books: Books) -> tuple[int, float]:
    """The request that is next at the router, and when it is sent."""
    arrival_s, clock, r, joined_s, open_s = data.cluster.requests.arrival_s, books.clock[0], NOBODY, np.inf, np.inf
    if clock.arrived < len(arrival_s):
        r, joined_s = clock.arrived, arrival_s[clock.arrived]
    if clock.queued > 0 and books.back_s[clock.first] <= joined_s:
        r, joined_s = books.back[clock.first], books.back_s[clock.first]
    for i in range(len(books.slot)):
        if books.slot[i].status == UP:
            open_s = 0.0
        elif books.slot[i].status == LOADING:
            open_s = min(open_s, books.slot[i].ready_s)
    return r, max(joined_s, max(max(clock.free_s, clock.now_s), open_s))


@inlined
def _send(data: Elastic, books: Books, log: np.ndarray, r: int, now_s: float) -> None:
    """Request r goes where the log says."""
    clock = books.clock[0]
    k = clock.sends
    wake(books, now_s)
    if k >= len(log):
        break_rule(books, EARLY, k, r)
        return
    i = log[k] & ((1 << SERVER_BITS) - 1)
    if log[k] >> SERVER_BITS != r:
        break_rule(books, NOT_NEXT, k, r)
    elif i >= len(books.slot) or books.slot[i].status != UP:
        break_rule(books, NOT_UP, k, i)
    else:
        if r == clock.arrived:
            clock.arrived += 1
        else:
            clock.first = (clock.first + 1) % len(books.back)
            clock.queued -= 1
        clock.free_s = now_s + data.cluster.router_s[DECIDING]
        books.at_s[r], books.sent_s[k] = clock.free_s, clock.free_s
        clock.sends += 1


@inlined
def _open(data: Elastic, books: Books, moves: np.ndarray) -> None:
    """The instances that are up at first."""
    clock = books.clock[0]
    clock.tick = 1
    for i in range(len(books.slot)):
        low, _ = places_of(data, data.cluster.kind[i])
        books.slot[i].status = DOWN
        if i - low < data.first[data.cluster.kind[i]]:
            books.slot[i].status = UP
            if clock.moves >= len(moves) or moves[clock.moves] != move(START, i, 0):
                break_rule(books, NOT_FIRST, clock.moves, i)
            clock.moves += 1


@inlined
def _close(data: Elastic, books: Books, log: np.ndarray, moves: np.ndarray) -> None:
    """What is left runs to its end; nothing of the log may be."""
    clock, horizon_s = books.clock[0], data.cluster.time_s[HORIZON]
    for i in range(len(books.slot)):
        slot, end_s = books.slot[i], horizon_s
        if slot.status == UP:
            _serve(data, books, log, i, np.inf)
            end_s = max(horizon_s, slot.end_s)
        elif slot.status == DRAINING:
            end_s = slot.end_s
        if slot.status != DOWN:
            gone(slot, end_s)
    if clock.sends < len(log):
        break_rule(books, LATE, clock.sends, 0)
    if clock.moves < len(moves):
        break_rule(books, NO_TICK, clock.moves, 0)


@kernel
def replay(instance: Elastic, log: np.ndarray, moves: np.ndarray) -> Replayed:
    """Follow a log as far as its rules are kept."""
    n, places = len(instance.cluster.requests.arrival_s), len(instance.cluster.kind)
    opened = Books(
        open_ledger(at_server(instance.cluster, 0), False),
        Shared(open_caches(instance.cluster), np.full(n, NOBODY), np.zeros(n, np.int64)),
        np.zeros(places, SLOT),
        np.zeros(1, CLOCK),
        np.full(n, np.inf),
        np.empty(len(log)),
        np.empty(n, np.int64),
        np.empty(n),
    )
    data, books = borrow(instance), borrow(opened)
    clock, horizon_s = books.clock[0], data.cluster.time_s[HORIZON]
    _open(data, books, moves)
    while clock.broken == FINE:
        r, decided_s = _next(data, books)
        tick_s = clock.tick * data.control_s[TICK]
        fail_s = data.fail_s[clock.failed] if clock.failed < len(data.fail_s) else np.inf
        if min(fail_s, min(tick_s, decided_s)) >= horizon_s:
            break
        if fail_s <= min(tick_s, decided_s):
            _failure(data, books, log)
        elif tick_s <= decided_s:
            _tick(data, books, log, moves, tick_s)
        else:
            _send(data, books, log, r, decided_s)
    if clock.broken == FINE:
        _close(data, books, log, moves)
    first, finish, gap, generated = np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64)
    for r in range(n):
        job = opened.ledger.job[r]
        first[r], finish[r], gap[r], generated[r] = job.first_s, job.finish_s, job.gap_s, job.generated
    paid_s = np.empty(places)
    for i in range(places):
        paid_s[i] = opened.slot[i].paid_s
    sent_s, computed = opened.sent_s[: clock.sends].copy(), opened.shared.computed.copy()
    last_s, broken, at, value = clock.last_s, clock.broken, clock.at, clock.value
    return Replayed(first, finish, gap, computed, sent_s, paid_s, generated, last_s, broken, at, value)
