"""The engine of serving/fair_sharing: that of continuous batching, with a counter per client.

All but the order of admissions is fixed: 2048 tokens a step, admission while blocks are free, and the request
that came last is preempted. Counters change at looks at the queue: clients that come from nothing are lifted, and
output since the last look is charged; then requests are admitted one by one, each charged for its prompt before
the next is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._borrow import borrow
from problems._hardware.step_cost import StepCost
from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._fair.state import (
    BATCH,
    SEEN,
    Clients,
    describe_client,
    describe_prefix,
    open_clients,
    spare,
    update_least,
)
from problems.serving._fair.views import Client, Prefix, Service
from problems.serving._server.decisions import make_room, write
from problems.serving._server.engine import Timeline, idle, next_arrival_s, timeline
from problems.serving._server.log import ADMIT, about, step_entry, with_room
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    CANDIDATE,
    DECISION,
    HORIZON,
    MAX_RUNNING,
    PATIENCE,
    Serving,
    blocks_for,
    unpack_cost,
)
from problems.serving._server.state import State, arrive, dequeue, describe_request, open_state
from problems.serving._server.step import leap, mixed_step, place
from problems.serving._server.views import Request, Server

Order = Callable[[Request, Client, Prefix, np.ndarray], float]
Charge = Callable[[Service, Client, np.ndarray], float]
Lift = Callable[[Client, np.ndarray], float]

STEP_TOKENS = 2048


@inlined
def _latest(request: Request, server: Server, theta: np.ndarray) -> float:
    """The request that came last is preempted."""
    return -request.waiting


@inlined
def _charge(clients: Clients, c: int, service: Service, charge: Charge, theta: np.ndarray) -> None:
    due = charge(service, describe_client(clients, c), theta)
    if not math.isfinite(due):
        raise NonFiniteScore("charge returned NaN or an infinity")
    clients.counter[c] += due
    update_least(clients)


@kernel
def _settle(data: Serving, state: State, clients: Clients, charge: Charge, lift: Lift, theta: np.ndarray) -> None:
    """Take in who has come since the last look; then charge output since then."""
    data, state, clients = borrow(data), borrow(state), borrow(clients)
    for r in range(clients.tally[SEEN], state.server[0].arrived):
        c = data.requests.tenant[r]
        if clients.waiting[c] == 0:
            lifted = lift(describe_client(clients, c), theta)
            if not math.isfinite(lifted):
                raise NonFiniteScore("lift returned NaN or an infinity")
            clients.counter[c] = lifted
        clients.waiting[c] += 1
        update_least(clients)
    clients.tally[SEEN] = state.server[0].arrived
    for k in range(clients.tally[BATCH]):
        r = clients.batch[k]
        clients.output[data.requests.tenant[r]] += state.request[r].generated - clients.charged[r]
        clients.charged[r] = state.request[r].generated
    for c in range(len(clients.counter)):
        if clients.output[c] > 0:
            _charge(clients, c, Service(0.0, 0.0, float(clients.output[c])), charge, theta)
            clients.output[c] = 0


@inlined
def _count_waiting(data: Serving, state: State, clients: Clients, i: int) -> None:
    """Count the requests of each client that wait: arrivals, and what has been preempted."""
    clients.waiting[:] = 0
    r = state.server[i].first
    while r >= 0:
        clients.waiting[data.requests.tenant[r]] += 1
        r = state.request[r].next
    update_least(clients)


@inlined
def _first(data: Serving, state: State, clients: Clients, i: int, order: Order, theta: np.ndarray) -> int:
    """The waiting request with the lowest score; ties go to the one that came first."""
    best, lowest, now_s, r = -1, np.inf, state.server[i].now_s, state.server[i].first
    while r >= 0:
        client = describe_client(clients, data.requests.tenant[r])
        score = order(describe_request(data, state, r, now_s, 0), client, describe_prefix(data, clients, r), theta)
        if not math.isfinite(score):
            raise NonFiniteScore("order returned NaN or an infinity")
        if score < lowest or (score == lowest and r < best):
            best, lowest = r, score
        r = state.request[r].next
    return best


@kernel
def _look(
    data: Serving,
    state: State,
    clients: Clients,
    order: Order,
    charge: Charge,
    lift: Lift,
    theta: np.ndarray,
    log: np.ndarray,
) -> None:
    """Settle counters, and admit one request after the other while the first of them fits."""
    data, state, clients, log = borrow(data), borrow(state), borrow(clients), borrow(log)
    i, server = 0, state.server[0]
    _settle(data, state, clients, charge, lift, theta)
    _count_waiting(data, state, clients, i)
    server.debt_s += data.time_s[DECISION] + data.time_s[CANDIDATE] * server.waiting
    while server.waiting > 0 and server.decoding + server.prefilling < data.limit[MAX_RUNNING]:
        r = _first(data, state, clients, i, order, theta)
        tokens = state.request[r].context + state.request[r].prefill_left
        if blocks_for(tokens, data.limit[BLOCK_TOKENS]) > server.free:
            break
        c = data.requests.tenant[r]
        dequeue(state, i, r)
        place(data, state, i, r)
        hit = spare(data, state, clients, i, r)
        write(state, i, log, about(ADMIT, r))
        clients.waiting[c] -= 1
        update_least(clients)
        if state.request[r].preemptions == 0:  # computing again is the server's fault
            computed = data.requests.prompt_tokens[r] - hit
            _charge(clients, c, Service(float(computed), float(hit), 0.0), charge, theta)
    clients.running[:] = 0
    clients.tally[BATCH] = server.decoding + server.prefilling
    for k in range(clients.tally[BATCH]):
        r = state.prefilling[i, k - server.decoding] if k >= server.decoding else state.decoding[i, k]
        clients.batch[k] = r
        clients.running[data.requests.tenant[r]] += 1


@inlined
def _step(data: Serving, cost: StepCost, state: State, theta: np.ndarray, log: np.ndarray) -> None:
    """All that decodes, and prompts up to 2048 tokens together."""
    i, server = 0, state.server[0]
    decode = server.decoding > 0
    if decode:
        make_room(data, cost, state, i, _latest, theta, log)
        decode = server.decoding > 0
    if server.prefilling == 0:
        steps = leap(data, cost, state, i, next_arrival_s(data, state, i), np.inf)
        write(state, i, log, step_entry(0, 1, steps))
    else:
        tokens = min(max(STEP_TOKENS - server.decoding, data.limit[BLOCK_TOKENS]), server.prefill_left)
        mixed_step(data, cost, state, i, tokens, decode)
        write(state, i, log, step_entry(tokens, 1 if decode else 0, 1))


@kernel
def fair_batching(instance: Serving, order: Order, charge: Charge, lift: Lift, theta: np.ndarray) -> Timeline:
    """Serve all requests, or as many as the horizon leaves time for."""
    opened, accounts, data, i = open_state(instance, 1), open_clients(instance), borrow(instance), 0
    state, clients, cost = borrow(opened), borrow(accounts), unpack_cost(data)
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
                _look(data, state, clients, order, charge, lift, theta, log)
        if server.decoding + server.prefilling == 0:
            idle(data, state, i, log)
        else:
            _step(data, cost, state, theta, log)
    # Of what was opened, not of the borrowed views: this keeps the owners alive until here.
    assert accounts.tally[SEEN] <= opened.server[0].arrived
    return timeline(opened, log)
