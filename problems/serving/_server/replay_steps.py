"""Steps of a replay: what an entry of the log computes, and whether the server could."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined
from problems.serving._server.ledger import DONE, Ledger, Load, emit, load
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
def begin(cost: StepCost, ledger: Ledger, tokens: int, decoding: int, context: int) -> tuple[float, bool]:
    """Cache what a step computes; its seconds, and whether no prompt was left.

    Tokens of prompts in order of admission, and one token for each decoding request, if any. Who stands aside
    from a step that has been cut takes no part.
    """
    book, pairs, budget, pure = ledger.book[0], 0.0, tokens, True
    for k in range(book.running):
        job = ledger.job[ledger.running[k]]
        if job.suspended == 1:
            continue
        left = job.target - job.cached
        job.emits, job.in_step = 0, 0
        if left > 0:
            chunk = min(budget, left)
            pairs += chunk * (job.cached + 0.5 * chunk)
            budget -= chunk
            job.cached += chunk
            job.emits = 1 if chunk == left else 0
            job.in_step = 1 if chunk > 0 else 0
            pure = False
        elif decoding > 0:
            job.cached += 1
            job.emits, job.in_step = 1, 1
    return step_seconds(cost, tokens, pairs, decoding, float(context)), pure


@inlined
def end(data: Serving, ledger: Ledger, suspended: int) -> None:
    """What a step has computed comes out: of the one that had been cut, or of another."""
    book, kept = ledger.book[0], 0
    for k in range(book.running):
        r = ledger.running[k]
        if ledger.job[r].suspended == suspended:
            if ledger.job[r].emits == 1:
                emit(data, ledger, r)
            ledger.job[r].emits, ledger.job[r].suspended = 0, 0
        if ledger.job[r].status != DONE:
            ledger.running[kept] = r
            kept += 1
    book.running = kept


@inlined
def note(ledger: Ledger, pure: bool) -> None:
    """Whether the step that has ended only decoded, or changed something."""
    book = ledger.book[0]
    if pure:
        book.pure += 1
    else:
        book.changed = 1


@inlined
def compute(data: Serving, cost: StepCost, ledger: Ledger, tokens: int, decoding: int, context: int) -> None:
    """One whole step."""
    book = ledger.book[0]
    work_s, pure = begin(cost, ledger, tokens, decoding, context)
    book.now_s += work_s + book.debt_s
    book.debt_s = 0.0
    end(data, ledger, 0)
    note(ledger, pure)


@inlined
def must_stop(data: Serving, ledger: Ledger) -> bool:
    """Whether equal steps may not go on: something has changed, or is due."""
    book = ledger.book[0]
    if book.changed == 1 or book.now_s >= data.time_s[HORIZON] or book.now_s >= book.next_s:
        return True
    return bool(book.waiting > 0 and book.pure >= data.limit[PATIENCE])


class Entry(NamedTuple):
    """An entry of one step or more, as the log packs it."""

    decode: int  # whether decoding requests take part
    tokens: int  # of prompts, each step
    repeats: int  # steps


@inlined
def unpacked(entry: int) -> Entry:
    """The parts of an entry of steps."""
    repeats = (entry >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
    return Entry((entry >> KIND_BITS) & 1, entry >> PREFILL_SHIFT, repeats)


@inlined
def fault(data: Serving, ledger: Ledger, now: Load, entry: Entry, step: int) -> int:
    """The rule that the next step of an entry breaks, FINE if none."""
    empty = (entry.decode == 1 and now.decoding == 0) or (entry.decode == 0 and entry.tokens == 0)
    if empty or entry.repeats < 1 or entry.tokens > min(now.to_prefill, data.limit[MAX_PREFILL]):
        return EMPTY
    if entry.decode == 1 and now.used + now.short > data.limit[BLOCKS]:
        return SHORT
    if entry.repeats > 1 and (now.to_prefill > 0 or (step > 0 and must_stop(data, ledger))):
        return CHANGED
    return FINE


@inlined
def no_step(ledger: Ledger, log: np.ndarray) -> int:
    """The rule that the entry at hand breaks where steps are due, FINE if it is one."""
    found = kind(ledger, log)
    if found == STEP:
        return FINE
    return EARLY if found < 0 else NO_LOOK if found == ADMIT else NONSENSE


@inlined
def steps(data: Serving, cost: StepCost, ledger: Ledger, log: np.ndarray) -> int:
    """Follow an entry of one step or more."""
    book, broken = ledger.book[0], no_step(ledger, log)
    if broken != FINE:
        return broken
    entry = unpacked(log[book.entry])
    for step in range(max(entry.repeats, 1)):
        now = load(data, ledger)
        broken = fault(data, ledger, now, entry, step)
        if broken != FINE:
            return broken
        decoding, context = (now.decoding, now.context) if entry.decode == 1 else (0, 0)
        compute(data, cost, ledger, entry.tokens, decoding, context)
    book.entry += 1
    return FINE
