"""The serving engine: continuous batching on one server, with decisions taken by hooks.

A server works in steps. Before each step, what has arrived joins the waiting queue. If something has
changed (an arrival, a completion, prefill, a preemption) or the queue has seen PATIENCE steps of pure
decoding, the rule *looks at the queue*: ``order`` ranks it, and from the front ``admit`` takes requests
into the batch, passes over them, or stops. ``chunk`` sets the prompt tokens of the step, and whether
decoding goes on beside them. Where blocks are missing, ``evict`` says which request to preempt.

Between looks, equal decode steps are done in one go (see ``leap``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._server.decisions import Admit, Chunk, Evict, Order, admit_ranked, make_room, rank_queue, write
from problems.serving._server.log import WAIT, step_entry, with_room
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    HORIZON,
    LONGEST_WAIT,
    MAX_PREFILL,
    MAX_RUNNING,
    PATIENCE,
    TICK,
    Serving,
    unpack_cost,
)
from problems.serving._server.state import State, arrive, describe_server, open_state
from problems.serving._server.step import leap, mixed_step


class Timeline(NamedTuple):
    """A solution: what became of each request, and the decisions that led there."""

    first_token_s: np.ndarray  # (n,) float64, inf if there is none
    finish_s: np.ndarray  # (n,) float64, inf if it has not
    worst_gap_s: np.ndarray  # (n,) float64, longest time between two tokens, 0 with fewer than two
    log: np.ndarray  # (entries,) int64, see _server/log.py


@inlined
def next_arrival_s(data: Serving, state: State, i: int) -> float:
    k = state.server[i].arrived
    return data.requests.arrival_s[k] if k < len(data.requests.arrival_s) else np.inf


@inlined
def idle(data: Serving, state: State, i: int, log: np.ndarray) -> None:
    """Let time pass on an empty server: to the next arrival, or for a while if requests were refused.

    Each look that changes nothing is followed by a wait that is longer by a tick: to refuse all must not
    cost more time to simulate than to serve all.
    """
    server, next_s = state.server[i], next_arrival_s(data, state, i)
    server.debt_s = 0.0
    if server.waiting == 0:
        server.now_s = next_s
    else:
        server.wait_s = min(server.wait_s + data.time_s[TICK], LONGEST_WAIT * data.time_s[TICK])
        server.now_s = min(server.now_s + server.wait_s, next_s)
        server.look = 1
        write(state, i, log, WAIT)


@inlined
def prefill_share(data: Serving, cost: StepCost, state: State, i: int, chunk: Chunk, theta: np.ndarray) -> float:
    """Prompt tokens of the next step as the rule wants them, from a block up; negative: decoding pauses."""
    if state.server[i].prefilling == 0:
        return 0.0
    share = chunk(describe_server(data, cost, state, i), theta)
    if not math.isfinite(share):
        raise NonFiniteScore("chunk returned NaN or an infinity")
    most = float(min(data.limit[MAX_PREFILL], state.server[i].prefill_left))
    least = min(float(data.limit[BLOCK_TOKENS]), most)
    if 1.0 <= abs(share) < least:
        share = math.copysign(least, share)
    return max(-most, min(share, most))


@inlined
def timeline(state: State, log: np.ndarray) -> Timeline:
    """The solution that a state at the end and its log are."""
    n = len(state.request)
    first, finish, gap = np.empty(n), np.empty(n), np.empty(n)
    for r in range(n):
        first[r] = state.request[r].first_token_s
        finish[r] = state.request[r].finish_s
        gap[r] = state.request[r].worst_gap_s
    return Timeline(first, finish, gap, log[: state.server[0].logged].copy())


@kernel
def continuous_batching(
    instance: Serving, order: Order, admit: Admit, chunk: Chunk, evict: Evict, theta: np.ndarray
) -> Timeline:
    """Serve all requests, or as many as the horizon leaves time for."""
    opened, data, i = open_state(instance, 1), borrow(instance), 0
    state, cost = borrow(opened), unpack_cost(data)
    log = np.empty(8 * len(data.requests.arrival_s) + 64, np.int64)
    server, most = state.server[i], data.limit[MAX_RUNNING]
    while True:
        arrive(data, state, i)
        if server.finished == len(data.requests.arrival_s) or server.now_s >= data.time_s[HORIZON]:
            break
        log = with_room(log, server.logged, 2 * most + 2)
        if server.look == 1 or server.since >= data.limit[PATIENCE]:
            server.look, server.since = 0, 0
            if server.waiting > 0 and server.decoding + server.prefilling < most and server.free > 0:
                count = rank_queue(data, cost, state, i, order, theta)
                admit_ranked(data, cost, state, i, admit, theta, log, count)
        if server.decoding + server.prefilling == 0:
            idle(data, state, i, log)
            continue
        share = prefill_share(data, cost, state, i, chunk, theta)
        tokens = int(abs(share))
        decode = server.decoding > 0 and (share > 0.0 or tokens == 0)
        if decode:
            make_room(data, cost, state, i, evict, theta, log)
            decode = server.decoding > 0
            tokens = min(tokens, server.prefill_left)
        if tokens == 0 and not decode:
            tokens = min(data.limit[BLOCK_TOKENS], server.prefill_left)
        if server.prefilling == 0:
            steps = leap(data, cost, state, i, next_arrival_s(data, state, i), np.inf)
            write(state, i, log, step_entry(0, 1, steps))
        else:
            mixed_step(data, cost, state, i, tokens, decode)
            write(state, i, log, step_entry(tokens, 1 if decode else 0, 1))
    # Of what was opened, not of the borrowed view: this keeps the owner alive until here.
    return timeline(opened, log)
