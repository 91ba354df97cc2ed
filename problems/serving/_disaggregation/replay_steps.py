"""Steps of a replay: who may be chosen, whose cache moves, and what a step computes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.data import DECIDING, DECODE, PREFILL, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._disaggregation.books import (
    Books,
    blocks_of,
    crowd,
    emit,
    free_blocks,
    shortage,
    strike,
)
from problems.serving._disaggregation.data import SWITCH, Deployment
from problems.serving._disaggregation.log import HANDED, KIND_BITS, NUMBER_SHIFT, SENT
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    CANDIDATE,
    DECISION,
    MAX_PREFILL,
    MAX_RUNNING,
    unpack_cost,
)

FINE, ENDS, OTHER, NO_INSTANCE, TAKES_NONE, NO_ROLE, SAME_ROLE, ALONE, CHANGING = range(9)
BROKEN = (
    "",
    "the log ends before entry {entry}, and before the simulation does",
    "entry {entry} is about another decision than the one that is due",
    "entry {entry} is about an instance that there is not",
    "entry {entry} chooses an instance that does not take this request then",
    "entry {entry} names no role, or an instance out of order",
    "entry {entry} turns an instance to the role that it has",
    "entry {entry} leaves no instance that prefills, or none that decodes",
    "entry {entry} turns an instance that is changing its role",
)


class Run(NamedTuple):
    """A replay under way."""

    books: Books
    log: np.ndarray
    decided_s: np.ndarray  # (entries,) float64
    done: np.ndarray  # (4,) int64: requests sent, come, finished; ticks
    cursor: np.ndarray  # (2,) int64: entries followed; the rule that is broken
    clock_s: np.ndarray  # (2,) float64: the router is free; the last step ended


ROUTED, CAME, DONE, TICKS = range(4)


@inlined
def open_to(books: Books, i: int, closed: int) -> bool:
    """Whether instance i takes requests for a phase, given the role that does not serve it."""
    return bool(books.book[i].switching == 0 and books.book[i].role != closed)


@inlined
def next_choice(run: Run, kind: int, r: int, now_s: float) -> int:
    """The instance that the log names for request r; -1 if it may not."""
    k, closed = run.cursor[0], DECODE if kind == SENT else PREFILL
    if k >= len(run.log):
        run.cursor[1] = ENDS
        return -1
    i = (run.log[k] >> KIND_BITS) & 255
    if run.log[k] & 3 != kind or run.log[k] >> NUMBER_SHIFT != r:
        run.cursor[1] = OTHER
    elif i >= len(run.books.book):
        run.cursor[1] = NO_INSTANCE
    elif not open_to(run.books, i, closed):
        run.cursor[1] = TAKES_NONE
    if run.cursor[1] != FINE:
        return -1
    run.decided_s[k] = now_s
    run.cursor[0] += 1
    return int(i)


@inlined
def rouse(books: Books, i: int, now_s: float) -> None:
    book = books.book[i]
    if book.busy_s == np.inf:
        book.wake_s = min(book.wake_s, now_s)


@inlined
def rest(data: Deployment, books: Books, i: int, now_s: float) -> None:
    """Instance i begins to change if it should and nothing is left to do."""
    book = books.book[i]
    idle = book.busy_s == np.inf and book.wake_s == np.inf
    left = book.on_the_way + book.waiting + book.running + book.held + book.handed - book.joined
    if book.switching == 1 and book.ready_s == np.inf and idle and left == 0:
        book.ready_s = now_s + data.control_s[SWITCH]


@inlined
def _grants(data: Deployment, books: Books, i: int, now_s: float) -> None:
    """Caches begin to move to instance i, while it has room and nothing preempted waits."""
    book = books.book[i]
    while book.granted < book.handed and crowd(books, i) < data.cluster.limit[0, MAX_RUNNING]:
        if book.waiting > 0 and books.job[books.waiting[i, 0]].generated > 0:
            break
        job = books.job[books.handed[i, book.granted]]
        if blocks_of(data, job.cached) > free_blocks(data, books, i):
            break
        source = books.book[job.home]
        start_s = max(max(now_s, job.known_s), max(source.sending_s, book.receiving_s))
        job.moved_s = start_s + move_seconds(data, job.home, i, job.cached)
        source.sending_s, book.receiving_s = job.moved_s, job.moved_s
        book.granted += 1


@inlined
def _look(data: Deployment, books: Books, i: int) -> None:
    """Admit who waits longest, while there is room."""
    own, book = at_server(data.cluster, i), books.book[i]
    book.changed = 0
    if book.waiting == 0 or crowd(books, i) >= own.limit[MAX_RUNNING] or free_blocks(data, books, i) == 0:
        return
    book.debt_s += own.time_s[DECISION] + own.time_s[CANDIDATE] * book.waiting
    while book.waiting > 0 and crowd(books, i) < own.limit[MAX_RUNNING]:
        r = books.waiting[i, 0]
        if blocks_of(data, books.job[r].target) > free_blocks(data, books, i):
            return
        book.waiting = strike(books.waiting[i], book.waiting, r)
        books.running[i, book.running] = r
        book.running += 1


@inlined
def _preempt(data: Deployment, books: Books, i: int) -> None:
    """Preempt the latest request while blocks are missing, and another one runs or comes."""
    book = books.book[i]
    while book.running > 0 and crowd(books, i) > 1 and shortage(data, books, i) > free_blocks(data, books, i):
        r = -1
        for k in range(book.running):
            r = max(r, books.running[i, k])
        book.running = strike(books.running[i], book.running, r)
        job = books.job[r]
        job.cached, job.target = 0, data.cluster.requests.prompt_tokens[r] + job.generated
        for k in range(book.waiting, 0, -1):
            books.waiting[i, k] = books.waiting[i, k - 1]
        books.waiting[i, 0] = r
        book.waiting += 1
        book.changed = 1


@inlined
def _portion(data: Deployment, books: Books, i: int, decoding: int) -> int:
    """Fix what the next step computes of each prompt; tokens in all."""
    book, limit = books.book[i], data.cluster.limit[data.cluster.kind[i]]
    budget, tokens = max(limit[MAX_PREFILL] - decoding, limit[BLOCK_TOKENS]), 0
    whole, full = book.role == PREFILL, False
    for k in range(book.running):
        job = books.job[books.running[i, k]]
        left = max(job.target - job.cached, 0)
        job.chunk = 0
        if left == 0 or full:
            continue
        if whole:
            full = tokens > 0 and tokens + left > limit[MAX_PREFILL]
            job.chunk = 0 if full else left
        else:
            job.chunk = min(left, budget - tokens)
        tokens += job.chunk
    return tokens


@kernel
def begin(data: Deployment, run: Run, i: int, now_s: float) -> None:
    """Instance i takes in what has come, and begins a step if there is anything to compute."""
    data, run = borrow(data), borrow(run)
    books, book = run.books, run.books.book[i]
    book.wake_s = np.inf
    while book.joined < book.came:
        books.running[i, book.running] = books.handed[i, book.joined]
        book.running += 1
        book.joined += 1
    if book.changed == 1:
        _look(data, books, i)
    _preempt(data, books, i)
    if book.running == 0:
        rest(data, books, i, now_s)
        return
    decoding, context, pairs = 0, 0, 0.0
    for k in range(book.running):
        job = books.job[books.running[i, k]]
        if job.cached >= job.target:
            decoding += 1
            context += job.cached
    tokens = _portion(data, books, i, decoding)
    for k in range(book.running):
        job = books.job[books.running[i, k]]
        pairs += job.chunk * (job.cached + 0.5 * job.chunk)
    cost = unpack_cost(at_server(data.cluster, i))
    book.decodes = 1 if decoding > 0 else 0
    book.busy_s = now_s + (step_seconds(cost, tokens, pairs, decoding, float(context)) + book.debt_s)
    book.debt_s = 0.0


@inlined
def _hand_over(data: Deployment, run: Run, r: int, now_s: float) -> None:
    """Request r, whose prompt is done, is decoded where the log says."""
    books, job = run.books, run.books.job[r]
    target = next_choice(run, HANDED, r, now_s)
    if target < 0:
        return
    job.known_s = now_s + data.cluster.router_s[DECIDING]
    books.handed[target, books.book[target].handed] = r
    books.book[target].handed += 1
    _grants(data, books, target, now_s)


@kernel
def finish_step(data: Deployment, run: Run, i: int) -> None:
    """The tokens of a step come out: first of what decodes, then of prompts, in order."""
    data, run = borrow(data), borrow(run)
    books, book = run.books, run.books.book[i]
    now_s, prompts = book.busy_s, False
    book.busy_s, run.clock_s[1] = np.inf, max(run.clock_s[1], now_s)
    leaving = np.empty(book.running, np.int64)
    left, ran = 0, book.running
    for k in range(ran):
        job = books.job[books.running[i, k]]
        if job.cached < job.target:
            job.cached += job.chunk
            prompts = prompts or job.chunk > 0
            if job.cached < job.target or job.chunk == 0:
                continue
        else:
            job.cached += 1
        done = emit(data, books, books.running[i, k], now_s)
        if done:
            run.done[DONE] += 1
            book.changed = 1
        if done or (book.role == PREFILL):
            leaving[left] = books.running[i, k]
            left += 1
    if prompts:
        book.changed = 1
    for k in range(left):
        book.running = strike(books.running[i], book.running, leaving[k])
    for k in range(left):
        if books.job[leaving[k]].finish_s == np.inf:
            books.held[i, book.held] = leaving[k]
            book.held += 1
    for k in range(left):
        if books.job[leaving[k]].finish_s == np.inf and run.cursor[1] == FINE:
            _hand_over(data, run, leaving[k], now_s)
    _grants(data, books, i, now_s)
    if book.waiting + book.running + book.came - book.joined > 0:
        rouse(books, i, now_s)
    else:
        rest(data, books, i, now_s)
