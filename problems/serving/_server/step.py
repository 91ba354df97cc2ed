"""What a server does in its steps: prefill, decode, emit, finish, preempt."""

from __future__ import annotations

import numpy as np

from problems._hardware.step_cost import StepCost, step_seconds
from problems._jit import inlined
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    HORIZON,
    PATIENCE,
    SWAP_BLOCK,
    Serving,
    blocks_for,
    swap_seconds,
)
from problems.serving._server.state import State, enqueue, predicted_left


@inlined
def count_crossings(data: Serving, state: State, i: int) -> None:
    """Sort decoding requests by where in a block they are: at 0, the next token needs a new block."""
    mask = data.limit[BLOCK_TOKENS] - 1
    state.crossing[:] = 0
    for p in range(state.server[i].decoding):
        state.crossing[state.request[state.decoding[i, p]].context & mask] += 1


@inlined
def join(data: Serving, state: State, i: int, r: int) -> None:
    """Request r decodes from now on; the list stays in the order of predicted output left, falling."""
    server, decoding = state.server[i], state.decoding
    left, p = predicted_left(data, state, r), server.decoding
    while p > 0 and predicted_left(data, state, decoding[i, p - 1]) < left:
        decoding[i, p] = decoding[i, p - 1]
        p -= 1
    decoding[i, p] = r
    server.decoding += 1
    server.context += state.request[r].context


@inlined
def place(data: Serving, state: State, i: int, r: int) -> None:
    """Move an admitted request into the batch; it gets blocks for all that it has to compute."""
    server, request = state.server[i], state.request[r]
    block = data.limit[BLOCK_TOKENS]
    server.wait_s = 0.0
    server.free -= blocks_for(request.context + request.prefill_left, block)
    if request.context > 0 and data.time_s[SWAP_BLOCK] >= 0.0:  # it was swapped out
        server.debt_s += swap_seconds(data, blocks_for(request.context, block))
    if request.prefill_left > 0:
        state.prefilling[i, server.prefilling] = r
        server.prefilling += 1
        server.prefill_left += request.prefill_left
    else:
        join(data, state, i, r)


@inlined
def remove(running: np.ndarray, i: int, count: int, r: int) -> bool:
    """Take r out of the first count of a list, keeping the order; whether it was there."""
    found = False
    for p in range(count):
        if found:
            running[i, p - 1] = running[i, p]
        elif running[i, p] == r:
            found = True
    return found


@inlined
def leave_batch(data: Serving, state: State, i: int, r: int, swap: bool) -> None:
    """Take a running request out of the batch, to be swapped out or computed anew."""
    server, request, block = state.server[i], state.request[r], data.limit[BLOCK_TOKENS]
    server.free += blocks_for(request.context + request.prefill_left, block)
    if remove(state.decoding, i, server.decoding, r):
        server.decoding -= 1
        server.context -= request.context
    elif remove(state.prefilling, i, server.prefilling, r):
        server.prefilling -= 1
        server.prefill_left -= request.prefill_left
    if not swap:
        request.context = 0
        request.prefill_left = data.requests.prompt_tokens[r] + request.generated
    elif request.context > 0:
        server.debt_s += swap_seconds(data, blocks_for(request.context, block))
    request.preemptions += 1


@inlined
def take_out(data: Serving, state: State, i: int, r: int) -> None:
    """Take a running request out of the batch, to be recomputed or, where time_s says so, swapped out."""
    leave_batch(data, state, i, r, data.time_s[SWAP_BLOCK] >= 0.0)


@inlined
def preempt(data: Serving, state: State, i: int, r: int) -> None:
    """Take a running request out of the batch and let it queue again."""
    take_out(data, state, i, r)
    enqueue(state, i, r, state.server[i].now_s)


@inlined
def prefill(state: State, i: int, budget: int) -> float:
    """Compute up to budget prompt tokens, oldest admission first; (new, attended) pairs of tokens."""
    server = state.server[i]
    pairs = 0.0
    for p in range(server.prefilling):
        request = state.request[state.prefilling[i, p]]
        chunk = min(budget, request.prefill_left)
        pairs += chunk * (request.context + 0.5 * chunk)
        request.context += chunk
        request.prefill_left -= chunk
        server.prefill_left -= chunk
        budget -= chunk
        if budget == 0:
            break
    return pairs


@inlined
def finish(data: Serving, state: State, i: int, r: int) -> None:
    """Give back all that a request holds."""
    server, request = state.server[i], state.request[r]
    request.finish_s = request.last_token_s
    server.free += blocks_for(request.context, data.limit[BLOCK_TOKENS])
    state.ended[server.finished % len(state.ended)] = r
    server.finished += 1
    server.finished_tokens += request.generated
    server.look = 1


