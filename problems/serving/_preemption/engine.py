"""The engine of serving/preemption: that of continuous batching, with preemption within and between steps.

Three things are added. A request may be admitted in place of running ones that stand behind it; each of them
is swapped out or computed anew, as the rule says. Prompts in progress are ranked like the queue. And a step
with prompts may be cut between two of its segments when someone arrives (see _preemption/steps.py).
"""

from __future__ import annotations

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.serving._preemption.look import Admit, Save, admit_displacing, make_room_saving, rank_prompts
from problems.serving._preemption.steps import Cut, Segmented, open_step, precedes, resume, segmented_step
from problems.serving._server.decisions import Chunk, Order, write
from problems.serving._server.engine import Timeline, idle, next_arrival_s, prefill_share, timeline
from problems.serving._server.log import step_entry, with_room
from problems.serving._server.machine import BLOCK_TOKENS, HORIZON, MAX_RUNNING, PATIENCE, Serving, unpack_cost
from problems.serving._server.state import State, arrive, open_state
from problems.serving._server.step import leap, mixed_step


@inlined
def _look(
    data: Serving,
    state: State,
    step: Segmented,
    order: Order,
    admit: Admit,
    save: Save,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """Look at the queue, and rank the prompts that are being prefilled."""
    server = state.server[0]
    server.look, server.since = 0, 0
    if server.waiting > 0:
        admit_displacing(data, state, step, order, admit, save, theta, log)
    rank_prompts(data, state, order, theta, log)


@inlined
def _compute(
    data: Serving,
    state: State,
    step: Segmented,
    tokens: int,
    decode: bool,
    cut: Cut,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """One step, or several of pure decoding; while a step stands aside, one by one."""
    i, cost = 0, unpack_cost(data)
    aside = step.book[0].suspended == 1
    if state.server[i].prefilling == 0:
        until_s = -np.inf if aside else next_arrival_s(data, state, i)
        write(state, i, log, step_entry(0, 1, leap(data, cost, state, i, until_s, np.inf)))
    elif aside or tokens == 0:
        mixed_step(data, cost, state, i, tokens, decode)
        write(state, i, log, step_entry(tokens, 1 if decode else 0, 1))
    else:
        segmented_step(data, state, step, tokens, decode, cut, theta, log)


@kernel
def preemptive_batching(
    instance: Serving, order: Order, admit: Admit, chunk: Chunk, cut: Cut, save: Save, theta: np.ndarray
) -> Timeline:
    """Serve all requests, or as many as the horizon leaves time for."""
    opened, segments, data, i = open_state(instance, 1), open_step(instance), borrow(instance), 0
    state, step, cost = borrow(opened), borrow(segments), unpack_cost(data)
    log = np.empty(8 * len(data.requests.arrival_s) + 64, np.int64)
    server, book, most = state.server[i], step.book[0], data.limit[MAX_RUNNING]
    while True:
        arrive(data, state, i)
        if server.finished == len(data.requests.arrival_s) or server.now_s >= data.time_s[HORIZON]:
            break
        log = with_room(log, server.logged, 2 * server.waiting + 3 * most + 8)
        if server.look == 1 or server.since >= data.limit[PATIENCE]:
            _look(data, state, step, order, admit, save, theta, log)
        runs = server.decoding + server.prefilling > 0
        if not runs and book.suspended == 0:
            idle(data, state, i, log)
            continue
        go_on = book.suspended == 1 and not (runs and precedes(data, state, step, cut, theta))
        tokens, decode = 0, False
        if not go_on:
            share = prefill_share(data, cost, state, i, chunk, theta)
            tokens = int(abs(share))
            decode = server.decoding > 0 and (share > 0.0 or tokens == 0)
            if decode:
                make_room_saving(data, state, order, save, theta, log)
                decode = server.decoding > 0
                tokens = min(tokens, server.prefill_left)
                # The blocks that are missing are those of the step that was cut.
                go_on = decode and state.crossing[0] > server.free
            if tokens == 0 and not decode:
                tokens = min(data.limit[BLOCK_TOKENS], server.prefill_left)
        if go_on:
            resume(data, state, step, cut, theta, log)
        else:
            _compute(data, state, step, tokens, decode, cut, theta, log)
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    assert segments.book[0].suspended == 0 or opened.server[0].finished < len(opened.request)
    return timeline(opened, log)
