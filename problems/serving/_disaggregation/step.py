"""How an instance works in steps, whatever its role.

An instance that only prefills computes whole prompts, first come, first served, as many as fit a number of tokens. The
others work like vLLM v1, as in _cluster/step.py: all that decodes, and prompt tokens up to a budget. Where they only
decode, these are of preempted requests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import step_seconds
from problems._jit import inlined, kernel
from problems.serving._cluster.data import PREFILL, at_server
from problems.serving._cluster.state import output_left, prefill_us
from problems.serving._disaggregation.data import Deployment
from problems.serving._disaggregation.state import DUE, IDLE, IN_STEP, Deployed
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    CANDIDATE,
    DECISION,
    MAX_PREFILL,
    MAX_RUNNING,
    Serving,
    blocks_for,
    unpack_cost,
)
from problems.serving._server.state import NOBODY, dequeue, requeue
from problems.serving._server.step import (
    count_crossings,
    end_decode,
    end_prefill,
    finish,
    join,
    place,
    prefill,
    take_out,
)


@inlined
def wake(state: Deployed, i: int, now_s: float) -> None:
    """Let instance i begin a step, if it is idle."""
    at = state.place[i]
    if at.phase == IDLE:
        at.phase, at.next_s = DUE, now_s


@inlined
def batch_of(state: Deployed, i: int) -> int:
    """Requests that run on instance i or have blocks there to come."""
    server = state.engine.server[i]
    return int(server.decoding + server.prefilling + state.place[i].incoming)


@kernel
def _join_moved(data: Deployment, state: Deployed, i: int) -> None:
    """Requests whose cache has come decode from now on."""
    data, state = borrow(data), borrow(state)
    own, engine, at = at_server(data.cluster, i), state.engine, state.place[i]
    while at.first >= 0 and at.first != at.moving:
        r = at.first
        at.first = engine.request[r].next
        if at.first < 0:
            at.last = NOBODY
        at.incoming -= 1
        join(own, engine, i, r)


@kernel
def _admit(data: Deployment, state: Deployed, i: int) -> None:
    """Look at the queue, and admit from its front what the batch and the memory hold."""
    data, state = borrow(data), borrow(state)
    own, engine = at_server(data.cluster, i), state.engine
    server, most = engine.server[i], own.limit[MAX_RUNNING]
    if batch_of(state, i) >= most or server.free == 0:
        return
    server.debt_s += own.time_s[DECISION] + own.time_s[CANDIDATE] * server.waiting
    while server.waiting > 0 and batch_of(state, i) < most:
        r = server.first
        if blocks_for(engine.request[r].prefill_left, own.limit[BLOCK_TOKENS]) > server.free:
            break
        dequeue(engine, i, r)
        server.waiting_us -= int(engine.request[r].score)
        server.waiting_output -= output_left(own, engine, r)
        place(own, engine, i, r)


@kernel
def _make_room(data: Deployment, state: Deployed, i: int) -> None:
    """Preempt the latest request until all that decodes has a block for its next token.

    The last one stays, unless blocks are taken for requests that are to come.
    """
    own, engine, server = at_server(data.cluster, i), state.engine, state.engine.server[i]
    while engine.crossing[0] > server.free and batch_of(state, i) > 1 and server.decoding + server.prefilling > 0:
        victim = -1
        for p in range(server.decoding):
            victim = max(victim, engine.decoding[i, p])
        for p in range(server.prefilling):
            victim = max(victim, engine.prefilling[i, p])
        take_out(own, engine, i, victim)
        requeue(engine, i, victim, server.now_s)
        request = engine.request[victim]
        request.score = prefill_us(own, request.prefill_left, 0)
        server.waiting_us += int(request.score)
        server.waiting_output += output_left(own, engine, victim)
        count_crossings(own, engine, i)


class Prompts(NamedTuple):
    """What a step computes of prompts."""

    tokens: int
    pairs: float  # of new and attended tokens


@kernel
def _prompts(data: Deployment, state: Deployed, i: int) -> Prompts:
    """Prompt tokens of the next step, in order of admission: whole prompts, or what the budget leaves for them."""
    own, engine = at_server(data.cluster, i), state.engine
    server, tokens, pairs = engine.server[i], 0, 0.0
    most, whole = own.limit[MAX_PREFILL], server.role == PREFILL
    if not whole:
        most = max(most - server.decoding, own.limit[BLOCK_TOKENS])
    for p in range(server.prefilling):
        request = engine.request[engine.prefilling[i, p]]
        chunk = request.prefill_left
        if tokens + chunk > most and not (whole and tokens == 0):
            chunk = 0 if whole else most - tokens
        if chunk == 0:
            break
        pairs += chunk * (request.context + 0.5 * chunk)
        tokens += chunk
    return Prompts(tokens, pairs)


@inlined
def begin_step(data: Deployment, state: Deployed, i: int, now_s: float) -> None:
    """Take in what has come, make room, and begin a step, if there is anything to compute."""
    own, engine, at = at_server(data.cluster, i), state.engine, state.place[i]
    server, prompts = engine.server[i], Prompts(0, 0.0)
    at.phase, at.next_s, server.now_s = IDLE, np.inf, now_s
    if at.first >= 0 and at.first != at.moving:
        _join_moved(data, state, i)
    if server.look == 1:
        server.look = 0
        if server.waiting > 0:
            _admit(data, state, i)
    if server.decoding > 0:
        count_crossings(own, engine, i)
        if engine.crossing[0] > server.free:
            _make_room(data, state, i)
    if server.decoding + server.prefilling == 0:
        return
    if server.prefilling > 0:
        prompts = _prompts(data, state, i)
    context = float(server.context)
    seconds = step_seconds(unpack_cost(own), prompts.tokens, prompts.pairs, server.decoding, context) + server.debt_s
    server.debt_s = 0.0
    at.decode = 1 if server.decoding > 0 else 0
    if at.decode == 1:
        server.free -= engine.crossing[0]
    at.tokens, at.phase, at.next_s = prompts.tokens, IN_STEP, now_s + seconds


@kernel
def _note_ends(data: Deployment, state: Deployed, i: int, before: int) -> None:
    """Count the requests that finished in this step, and whether their promises were kept."""
    data, state = borrow(data), borrow(state)
    engine, now, requests = state.engine, state.controller[0], data.cluster.requests
    for p in range(before, engine.server[i].finished):
        r = engine.ended[p % len(engine.ended)]
        request = engine.request[r]
        now.finished += 1
        now.ends += 1
        now.outputs += request.generated
        spent_s = (request.finish_s - request.first_token_s) / max(request.generated - 1, 1)
        if spent_s > requests.tpot_slo_s[r]:
            now.late_ends += 1


@inlined
def _note_firsts(data: Deployment, state: Deployed, i: int) -> None:
    """Count the prompts that this step has completed, and whether their first token was in time."""
    engine, now, requests = state.engine, state.controller[0], data.cluster.requests
    for p in range(engine.server[i].prefilling):
        r = engine.prefilling[i, p]
        if engine.request[r].prefill_left > 0:
            break
        if engine.request[r].generated == 0:
            now.firsts += 1
            if engine.server[i].now_s - requests.arrival_s[r] > requests.ttft_slo_s[r]:
                now.late_firsts += 1


@inlined
def _leave_prompts(own: Serving, state: Deployed, i: int) -> int:
    """Prompts that are done on an instance that only prefills put out a token; number of those that go elsewhere.

    They are noted down in engine.left, and keep their blocks.
    """
    engine, server, done, leaving = state.engine, state.engine.server[i], 0, 0
    while done < server.prefilling and engine.request[engine.prefilling[i, done]].prefill_left == 0:
        r = engine.prefilling[i, done]
        request = engine.request[r]
        request.generated += 1
        request.first_token_s = server.now_s
        request.last_token_s = server.now_s
        if request.generated == own.requests.output_tokens[r]:
            finish(own, engine, i, r)
        else:
            state.place[i].held += request.context
            engine.left[leaving] = r
            leaving += 1
        done += 1
    for p in range(done, server.prefilling):
        engine.prefilling[i, p - done] = engine.prefilling[i, p]
    server.prefilling -= done
    return leaving


@kernel
def _end_prompts(data: Deployment, state: Deployed, i: int) -> int:
    """The prompt tokens of a step are computed; number of requests that are to be handed over."""
    data, state = borrow(data), borrow(state)
    own, engine, leaving = at_server(data.cluster, i), state.engine, 0
    prefill(engine, i, state.place[i].tokens)
    _note_firsts(data, state, i)
    if engine.server[i].role == PREFILL:
        leaving = _leave_prompts(own, state, i)
    else:
        end_prefill(own, engine, i)
    engine.server[i].look = 1
    return leaving


@inlined
def end_step(data: Deployment, state: Deployed, i: int) -> int:
    """Put out the tokens of the step that instance i has run; number of requests that are to be handed over."""
    own, engine, at = at_server(data.cluster, i), state.engine, state.place[i]
    server, leaving = engine.server[i], 0
    finished = server.finished
    server.now_s, at.phase, at.next_s = at.next_s, IDLE, np.inf
    if at.decode == 1:
        server.context += server.decoding
        end_decode(own, engine, i, 1, server.now_s, 0.0)
    if at.tokens > 0:
        leaving = _end_prompts(data, state, i)
    if server.finished > finished:
        _note_ends(data, state, i, finished)
    return leaving