@inlined
def end_prefill(data: Serving, state: State, i: int) -> None:
    """Prompts that are done emit a token and start to decode."""
    server = state.server[i]
    done = 0
    while done < server.prefilling and state.request[state.prefilling[i, done]].prefill_left == 0:
        r = state.prefilling[i, done]
        request = state.request[r]
        request.generated += 1
        if request.generated == 1:
            request.first_token_s = server.now_s
        else:
            request.worst_gap_s = max(request.worst_gap_s, server.now_s - request.last_token_s)
        request.last_token_s = server.now_s
        if request.generated == data.requests.output_tokens[r]:
            finish(data, state, i, r)
        else:
            join(data, state, i, r)
        done += 1
    if done > 0:
        for p in range(done, server.prefilling):
            state.prefilling[i, p - done] = state.prefilling[i, p]
        server.prefilling -= done


@inlined
def end_decode(data: Serving, state: State, i: int, steps: int, first_s: float, longest_s: float) -> None:
    """All decoding requests have emitted a token in each of the steps, the first of which ended at first_s."""
    server = state.server[i]
    kept = 0
    for p in range(server.decoding):
        r = state.decoding[i, p]
        request = state.request[r]
        request.context += steps
        request.generated += steps
        request.worst_gap_s = max(request.worst_gap_s, max(longest_s, first_s - request.last_token_s))
        request.last_token_s = server.now_s
        if request.generated == data.requests.output_tokens[r]:
            server.context -= request.context
            finish(data, state, i, r)
        else:
            state.decoding[i, kept] = r
            kept += 1
    server.decoding = kept


@inlined
def leap(data: Serving, cost: StepCost, state: State, i: int, next_arrival_s: float, end_by_s: float) -> int:
    """Decode until something changes; number of steps.

    That is: a request finishes or arrives, a block is missing, the horizon is reached, the waiting
    queue is due for a look, or a step would end after end_by_s. What happens is what single steps
    would do, to the last digit.
    """
    server, mask = state.server[i], data.limit[BLOCK_TOKENS] - 1
    most = 2**31
    for p in range(server.decoding):
        r = state.decoding[i, p]
        most = min(most, data.requests.output_tokens[r] - state.request[r].generated)
    if server.waiting > 0:
        most = 1 if server.look == 1 else min(most, data.limit[PATIENCE] - server.since)
    until_s = min(next_arrival_s, data.time_s[HORIZON])
    steps, count, context, free = 0, server.decoding, server.context, server.free
    now_s, first_s, longest_s = server.now_s, 0.0, 0.0
    while True:
        needed = state.crossing[-steps & mask]
        if steps > 0 and needed > free:
            break
        before_s = now_s
        after_s = before_s + (step_seconds(cost, 0, 0.0, count, float(context)) + server.debt_s)
        if after_s > end_by_s:
            break
        now_s = after_s
        free -= needed
        if steps == 0:
            first_s = now_s
            server.debt_s = 0.0
        else:
            longest_s = max(longest_s, now_s - before_s)
        steps += 1
        context += count
        if steps >= most or now_s >= until_s:
            break
    if steps > 0:
        server.now_s, server.free, server.context = now_s, free, context
        server.since += steps
        end_decode(data, state, i, steps, first_s, longest_s)
    return steps


@inlined
def begin_mixed(data: Serving, cost: StepCost, state: State, i: int, tokens: int, decode: bool) -> float:
    """Take blocks and prompt tokens for a step; the seconds it computes."""
    server = state.server[i]
    pairs = prefill(state, i, tokens)
    count, context = 0, 0
    if decode:
        count, context = server.decoding, server.context
        server.free -= state.crossing[0]
        server.context += count
    return step_seconds(cost, tokens, pairs, count, float(context))


@inlined
def end_mixed(data: Serving, state: State, i: int, decode: bool) -> None:
    """Put out the tokens of a step that began with begin_mixed."""
    server = state.server[i]
    if decode:
        end_decode(data, state, i, 1, server.now_s, 0.0)
    end_prefill(data, state, i)
    server.look = 1


@inlined
def mixed_step(data: Serving, cost: StepCost, state: State, i: int, tokens: int, decode: bool) -> None:
    """Run one step that prefills so many tokens and, if decode is set, decodes besides."""
    server = state.server[i]
    server.now_s += begin_mixed(data, cost, state, i, tokens, decode) + server.debt_s
    server.debt_s = 0.0
    end_mixed(data, state, i, decode)
