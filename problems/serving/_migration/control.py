"""Who hands which request to whom: what rules see, and whom they choose."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._borrow import borrow
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._cluster.data import DELAY, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.state import output_left
from problems.serving._migration.data import Migrating
from problems.serving._migration.log import LOST, migration
from problems.serving._migration.state import Fates, MigrationState, end, is_lost
from problems.serving._migration.views import Job, Server
from problems.serving._server.machine import BLOCK_TOKENS, blocks_for
from problems.serving._server.state import NOBODY, predicted_left
from problems.serving._server.views import NO_PROMISE_S

Pair = Callable[[Server, Server, np.ndarray], float]
Pick = Callable[[Job, Server, Server, np.ndarray], float]


@inlined
def _waiting(state: MigrationState, i: int, report_s: float, after: int, queued: bool) -> tuple[int, bool]:
    """The request that waits at server i behind another, or the first; and whether that is in the queue already.

    What has come while a step was running joins the queue when it ends.
    """
    engine = state.cluster.engine
    if after == NOBODY:
        r, queued = engine.server[i].first, True
    else:
        r = engine.request[after].next
    if r == NOBODY and queued:
        r, queued = engine.server[i].sent_first, False
    if not queued and r != NOBODY and engine.request[r].queued_s > report_s:
        r = NOBODY
    return r, queued


@inlined
def _without_sent(data: Migrating, state: MigrationState, i: int, report_s: float) -> None:
    """What server i has to do, without requests that the router sends after its report: nobody knows them yet."""
    own, engine, seen = at_server(data.cluster, i), state.cluster.engine, state.seen[i]
    seen.queue_us, seen.output_left = state.cluster.report[i].queue_us, state.cluster.report[i].output_left
    r = engine.server[i].sent_first
    while r != NOBODY:
        request = engine.request[r]
        if request.queued_s > report_s:
            seen.queue_us -= int(request.score)
            seen.output_left -= output_left(own, engine, r)
        r = request.next


@inlined
def _count(data: Migrating, state: MigrationState, i: int, report_s: float) -> None:
    """Note what rules see of server i that its report does not say."""
    engine, seen, priority = state.cluster.engine, state.seen[i], data.cluster.requests.priority
    server, block = engine.server[i], data.cluster.limit[0, BLOCK_TOKENS]
    seen.urgent, seen.queue_tokens, seen.first_needs, seen.first_waited_s = 0, 0, 0, 0.0
    seen.free, seen.running = server.free * block, server.decoding + server.prefilling
    for p in range(server.decoding):
        seen.urgent += 1 if priority[engine.decoding[i, p]] == 0 else 0
    for p in range(server.prefilling):
        seen.urgent += 1 if priority[engine.prefilling[i, p]] == 0 else 0
    r, queued = _waiting(state, i, report_s, NOBODY, True)
    while r != NOBODY:
        request = engine.request[r]
        if seen.queue_tokens == 0:
            seen.first_needs = blocks_for(request.prefill_left, block) * block
            seen.first_waited_s = report_s - request.queued_s
        seen.queue_tokens += request.prefill_left
        seen.urgent += 1 if priority[r] == 0 else 0
        r, queued = _waiting(state, i, report_s, r, queued)


@inlined
def _describe_server(data: Migrating, state: MigrationState, i: int) -> Server:
    told, seen = state.cluster.report[i], state.seen[i]
    return Server(
        number=float(i),
        servers=float(len(data.cluster.kind)),
        waiting=float(told.waiting),
        decoding=float(told.decoding),
        prefilling=float(told.prefilling),
        urgent=float(seen.urgent),
        context=float(told.context),
        free=float(seen.free),
        capacity=float(told.capacity),
        first_needs=float(seen.first_needs),
        first_waited=seen.first_waited_s,
        queue_tokens=float(seen.queue_tokens),
        queue_time=1e-6 * seen.queue_us,
        output_left=float(seen.output_left),
        decode_step=told.decode_step_s,
        token_time=data.cluster.token_s[data.cluster.kind[i], 0],
    )


@inlined
def _describe_job(data: Migrating, state: MigrationState, i: int, j: int, r: int, report_s: float) -> Job:
    own, engine, requests = at_server(data.cluster, i), state.cluster.engine, data.cluster.requests
    request = engine.request[r]
    waits = request.prefill_left > 0
    since_s = request.queued_s if waits else request.last_token_s
    return Job(
        waiting=1.0 if waits else 0.0,
        context=0.0 if waits else float(request.context),
        prefill_left=float(request.prefill_left),
        prompt=float(requests.prompt_tokens[r]),
        generated=float(request.generated),
        predicted_left=predicted_left(own, engine, r),
        age=report_s - requests.arrival_s[r],
        idle=report_s - since_s,
        preemptions=float(request.preemptions),
        copy_time=0.0 if waits else move_seconds(data, i, j, request.context),
        priority=float(requests.priority[r]),
        ttft_slo=min(requests.ttft_slo_s[r], NO_PROMISE_S),
        tpot_slo=min(requests.tpot_slo_s[r], NO_PROMISE_S),
    )


@inlined
def _score(
    data: Migrating,
    state: MigrationState,
    servers: tuple[Server, Server],
    r: int,
    report_s: float,
    pick: Pick,
    theta: np.ndarray,
) -> float:
    source, target = servers
    job = _describe_job(data, state, int(source.number), int(target.number), r, report_s)
    score = pick(job, source, target, theta)
    if not math.isfinite(score):
        raise NonFiniteScore("pick returned NaN or an infinity")
    return float(score)


@kernel
def _choose(
    data: Migrating, state: MigrationState, i: int, j: int, report_s: float, pick: Pick, theta: np.ndarray
) -> int:
    """Which request goes from server i to server j: the one with the highest positive score, or NOBODY."""
    data, state = borrow(data), borrow(state)
    servers = _describe_server(data, state, i), _describe_server(data, state, j)
    engine, best, highest = state.cluster.engine, NOBODY, 0.0
    for p in range(engine.server[i].decoding):
        r = engine.decoding[i, p]
        score = _score(data, state, servers, r, report_s, pick, theta)
        if score > highest or (score == highest and best != NOBODY and r < best):
            best, highest = r, score
    r, queued = _waiting(state, i, report_s, NOBODY, True)
    while r != NOBODY:
        score = _score(data, state, servers, r, report_s, pick, theta)
        if score > highest or (score == highest and best != NOBODY and r < best):
            best, highest = r, score
        r, queued = _waiting(state, i, report_s, r, queued)
    return int(best)


@inlined
def _is_free(state: MigrationState, i: int) -> bool:
    """Whether server i takes part in no migration."""
    return bool(state.moving[i].out == NOBODY and state.moving[i].source == NOBODY)


@inlined
def _ask_pairs(data: Migrating, state: MigrationState, pair: Pair, theta: np.ndarray) -> None:
    """Score all pairs of servers that are free; what may not be is 0."""
    servers = len(state.moving)
    state.scores[:] = 0.0
    for i in range(servers):
        told = state.cluster.report[i]
        if not _is_free(state, i) or told.decoding + told.waiting == 0:
            continue
        source = _describe_server(data, state, i)
        for j in range(servers):
            if j == i or not _is_free(state, j):
                continue
            score = pair(source, _describe_server(data, state, j), theta)
            if not math.isfinite(score):
                raise NonFiniteScore("pair returned NaN or an infinity")
            state.scores[i, j] = score


@inlined
def _start(
    data: Migrating, state: MigrationState, fates: Fates, entry: int, ends: tuple[int, int], r: int, tick: int
) -> None:
    """Request r is to go from one server to another."""
    (i, j), request = ends, state.cluster.engine.request[r]
    moving, report_s = state.moving[i], tick * data.tick_s[0]
    copy_s, copied = 0.0, 0
    if request.prefill_left == 0:
        copied = request.context
        copy_s = move_seconds(data, i, j, copied)
    moving.out, moving.target, moving.out_entry, moving.copied = r, j, entry, copied
    moving.ready_s = report_s + data.cluster.router_s[DELAY] + copy_s
    moving.preemptions, moving.computed = request.preemptions, request.computed
    state.moving[j].source = i
    fates.moves[entry], fates.fate[entry], fates.pause_s[entry] = migration(tick, r, j), LOST, 0.0


@kernel
def decide(
    data: Migrating,
    state: MigrationState,
    fates: Fates,
    used: int,
    tick: int,
    pair: Pair,
    pick: Pick,
    theta: np.ndarray,
) -> int:
    """Start migrations at a tick, that of the pair with the highest score first; how many there are then."""
    data, state, fates = borrow(data), borrow(state), borrow(fates)
    servers, report_s = len(state.moving), tick * data.tick_s[0]
    for i in range(servers):
        if state.moving[i].out >= 0 and is_lost(state, i):
            end(state, fates, i, LOST)
    for i in range(servers):
        _count(data, state, i, report_s)
        _without_sent(data, state, i, report_s)
    _ask_pairs(data, state, pair, theta)
    while True:
        i, j, highest = NOBODY, NOBODY, 0.0
        for a in range(servers):
            for b in range(servers):
                if state.scores[a, b] > highest:
                    i, j, highest = a, b, state.scores[a, b]
        if i == NOBODY:
            return used
        state.scores[i, j] = 0.0
        r = _choose(data, state, i, j, report_s, pick, theta)
        if r != NOBODY:
            _start(data, state, fates, used, (i, j), r, tick)
            used += 1
            for k in range(servers):
                state.scores[i, k], state.scores[k, i], state.scores[j, k], state.scores[k, j] = 0.0, 0.0, 0.0, 0.0
