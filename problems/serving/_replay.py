"""Replay of a log: what the decisions of a simulation lead to, and whether the server could take them.

Written apart from the engine: no leaps, no running totals of blocks, every step one by one. What a rule
decided is taken from the log; times, memory and tokens are computed again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_seconds
from problems._jit import kernel
from problems.problem import Infeasible
from problems.serving._engine import Timeline
from problems.serving._log import ADMIT, EVICT, KIND_BITS, PREFILL_SHIFT, REPEAT_BITS, REPEAT_SHIFT, STEP, WAIT
from problems.serving._machine import (
    BLOCK_TOKENS,
    BLOCKS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_PREFILL,
    MAX_RUNNING,
    PATIENCE,
    SWAP_BLOCK,
    TICK,
    Serving,
    unpack_cost,
)

_TO_COME, _WAITING, _RUNNING, _DONE = 0, 1, 2, 3

_FINE = 0
_BROKEN = (
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
    "the log ends after entry {entry}, before the simulation does",
)


class Replay(NamedTuple):
    """What a log leads to."""

    broken: int  # index of _BROKEN
    entry: int
    request: int
    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64
    worst_gap_s: np.ndarray  # (n,) float64
    preemptions: np.ndarray  # (n,) int64


@kernel
def replay(data: Serving, log: np.ndarray) -> Replay:
    """Follow a log; the first broken rule ends it."""
    requests, cost, n = data.requests, unpack_cost(data), len(data.requests.arrival_s)
    block, blocks, n_running, n_done, come = data.limit[BLOCK_TOKENS], data.limit[BLOCKS], 0, 0, 0
    first, finish, gap, last = np.full(n, np.inf), np.full(n, np.inf), np.zeros(n), np.zeros(n)
    status, cached, target, generated = (
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )
    preemptions, running, swapped = (
        np.zeros(n, np.int64),
        np.empty(data.limit[MAX_RUNNING], np.int64),
        np.zeros(n, np.bool_),
    )
    target[:] = requests.prompt_tokens
    now, debt, changed, pure, waiting, p, broken, who = 0.0, 0.0, False, 0, 0, 0, _FINE, -1
    while broken == _FINE:
        while come < n and requests.arrival_s[come] <= now:
            status[come], waiting, changed = _WAITING, waiting + 1, True
            come += 1
        if n_done == n or now >= data.time_s[HORIZON]:
            break
        used = 0
        for k in range(n_running):
            used += (max(cached[running[k]], target[running[k]]) + block - 1) // block
        looks = False
        if changed or pure >= data.limit[PATIENCE]:
            changed, pure = False, 0
            looks = waiting > 0 and n_running < data.limit[MAX_RUNNING] and used < blocks
            if looks:
                debt += data.time_s[DECISION] + data.time_s[CANDIDATE] * waiting
        while looks and p < len(log) and log[p] & 3 == ADMIT and broken == _FINE:
            who = log[p] >> KIND_BITS
            if who < 0 or who >= n or status[who] != _WAITING:
                broken = 2
            else:
                needed = (max(cached[who], target[who]) + block - 1) // block
                if n_running == data.limit[MAX_RUNNING] or used + needed > blocks:
                    broken = 4
                else:
                    if swapped[who]:
                        debt += data.time_s[SWAP_BLOCK] * ((cached[who] + block - 1) // block)
                        swapped[who] = False
                    status[who], running[n_running] = _RUNNING, who
                    used, waiting, n_running, p = used + needed, waiting - 1, n_running + 1, p + 1
        if broken != _FINE:
            break
        if n_running == 0 and waiting == 0:
            now, debt = requests.arrival_s[come], 0.0
            continue
        if p == len(log):
            broken = 11
            break
        if log[p] == WAIT:
            if n_running > 0 or waiting == 0:
                broken = 9
                break
            until = requests.arrival_s[come] if come < n else np.inf
            now, debt, changed, p = min(now + data.time_s[TICK], until), 0.0, True, p + 1
            continue
        while p < len(log) and log[p] & 3 == EVICT and broken == _FINE:
            who, short = log[p] >> KIND_BITS, 0
            for k in range(n_running):
                r = running[k]
                if cached[r] >= target[r] and cached[r] % block == 0:
                    short += 1
            if who < 0 or who >= n or status[who] != _RUNNING or n_running < 2 or used + short <= blocks:
                broken = 5
                break
            used -= (max(cached[who], target[who]) + block - 1) // block
            kept = 0
            for k in range(n_running):
                if running[k] != who:
                    running[kept] = running[k]
                    kept += 1
            n_running, status[who], waiting, changed = kept, _WAITING, waiting + 1, True
            preemptions[who] += 1
            p += 1
            if data.time_s[SWAP_BLOCK] < 0.0:
                cached[who], target[who] = 0, requests.prompt_tokens[who] + generated[who]
            elif cached[who] > 0:
                swapped[who] = True
                debt += data.time_s[SWAP_BLOCK] * ((cached[who] + block - 1) // block)
        if broken != _FINE or p == len(log) or log[p] & 3 != STEP or n_running == 0:
            if broken == _FINE:
                broken = 11 if p == len(log) else 3 if log[p] & 3 == ADMIT else 1
            break
        decode = (log[p] >> KIND_BITS) & 1
        repeats = (log[p] >> REPEAT_SHIFT) & ((1 << REPEAT_BITS) - 1)
        tokens = log[p] >> PREFILL_SHIFT
        for step in range(max(repeats, 1)):
            used, short, decoders, context, to_prefill = 0, 0, 0, 0, 0
            for k in range(n_running):
                r = running[k]
                used += (max(cached[r], target[r]) + block - 1) // block
                if cached[r] >= target[r]:
                    decoders += 1
                    context += cached[r]
                    if cached[r] % block == 0:
                        short += 1
                else:
                    to_prefill += target[r] - cached[r]
            empty = (decode == 1 and decoders == 0) or (decode == 0 and tokens == 0)
            if empty or repeats < 1 or tokens < 0 or tokens > min(to_prefill, data.limit[MAX_PREFILL]):
                broken = 6
            elif decode == 1 and used + short > blocks:
                broken = 7
            elif repeats > 1 and (
                to_prefill > 0
                or (step > 0 and (changed or (come < n and now >= requests.arrival_s[come])))
                or (step > 0 and (now >= data.time_s[HORIZON] or (waiting > 0 and pure >= data.limit[PATIENCE])))
            ):
                broken = 8
            if broken != _FINE:
                break
            pairs, budget, n_prefilling = 0.0, tokens, 0
            if decode == 0:
                decoders, context = 0, 0
            for k in range(n_running):
                r = running[k]
                left = target[r] - cached[r]
                if left > 0:
                    n_prefilling += 1
                    chunk = min(budget, left)
                    pairs += chunk * (cached[r] + 0.5 * chunk)
                    budget -= chunk
                    cached[r] += chunk
                    # negative once it emits, so that the two kinds are told apart below
                    status[r] = -1 if chunk == left else -2
            now += step_seconds(cost, tokens, pairs, decoders, float(context)) + debt
            debt, kept = 0.0, 0
            for k in range(n_running):
                r = running[k]
                emits = status[r] == -1
                if status[r] == _RUNNING and decode == 1:
                    cached[r] += 1
                    emits = True
                status[r] = _RUNNING
                if emits:
                    generated[r] += 1
                    if generated[r] == 1:
                        first[r] = now
                    else:
                        gap[r] = max(gap[r], now - last[r])
                    last[r] = now
                    if generated[r] == requests.output_tokens[r]:
                        finish[r], status[r], changed = now, _DONE, True
                        n_done += 1
                        continue
                running[kept] = r
                kept += 1
            n_running = kept
            if n_prefilling > 0:
                changed = True
            else:
                pure += 1
        if broken == _FINE:
            p += 1
    if broken == _FINE and p < len(log):
        broken = 10
    return Replay(broken, p, who, first, finish, gap, preemptions)


def verify(data: Serving, solution: Timeline) -> None:
    """Check that the log is one of this server, and that its times are those of the solution.

    Raises
    ------
    Infeasible
        Naming the entry of the log, or the request, and the rule.
    """
    n = len(data.requests.arrival_s)
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        array = getattr(solution, name)
        if array.dtype != np.float64 or array.shape != (n,):
            raise Infeasible(
                f"{name} must be a float64 array of shape ({n},), got {array.dtype} of shape {array.shape}"
            )
    if solution.log.dtype != np.int64 or solution.log.ndim != 1:
        raise Infeasible(f"log must be a list of int64, got {solution.log.dtype} of shape {solution.log.shape}")
    for p in np.flatnonzero((solution.log < 0) | ((solution.log & 3 == WAIT) & (solution.log != WAIT)))[:1]:
        raise Infeasible(f"log entry {p} is no entry of a log: {solution.log[p]}")
    found = replay(data, np.ascontiguousarray(solution.log))
    if found.broken != _FINE:
        raise Infeasible(_BROKEN[found.broken].format(entry=found.entry, request=found.request))
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        given, computed = getattr(solution, name), getattr(found, name)
        for r in np.flatnonzero(~(given == computed))[:1]:
            raise Infeasible(f"{name} of request {r} is {given[r]}, but the log leads to {computed[r]}")
