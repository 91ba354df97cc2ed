"""The books of a replay, written apart from the engine's: records of requests and instances, lists, and no totals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._disaggregation.data import Deployment
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS, MAX_RUNNING

JOB = np.dtype(
    (
        np.record,
        [
            ("home", np.int64),
            ("cached", np.int64),  # tokens in the KV cache
            ("target", np.int64),  # tokens to cache before it decodes
            ("generated", np.int64),
            ("chunk", np.int64),  # prompt tokens of the step under way
            ("first_s", np.float64),
            ("last_s", np.float64),
            ("finish_s", np.float64),
            ("gap_s", np.float64),
            ("sent_s", np.float64),
            ("known_s", np.float64),  # when it is known where it is decoded
            ("moved_s", np.float64),
        ],
    )
)
BOOK = np.dtype(
    (
        np.record,
        [
            ("role", np.int64),
            ("wanted", np.int64),
            ("switching", np.int64),
            ("ready_s", np.float64),
            ("busy_s", np.float64),  # when the step under way ends; inf: there is none
            ("wake_s", np.float64),  # when one is to begin; inf: nothing has happened
            ("decodes", np.int64),  # the step under way decodes
            ("changed", np.int64),
            ("debt_s", np.float64),
            ("sending_s", np.float64),  # its link is taken until then
            ("receiving_s", np.float64),
            ("on_the_way", np.int64),
            # Lengths of its lists, and of the handed: how many have a place, have come, have joined.
            ("waiting", np.int64),
            ("running", np.int64),
            ("held", np.int64),
            ("handed", np.int64),
            ("granted", np.int64),
            ("came", np.int64),
            ("joined", np.int64),
        ],
    )
)


class Books(NamedTuple):
    """All that a replay keeps."""

    job: np.ndarray  # (n,) JOB
    book: np.ndarray  # (instances,) BOOK
    waiting: np.ndarray  # (instances, n) int64, in order
    running: np.ndarray  # (instances, max_running) int64, in order of admission
    held: np.ndarray  # (instances, n) int64, prompts that are done and have not left
    handed: np.ndarray  # (instances, n) int64, in order


@kernel
def open_books(data: Deployment) -> Books:
    """Nothing has arrived."""
    requests, count = data.cluster.requests, len(data.cluster.kind)
    n, most = len(requests.arrival_s), data.cluster.limit[0, MAX_RUNNING]
    job, book = np.zeros(n, JOB), np.zeros(count, BOOK)
    for r in range(n):
        job[r].target = requests.prompt_tokens[r]
        job[r].first_s, job[r].finish_s, job[r].moved_s = np.inf, np.inf, np.inf
    for i in range(count):
        book[i].role, book[i].wanted = data.cluster.role[i], data.cluster.role[i]
        book[i].ready_s, book[i].busy_s, book[i].wake_s = np.inf, np.inf, np.inf
    lists = np.empty((3, count, n), np.int64)
    return Books(job, book, lists[0], np.empty((count, most), np.int64), lists[1], lists[2])


@inlined
def blocks_of(data: Deployment, tokens: int) -> int:
    """Blocks for so many tokens."""
    return -(-tokens // data.cluster.limit[0, BLOCK_TOKENS])


@inlined
def free_blocks(data: Deployment, books: Books, i: int) -> int:
    """Blocks of instance i that nothing holds, is to come to, or is computed into."""
    book, free = books.book[i], data.cluster.limit[data.cluster.kind[i], BLOCKS]
    for k in range(book.running):
        job = books.job[books.running[i, k]]
        more = 1 if book.busy_s < np.inf and book.decodes == 1 and job.cached >= job.target else 0
        free -= blocks_of(data, max(job.cached + more, job.target))
    for k in range(book.held):
        free -= blocks_of(data, books.job[books.held[i, k]].cached)
    for k in range(book.joined, book.granted):
        free -= blocks_of(data, books.job[books.handed[i, k]].cached)
    return free


@inlined
def shortage(data: Deployment, books: Books, i: int) -> int:
    """Blocks that one more token for all that decodes on instance i takes."""
    short = 0
    for k in range(books.book[i].running):
        job = books.job[books.running[i, k]]
        if job.cached >= job.target and job.cached % data.cluster.limit[0, BLOCK_TOKENS] == 0:
            short += 1
    return short


@inlined
def crowd(books: Books, i: int) -> int:
    """Requests that run on instance i or are sure to."""
    book = books.book[i]
    return int(book.running + book.granted - book.joined)


@inlined
def strike(row: np.ndarray, count: int, r: int) -> int:
    """Take r out of the first entries of a list, keeping the order; how many are left."""
    kept = 0
    for k in range(count):
        if row[k] != r:
            row[kept] = row[k]
            kept += 1
    return kept


@inlined
def emit(data: Deployment, books: Books, r: int, now_s: float) -> bool:
    """A request puts out a token; whether it was the last."""
    job = books.job[r]
    job.generated += 1
    if job.generated == 1:
        job.first_s = now_s
    else:
        job.gap_s = max(job.gap_s, now_s - job.last_s)
    job.last_s = now_s
    if job.generated == data.cluster.requests.output_tokens[r]:
        job.finish_s = now_s
        return True
    return False
