"""A fleet re-planned in hindsight: all arrivals and outputs are known, and plans are compared by simulation.

It begins with plans that follow the load that will be offered while an instance that is started now is young, at
several utilisations, and improves the best of them in stretches of time, one instance more or less. Not a bound:
its routing is that of the least predicted time to first token, and its search ends early.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from problems._jit import kernel
from problems.serving._cluster.data import at_server
from problems.serving._cluster.state import prefill_us
from problems.serving._cluster.views import Instance, Request
from problems.serving._fleet.data import TICK, Elastic
from problems.serving._fleet.engine import Scaling, fleet_scaling
from problems.serving._fleet.metrics import measure
from problems.serving._fleet.state import work_us
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._server.machine import HORIZON, Serving

UTILISATIONS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STRETCHES = (24, 12)  # ticks
_THETA = types.Array(types.float64, 1, "C", readonly=True)


def _planned(pool: Pool, fleet: Fleet, theta: np.ndarray) -> float:
    return float(theta[int(fleet.now / fleet.tick + 0.5) * int(fleet.pools) + int(pool.number)])


def _least_ttft(request: Request, instance: Instance, theta: np.ndarray) -> float:
    return instance.queue_time + instance.prefill_time + 0.5 * instance.decode_step


@cache
def _compiled(data_type: Any) -> tuple[Any, Any, Any]:
    """The engine as candidates use it, and the two hooks."""
    signatures = []
    for arguments in ((Pool, Fleet), (Request, Instance)):
        tuples = [types.NamedUniTuple(types.float64, len(vars(each)["_fields"]), each) for each in arguments]
        signatures.append(types.float64(*tuples, _THETA))
    signature = (data_type, *map(types.FunctionType, signatures), _THETA)
    fleet_scaling.compile(signature)
    compiled: Any = numba.njit
    hooks = [compiled(s)(hook) for s, hook in zip(signatures, (_planned, _least_ttft), strict=True)]
    return fleet_scaling.overloads[signature].entry_point, *hooks


def follow(data: Elastic, plan: np.ndarray) -> Scaling:
    """Simulate a plan: a (ticks, pools) array of instances wanted at each tick."""
    theta = np.ascontiguousarray(plan, dtype=np.float64).ravel()
    theta.setflags(write=False)
    engine, scale, route = _compiled(numba.typeof(data))
    found: Scaling = engine(data, scale, route, theta)
    return found


def ticks_of(data: Elastic) -> int:
    """Length of a plan: the ticks before the horizon, and one."""
    return int(data.cluster.time_s[HORIZON] / data.control_s[TICK]) + 2


@kernel
def _work_us(own: Serving) -> np.ndarray:
    """(n,) float64 microseconds of a full instance that each request takes, with the output that it will have."""
    requests = own.requests
    found = np.empty(len(requests.arrival_s))
    for r in range(len(found)):
        prompt, output = requests.prompt_tokens[r], float(requests.output_tokens[r])
        found[r] = work_us(own, prefill_us(own, prompt, 0), prompt, output)
    return found


def coming_load(data: Elastic) -> np.ndarray:
    """(ticks, pools) float64: full instances that arrivals ask for while an instance started at a tick is young.

    Each request is shared among pools in proportion to what their places could serve of it.
    """
    arrival_s, ticks, pools = data.cluster.requests.arrival_s, ticks_of(data), len(data.least)
    tick_s = float(data.control_s[TICK])
    places = [np.flatnonzero(data.cluster.kind == p) for p in range(pools)]
    work = np.array([_work_us(at_server(data.cluster, int(place[0]))) for place in places])
    speed = np.array([[len(place)] for place in places]) / work
    share = 1e-6 * work * speed / speed.sum(axis=0)
    load = np.zeros((ticks, pools))
    for p in range(pools):
        total = np.concatenate([[0.0], np.cumsum(share[p])])
        at_s = np.arange(ticks) * tick_s
        low, high = (np.searchsorted(arrival_s, x) for x in (at_s, at_s + data.load_s[p] + 2 * tick_s))
        load[:, p] = (total[high] - total[low]) / (data.load_s[p] + 2 * tick_s)
    return load


def clairvoyant(data: Elastic) -> Scaling:
    """The best of all plans that are tried, by the cost that they lead to."""
    load, best, lowest = coming_load(data), None, np.inf
    plan = load

    def cost_of(tried: np.ndarray) -> tuple[float, Scaling]:
        found = follow(data, tried)
        return measure(data, found)["cost"], found

    for utilisation in UTILISATIONS:
        tried = np.maximum(np.ceil(load / utilisation), data.least)
        cost, found = cost_of(tried)
        if cost < lowest:
            plan, best, lowest = tried, found, cost
    for stretch in STRETCHES:
        for start in range(0, len(plan), stretch):
            for p in range(plan.shape[1]):
                for more in (1.0, -1.0):
                    tried = plan.copy()
                    tried[start : start + stretch, p] = np.maximum(
                        tried[start : start + stretch, p] + more, data.least[p]
                    )
                    cost, found = cost_of(tried)
                    if cost < lowest:
                        plan, best, lowest = tried, found, cost
                        break
    assert best is not None
    return best
