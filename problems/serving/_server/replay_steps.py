"""Steps of a replay: what an entry of the log computes, and whether the server could."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined
from problems.serving._server.ledger import DONE, Ledger, emit, load
from problems.serving._server.log import ADMIT, KIND_BITS, PREFILL_SHIFT, REPEAT_BITS, REPEAT_SHIFT, STEP
from problems.serving._server.machine import BLOCKS, HORIZON, MAX_PREFILL, PATIENCE, Serving

FINE, NONSENSE, NOT_WAITING, NO_LOOK, FULL, NO_NEED, EMPTY, SHORT, CHANGED, NO_WAIT, AFTER, EARLY = range(12)
PINNED, IDLE = range(12, 14)  # where contexts stay between calls
NO_CUT, NOT_CUT, NO_PROMPT = range(14, 17)  # where steps can be cut
BROKEN = (
    "",
    "entry {entry} is no entry of a log",
    "entry {entry} admits request {request}, which is not waiting then",
    "entry {entry} admits a request when the server does not look at its queue",
    "entry {entry} admits request {request}, but the batch or the KV cache is full",
    "entry {entry} preempts request {request}, which is not running or for which there is no need",
    "entry {entry} runs a step that computes nothing or too much",
    "entry {entry} decodes without the blocks for it",
    "entry {entry} goes on with a step when something has changed",
    "entry {entry} waits though a request runs, or none waits",
    "entry {entry} comes after the end",
    "the log ends before entry {entry}, and before the simulation does",
    "entry {entry} evicts the context of call {request}, which is pinned",
    "entry {entry} comes to a server that is idle though a call waits",
    "entry {entry} cuts a step where nothing has arrived, or within a segment",
    "entry {entry} goes on with a step though none is cut",
    "entry {entry} puts request {request} behind other prompts, but its own is not being prefilled",
)


@inlined
def kind(ledger: Ledger, log: np.ndarray) -> int:
    """Kind of the entry at hand; -1 after the last."""
    p = ledger.book[0].entry
    return log[p] & 3 if p < len(log) else -1


@inlined
def compute(data: Serving, cost: StepCost, ledger: Ledger, tokens: int, decoding: int, context: int) -> None:
    """One step: tokens of prompts in order of admission, and one token for each decoding request, if any."""
    book, pairs, budget, pure = ledger.book[0], 0.0, tokens, True
    for k in range(book.running):
        job = ledger.job[ledger.running[k]]
        left = job.target - job.cached
        job.emits = 0
        if left > 0:
            chunk = min(budget, left)
            pairs += chunk * (job.cached + 0.5 * chunk)
            budget -= chunk
            job.cached += chunk
            job.emits = 1 if chunk == left else 0
            pure = False
        elif decoding > 0:
            job.cached += 1
            job.emits = 1
    book.now_s += step_seconds(cost, tokens, pairs, decoding, float(context)) + book.debt_s
    book.debt_s = 0.0
    kept = 0
    for k in range(book.running):
        r = ledger.running[k]
        if ledger.job[r].emits == 1:
            emit(data, ledger, r)
        if ledger.job[r].status != DONE:
            ledger.running[kept] = r
            kept += 1
    book.running = kept
    if pure:
        book.pure += 1
    else:
        book.changed = 1


@inlined
def must_stop(data: Serving, ledger: Ledger) -> bool:
    """Whether equal steps may not go on: something has changed, or is due."""
    book = ledger.book[0]
    if book.changed == 1 or book.now_s >= data.time_s[HORIZON] or book.now_s >= book.next_s:
        return True
    return bool(book.waiting > 0 and book.pure >= data.limit[PATIENCE])


@inlined
def steps(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray) -> int:
    """Follow an entry of one step or more."""
    book = ledger.book[0]
    if kind(ledger, log) != STEP:
        return EARLY if kind(ledger, log) < 0 else NO_LOOK if kind(ledger, log) == ADMIT else NONSENSE
    entry = log[book.entry]
    decode, repeats = (entry >> KIND_BITS) & 1, (entry >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
    tokens = entry >> PREFILL_SHIFT
    for step in range(max(repeats, 1)):
        now = load(data, ledger)
        empty = (decode == 1 and now.decoding == 0) or (decode == 0 and tokens == 0)
        if empty or repeats < 1 or tokens > min(now.to_prefill, data.limit[MAX_PREFILL]):
            return EMPTY
        if decode == 1 and now.used + now.short > data.limit[BLOCKS]:
            return SHORT
        if repeats > 1 and (now.to_prefill > 0 or (step > 0 and must_stop(data, ledger))):
            return CHANGED
        if decode == 1:
            compute(data, cost, ledger, tokens, now.decoding, now.context)
        else:
            compute(data, cost, ledger, tokens, 0, 0)
    book.entry += 1
    return FINE
