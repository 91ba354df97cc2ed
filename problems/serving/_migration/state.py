"""What migrating servers keep besides the state of a cluster, and how a request changes hands.

A migration is decided at a tick. What a request has in the KV cache by then is copied while it
decodes on; at the first end of a step after that it leaves its server, which sends the rest, and that is its pause.
A request that waits has nothing to copy. A server takes part in one migration at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._cluster.cache import trim
from problems.serving._cluster.data import DELAY, at_server
from problems.serving._cluster.links import move_seconds
from problems.serving._cluster.state import ClusterState, open_cluster, output_left, prefill_us
from problems.serving._cluster.step import forget
from problems.serving._migration.data import Migrating
from problems.serving._migration.log import JOINED, LOST, QUEUED, RECOMPUTED, REFUSED
from problems.serving._server.machine import BLOCK_TOKENS, MAX_RUNNING, Serving, blocks_for
from problems.serving._server.state import NOBODY, dequeue, enqueue, requeue
from problems.serving._server.step import place, remove

MOVING = np.dtype(
    (
        np.record,
        [
            # On its way out of this server, NOBODY: none
            ("out", np.int64),
            ("target", np.int64),
            ("out_entry", np.int64),  # of the log
            ("ready_s", np.float64),  # it leaves when the step ends that runs then
            ("copied", np.int64),  # tokens
            ("preemptions", np.int64),  # what it was when this was decided:
            ("computed", np.int64),
            # On its way here, NOBODY: none, or none yet
            ("coming", np.int64),
            ("source", np.int64),  # of who comes or will come, NOBODY: nobody will
            ("in_entry", np.int64),
            ("arrive_s", np.float64),
            ("before_others", np.int64),  # 1: has a request to hand on, so it runs before the others
        ],
    )
)

# What rules see of a server besides its report, counted at a tick
SEEN = np.dtype(
    (
        np.record,
        [
            ("urgent", np.int64),
            ("queue_tokens", np.int64),
            ("first_needs", np.int64),
            ("first_waited_s", np.float64),
            ("queue_us", np.int64),
            ("output_left", np.int64),
            ("free", np.int64),  # tokens
            ("running", np.int64),
        ],
    )
)


class MigrationState(NamedTuple):
    """Everything that changes during a simulation, but for the record of migrations."""

    cluster: ClusterState
    moving: np.ndarray  # (servers,) MOVING
    seen: np.ndarray  # (servers,) SEEN
    scores: np.ndarray  # (servers, servers) float64, of pairs


class Fates(NamedTuple):
    """What became of the migrations so far; as long as room was made for."""

    moves: np.ndarray  # int64, see _migration/log.py
    fate: np.ndarray  # int64
    pause_s: np.ndarray  # float64, from its last step at one server until the other had it; 0 unless it decoded


@kernel
def open_migration(data: Migrating) -> MigrationState:
    """Nothing has arrived, and nothing moves."""
    servers = len(data.cluster.kind)
    moving = np.zeros(servers, MOVING)
    for i in range(servers):
        moving[i].out, moving[i].coming, moving[i].source = NOBODY, NOBODY, NOBODY
    return MigrationState(open_cluster(data.cluster), moving, np.zeros(servers, SEEN), np.empty((servers, servers)))


@inlined
def next_change_s(state: MigrationState, i: int) -> float:
    """When a request leaves server i or comes to it."""
    moving, at_s = state.moving[i], np.inf
    if moving.out >= 0:
        at_s = moving.ready_s
    if moving.coming >= 0:
        at_s = min(at_s, moving.arrive_s)
    return float(at_s)


@inlined
def is_lost(state: MigrationState, i: int) -> bool:
    """Whether the request that is to leave server i is not what it was: it has finished, run or been preempted."""
    moving = state.moving[i]
    request = state.cluster.engine.request[moving.out]
    return bool(
        np.isfinite(request.finish_s)
        or request.preemptions != moving.preemptions
        or request.computed != moving.computed
    )


@inlined
def end(state: MigrationState, fates: Fates, i: int, fate: int) -> None:
    """No request is to leave server i any more; unless it goes to the target, that is free as well."""
    moving = state.moving[i]
    fates.fate[moving.out_entry] = fate
    if fate in (LOST, REFUSED):
        state.moving[moving.target].source = NOBODY
    moving.out = NOBODY


@kernel
def _leave_queue(own: Serving, state: MigrationState, i: int, r: int) -> None:
    """A waiting request is taken out of the queue of server i."""
    engine = state.cluster.engine
    server = engine.server[i]
    dequeue(engine, i, r)
    server.waiting_us -= int(engine.request[r].score)
    server.waiting_output -= output_left(own, engine, r)
    server.look = 1


@kernel
def _leave_batch(data: Migrating, own: Serving, state: MigrationState, i: int, r: int) -> None:
    """A decoding request is taken out of the batch of server i, and takes its context along."""
    engine = state.cluster.engine
    server, request = engine.server[i], engine.request[r]
    remove(engine.decoding, i, server.decoding, r)
    server.decoding -= 1
    server.context -= request.context
    server.free += blocks_for(request.context, own.limit[BLOCK_TOKENS])
    server.look = 1
    forget(data.cluster, own, state.cluster, i, r)


@inlined
def _hand_over(data: Migrating, state: MigrationState, fates: Fates, i: int, after_s: float) -> None:
    """What leaves server i now comes to its target after a while."""
    moving = state.moving[i]
    target = state.moving[moving.target]
    target.coming = moving.out
    target.in_entry = moving.out_entry
    target.arrive_s = state.cluster.engine.server[i].now_s + after_s
    moving.out = NOBODY


@kernel
def leave(data: Migrating, state: MigrationState, fates: Fates, i: int) -> None:
    """The step has ended at which the request leaves that server i was to hand on."""
    own, moving, engine = at_server(data.cluster, i), state.moving[i], state.cluster.engine
    request, target = engine.request[moving.out], state.seen[moving.target]
    if is_lost(state, i):
        end(state, fates, i, LOST)
        return
    if request.prefill_left > 0:
        _leave_queue(own, state, i, moving.out)
        _hand_over(data, state, fates, i, data.cluster.router_s[DELAY])
        return
    block = own.limit[BLOCK_TOKENS]
    if blocks_for(request.context, block) * block > target.free or target.running >= own.limit[MAX_RUNNING]:
        end(state, fates, i, REFUSED)
        return
    after_s = move_seconds(data, i, moving.target, max(request.context - moving.copied, 1))
    fates.pause_s[moving.out_entry] = after_s
    _leave_batch(data, own, state, i, moving.out)
    _hand_over(data, state, fates, i, after_s)


@kernel
def land(data: Migrating, state: MigrationState, fates: Fates, i: int) -> None:
    """The request that comes to server i is there: it decodes, or it waits."""
    own, moving, engine = at_server(data.cluster, i), state.moving[i], state.cluster.engine
    server, r = engine.server[i], moving.coming
    request, fate = engine.request[r], JOINED
    moving.coming, moving.source = NOBODY, NOBODY
    if request.prefill_left > 0:
        enqueue(engine, i, r, server.now_s)
        fate = QUEUED
    elif (
        blocks_for(request.context, own.limit[BLOCK_TOKENS]) <= server.free
        and server.decoding + server.prefilling < own.limit[MAX_RUNNING]
    ):
        place(own, engine, i, r)
        if data.cluster.cache_tokens[0] > 0:
            trim(data.cluster, state.cluster.caches, i, server.free)
    else:
        request.context, request.prefill_left = 0, data.cluster.requests.prompt_tokens[r] + request.generated
        request.preemptions += 1
        requeue(engine, i, r, server.now_s)
        fate = RECOMPUTED
    if fate != JOINED:
        request.score = prefill_us(own, request.prefill_left, 0)
        server.waiting_us += int(request.score)
        server.waiting_output += output_left(own, engine, r)
    fates.fate[moving.in_entry] = fate


@inlined
def change_hands(data: Migrating, state: MigrationState, fates: Fates, i: int) -> None:
    """Between two steps of server i: who is to leave leaves, and who has come lands."""
    now_s = state.cluster.engine.server[i].now_s
    if state.moving[i].out >= 0 and state.moving[i].ready_s <= now_s:
        leave(data, state, fates, i)
    if state.moving[i].coming >= 0 and state.moving[i].arrive_s <= now_s:
        land(data, state, fates, i)
