"""The size of the fleet: what the rule sees at a tick, and how instances are started and stopped."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from problems._jit import inlined, kernel
from problems.problem import NonFiniteScore
from problems.serving._cluster.data import DOWN, LOADING, UP
from problems.serving._fleet.data import LONG, SHORT, TICK, Elastic, places_of
from problems.serving._fleet.log import START, STOP, move
from problems.serving._fleet.state import DRAINING, NEVER_S, FleetState, Record, requests_of, shut
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._server.machine import BLOCK_TOKENS, BLOCKS

Scale = Callable[[Pool, Fleet, np.ndarray], float]


@inlined
def _measure(state: FleetState, record: Record, short_s: float, long_s: float) -> None:
    """Count what was sent to each pool in the windows that begin at these times."""
    desk = state.desk[0]
    for k in range(len(state.pool)):
        pool = state.pool[k]
        pool.sent_long, pool.work_short, pool.work_long = 0, 0, 0
    while desk.send_long < desk.sends and record.sent_s[desk.send_long] <= long_s:
        desk.send_long += 1
    for k in range(desk.send_long, desk.sends):
        pool = state.pool[record.pool[k]]
        pool.sent_long += 1
        pool.work_long += record.work_us[k]
        pool.work_short += record.work_us[k] if record.sent_s[k] > short_s else 0


@kernel
def describe_fleet(data: Elastic, state: FleetState, record: Record, now_s: float) -> Fleet:
    """All that the rule sees of the fleet; counts what was sent besides."""
    requests, desk = data.cluster.requests, state.desk[0]
    short_s, long_s = min(data.control_s[SHORT], now_s), min(data.control_s[LONG], now_s)
    _measure(state, record, now_s - short_s, now_s - long_s)
    while desk.arrival_long < len(requests.arrival_s) and requests.arrival_s[desk.arrival_long] <= now_s - long_s:
        desk.arrival_long += 1
    k, recent, prompt, output = desk.arrival_long, 0, 0, 0
    while k < len(requests.arrival_s) and requests.arrival_s[k] <= now_s:
        prompt += requests.prompt_tokens[k]
        output += math.ceil(requests.predicted_output[k])
        recent += 1 if requests.arrival_s[k] > now_s - short_s else 0
        k += 1
    count, up, loading, waiting, running = k - desk.arrival_long, 0, 0, 0, 0
    for i in range(len(state.place)):
        told, status = state.cluster.report[i], state.cluster.engine.server[i].status
        up += 1 if status == UP else 0
        loading += 1 if status == LOADING else 0
        if status == UP:
            waiting += told.waiting
            running += told.decoding + told.prefilling
    return Fleet(
        now=now_s,
        tick=data.control_s[TICK],
        pools=float(len(data.least)),
        short_window=data.control_s[SHORT],
        long_window=data.control_s[LONG],
        rate_short=recent / short_s,
        rate_long=count / long_s,
        prompt=prompt / max(count, 1),
        output=output / max(count, 1),
        backlog=float(k - desk.arrived + desk.queued),
        up=float(up),
        loading=float(loading),
        waiting=float(waiting),
        running=float(running),
        penalty=data.penalty[0],
    )


@kernel
def describe_pool(data: Elastic, state: FleetState, p: int, now_s: float) -> Pool:
    """All that the rule sees of a pool."""
    low, high = places_of(data, p)
    pool, block, token_s = state.pool[p], data.cluster.limit[p, BLOCK_TOKENS], data.cluster.token_s[p, 0]
    up, loading, draining, waiting, running, sent, free, output = 0, 0, 0, 0, 0, 0, 0, 0
    queue_us, longest_us, next_s, steps, decode_s = 0, 0, np.inf, 0.0, 0.0
    for i in range(low, high):
        told, server = state.cluster.report[i], state.cluster.engine.server[i]
        if server.status == LOADING:
            loading += 1
            next_s = min(next_s, server.ready_s)
        draining += 1 if server.status == DRAINING else 0
        if server.status == UP:
            up += 1
            waiting += told.waiting
            running += told.decoding + told.prefilling
            sent += told.sent
            free += told.free
            output += told.output_left
            queue_us += told.queue_us
            longest_us = max(longest_us, told.queue_us)
            decode_s += told.decode_step_s
            steps += (told.free - 1e-6 * told.queue_us / token_s) / block / max(requests_of(state, i), 1)
    short_s, long_s = min(data.control_s[SHORT], now_s), min(data.control_s[LONG], now_s)
    until_s = next_s - now_s if loading > 0 else 0.0
    return Pool(
        number=float(p),
        least=float(data.least[p]),
        most=float(high - low),
        wanted=float(pool.wanted),
        up=float(up),
        loading=float(loading),
        draining=float(draining),
        next_up=until_s,
        load_time=data.load_s[p],
        price=data.price[p],
        since_start=min(now_s - pool.started_s, NEVER_S),
        since_stop=min(now_s - pool.stopped_s, NEVER_S),
        waiting=float(waiting),
        running=float(running),
        sent=float(sent),
        free=float(free),
        capacity=float(data.cluster.limit[p, BLOCKS] * block),
        remaining_steps=steps / max(up, 1),
        output_left=float(output),
        queue_time=1e-6 * queue_us,
        longest_queue=1e-6 * longest_us,
        decode_step=decode_s / max(up, 1),
        token_time=token_s,
        request_time=1e-6 * pool.work_long / max(pool.sent_long, 1),
        offered_short=1e-6 * pool.work_short / short_s,
        offered_long=1e-6 * pool.work_long / long_s,
    )


@inlined
def _ask(data: Elastic, state: FleetState, p: int, fleet: Fleet, scale: Scale, theta: np.ndarray) -> int:
    """Instances that the rule wants in pool p, within what is possible."""
    pool = describe_pool(data, state, p, fleet.now)
    answer = scale(pool, fleet, theta)
    if not math.isfinite(answer):
        raise NonFiniteScore("scale returned NaN or an infinity")
    return math.floor(min(max(answer, pool.least), pool.most) + 0.5)


@inlined
def _to_stop(state: FleetState, low: int, high: int) -> int:
    """Whom to stop: the last to load, else the one with the fewest requests; ties to the last place."""
    chosen, latest, fewest = -1, -1.0, 2**62
    for i in range(low, high):
        server = state.cluster.engine.server[i]
        if server.status == LOADING and server.ready_s >= latest:
            chosen, latest = i, server.ready_s
    if chosen >= 0:
        return chosen
    for i in range(low, high):
        if state.cluster.engine.server[i].status == UP and requests_of(state, i) <= fewest:
            chosen, fewest = i, requests_of(state, i)
    return chosen


@inlined
def _stop(data: Elastic, state: FleetState, i: int, now_s: float) -> None:
    """Instance i takes nothing new, and is gone when it has nothing left."""
    server = state.cluster.engine.server[i]
    if server.status == LOADING or requests_of(state, i) == 0:
        shut(data, state, i, now_s)
    else:
        server.status = DRAINING
        state.place[i].stopped_s = now_s


@inlined
def _start(data: Elastic, state: FleetState, p: int, i: int, now_s: float) -> None:
    """An instance begins to load at place i."""
    server = state.cluster.engine.server[i]
    server.status = LOADING
    server.ready_s = now_s + data.load_s[p]
    server.now_s = server.ready_s
    state.place[i].begun_s = now_s


@kernel
def resize(data: Elastic, state: FleetState, record: Record, p: int, wanted: int, now_s: float) -> None:
    """Start or stop instances of pool p until as many are up or loading, if there is place."""
    low, high = places_of(data, p)
    pool, desk, at_ms, live = state.pool[p], state.desk[0], round(1e3 * now_s), 0
    for i in range(low, high):
        status = state.cluster.engine.server[i].status
        live += 1 if status in (UP, LOADING) else 0
    while live > wanted:
        i = _to_stop(state, low, high)
        _stop(data, state, i, now_s)
        record.moves[desk.moves] = move(STOP, i, at_ms)
        desk.moves += 1
        live -= 1
        pool.stopped_s = now_s
    for i in range(low, high):
        if live < wanted and state.cluster.engine.server[i].status == DOWN:
            _start(data, state, p, i, now_s)
            record.moves[desk.moves] = move(START, i, at_ms)
            desk.moves += 1
            live += 1
            pool.started_s = now_s
    pool.wanted = wanted


@inlined
def decide(data: Elastic, state: FleetState, record: Record, now_s: float, scale: Scale, theta: np.ndarray) -> None:
    """Ask the rule about each pool, and do what it says."""
    fleet = describe_fleet(data, state, record, now_s)
    for p in range(len(data.least)):
        resize(data, state, record, p, _ask(data, state, p, fleet, scale, theta), now_s)
