"""The books of a replay: one record per request and one for the server, written apart from the engine's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._server.machine import BLOCK_TOKENS, GROUP_BLOCKS, MAX_RUNNING, SWAP_BLOCK, SWAP_GROUP, Serving

TO_COME, WAITING, RUNNING, DONE = 0, 1, 2, 3

JOB = np.dtype(
    (
        np.record,
        [
            ("status", np.int64),
            ("cached", np.int64),  # tokens in the KV cache, or on the host
            ("target", np.int64),  # tokens to cache before it decodes
            ("generated", np.int64),
            ("preemptions", np.int64),
            ("swapped", np.int64),
            ("emits", np.int64),  # in the step at hand
            ("in_step", np.int64),  # computed by the step at hand
            ("suspended", np.int64),  # in a step that was cut, and is not done
            ("first_s", np.float64),
            ("last_s", np.float64),
            ("finish_s", np.float64),
            ("gap_s", np.float64),
        ],
    )
)
BOOK = np.dtype(
    (
        np.record,
        [
            ("now_s", np.float64),
            ("debt_s", np.float64),
            ("wait_s", np.float64),  # of an idle server that refuses what waits
            ("next_s", np.float64),  # when the next request arrives
            ("parked", np.int64),  # blocks that are held though no running request needs them now
            ("come", np.int64),
            ("done", np.int64),
            ("waiting", np.int64),
            ("running", np.int64),
            ("changed", np.int64),
            ("pure", np.int64),  # steps of pure decoding since the last look at the queue
            ("looks", np.int64),
            ("entry", np.int64),
            ("request", np.int64),  # that the entry is about
            ("gaps", np.int64),
            ("suspended", np.int64),  # requests in a step that was cut; 0: there is none
            ("segments", np.int64),  # of that step still to run,
            ("segment_s", np.float64),  # what each takes,
            ("left_s", np.float64),  # and what they take together
        ],
    )
)


class Ledger(NamedTuple):
    """All that a replay keeps."""

    job: np.ndarray  # (n,) JOB
    book: np.ndarray  # (1,) BOOK
    running: np.ndarray  # (max_running,) int64, in order of admission
    gap_s: np.ndarray  # (gaps,) float64, times between tokens, of all requests; or empty: not kept


class Load(NamedTuple):
    """What runs before a step."""

    used: int  # blocks
    short: int  # blocks that decoding would need besides
    decoding: int
    context: int  # tokens
    to_prefill: int  # tokens


@kernel
def open_ledger(data: Serving, keep_gaps: bool) -> Ledger:
    """Nothing has arrived."""
    job = np.zeros(len(data.requests.output_tokens), JOB)
    for r in range(len(job)):
        job[r].target = data.requests.prompt_tokens[r]
        job[r].first_s = np.inf
        job[r].finish_s = np.inf
    gaps = data.requests.output_tokens.sum() if keep_gaps else 0
    return Ledger(job, np.zeros(1, BOOK), np.empty(data.limit[MAX_RUNNING], np.int64), np.empty(gaps))


@inlined
def blocks_of(data: Serving, tokens: int) -> int:
    """Blocks for so many tokens."""
    return -(-tokens // data.limit[BLOCK_TOKENS])


@inlined
def moving_s(data: Serving, tokens: int) -> float:
    """Seconds to move the blocks of so many tokens to the host or back."""
    blocks = blocks_of(data, tokens)
    groups = -(-blocks // data.limit[GROUP_BLOCKS])
    return data.time_s[SWAP_BLOCK] * blocks + data.time_s[SWAP_GROUP] * groups


@inlined
def held(data: Serving, ledger: Ledger, r: int) -> int:
    """Blocks of a request, if it runs."""
    return blocks_of(data, max(ledger.job[r].cached, ledger.job[r].target))


@inlined
def load(data: Serving, ledger: Ledger) -> Load:
    """Sum up all that runs."""
    used, short, decoding, context, to_prefill = ledger.book[0].parked, 0, 0, 0, 0
    for k in range(ledger.book[0].running):
        r = ledger.running[k]
        job = ledger.job[r]
        used += held(data, ledger, r)
        if job.suspended == 1:
            continue
        if job.cached >= job.target:
            decoding += 1
            context += job.cached
            # the remainder: a block is a power of two, and this is most of what a replay does
            if job.cached & (data.limit[BLOCK_TOKENS] - 1) == 0:
                short += 1
        else:
            to_prefill += job.target - job.cached
    return Load(used, short, decoding, context, to_prefill)


@inlined
def start(data: Serving, ledger: Ledger, r: int) -> None:
    """A waiting request joins the batch."""
    book, job = ledger.book[0], ledger.job[r]
    if job.swapped == 1:
        book.debt_s += moving_s(data, job.cached)
        job.swapped = 0
    job.status = RUNNING
    book.wait_s = 0.0
    ledger.running[book.running] = r
    book.running += 1
    book.waiting -= 1


@inlined
def stop(data: Serving, ledger: Ledger, r: int) -> None:
    """A running request is preempted, and swapped out where the host says so."""
    dismiss(data, ledger, r, data.time_s[SWAP_BLOCK] >= 0.0)


@inlined
def dismiss(data: Serving, ledger: Ledger, r: int, swap: bool) -> None:
    """A running request is preempted, and swapped out or forgotten."""
    book, job, kept = ledger.book[0], ledger.job[r], 0
    for k in range(book.running):
        if ledger.running[k] != r:
            ledger.running[kept] = ledger.running[k]
            kept += 1
    book.running = kept
    book.waiting += 1
    book.changed = 1
    job.status = WAITING
    job.preemptions += 1
    if not swap:
        job.cached, job.target = 0, data.requests.prompt_tokens[r] + job.generated
    elif job.cached > 0:
        job.swapped = 1
        book.debt_s += moving_s(data, job.cached)


@inlined
def emit(data: Serving, ledger: Ledger, r: int) -> None:
    """A request puts out a token now."""
    book, job = ledger.book[0], ledger.job[r]
    job.generated += 1
    if job.generated == 1:
        job.first_s = book.now_s
    else:
        job.gap_s = max(job.gap_s, book.now_s - job.last_s)
        if book.gaps < ledger.gap_s.size:
            ledger.gap_s[book.gaps] = book.now_s - job.last_s
            book.gaps += 1
    job.last_s = book.now_s
    if job.generated == data.requests.output_tokens[r]:
        job.finish_s = book.now_s
        job.status = DONE
        book.done += 1
        book.changed = 1
