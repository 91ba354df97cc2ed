"""A cluster as data: servers of one kind or several, a router in front of them, and the requests that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import StepCost, step_cost
from problems._jit import inlined
from problems.serving._cluster.paths import block_paths
from problems.serving._server.machine import (
    BLOCK_TOKENS,
    MAX_RUNNING,
    SWAP_BLOCK,
    TIMES,
    Host,
    Limits,
    Serving,
    blocks_on,
    make_instance,
)
from problems.serving._server.requests import Requests

# What a server does.
MIXED, PREFILL, DECODE = 0, 1, 2
# Whether it does it.
UP, LOADING, DOWN = 0, 1, 2

# Entries of Cluster.router_s
PERIOD = 0  # servers report their load at its multiples
DELAY = 1  # from a report to the router
DECIDING = 2  # one decision of the router, which takes them one by one
ROUTER_TIMES = 3

MOST_SERVERS = 256  # entries of a log pack the server into 8 bits
NEVER_PATIENT = 2**31  # first come, first served: only a change lets anybody in


class Cluster(NamedTuple):
    """One instance of a problem with several servers."""

    requests: Requests
    layers_s: np.ndarray  # (kinds, grid) float64, rows as in Serving
    head_s: np.ndarray  # (kinds, grid) float64
    cost: np.ndarray  # (kinds, 7) float64
    token_s: np.ndarray  # (kinds, 1) float64
    limit: np.ndarray  # (kinds, LIMITS) int64
    time_s: np.ndarray  # (TIMES,) float64
    router_s: np.ndarray  # (ROUTER_TIMES,) float64
    kind: np.ndarray  # (servers,) int64, row of the tables
    role: np.ndarray  # (servers,) int64, MIXED, PREFILL or DECODE
    cache_tokens: np.ndarray  # (1,) int64, tokens of a block of the prefix caches; 0: there are none
    path_start: np.ndarray  # (n + 1,) int64, as block_paths
    path: np.ndarray  # int64, as block_paths


class Router(NamedTuple):
    """How old a router's knowledge is, and what its decisions cost, in seconds."""

    period_s: float = 0.05
    delay_s: float = 0.005
    deciding_s: float = 50e-6


ROUTER = Router()


class Group(NamedTuple):
    """Equal servers of a cluster."""

    cost: StepCost
    limits: Limits
    servers: int
    role: int = MIXED


def make_cluster(
    requests: Requests, groups: Sequence[Group], router: Router = ROUTER, *, cache_tokens: int = 0
) -> Cluster:
    """Check and freeze an instance.

    Parameters
    ----------
    requests, groups, router
        What comes, to whom, and who decides where it goes.
    cache_tokens : int
        Tokens of a block of the prefix caches; 0: servers share nothing among requests.

    Raises
    ------
    ValueError
        As make_instance for each group; if there is no server or there are too many; if groups differ in what
        they must have in common; if a time of the router or the size of cache blocks is impossible.
    """
    _check_groups(groups)
    _check_router(router)
    kinds = [make_instance(requests, group.cost, group.limits) for group in groups]
    for name, place in (("block_tokens", BLOCK_TOKENS), ("max_running", MAX_RUNNING)):
        if len(values := {int(kind.limit[place]) for kind in kinds}) > 1:
            raise ValueError(f"{name} must be the same on all servers, got {sorted(values)}")
    for place in range(TIMES):
        if len(times := {float(kind.time_s[place]) for kind in kinds}) > 1:
            raise ValueError(f"horizon and decision times must be the same on all servers, got {sorted(times)}")
    if kinds[0].time_s[SWAP_BLOCK] >= 0:
        raise ValueError("servers of a cluster recompute what they preempt: swap_block_s must be negative")
    block_tokens = int(kinds[0].limit[BLOCK_TOKENS])
    if cache_tokens < 0 or cache_tokens % block_tokens:
        raise ValueError(f"cache_tokens must be 0 or a multiple of block_tokens = {block_tokens}, got {cache_tokens}")
    path_start, path = block_paths(requests, cache_tokens)
    counts = [group.servers for group in groups]
    data = Cluster(
        requests=requests,
        layers_s=np.stack([kind.layers_s for kind in kinds]),
        head_s=np.stack([kind.head_s for kind in kinds]),
        cost=np.stack([kind.cost for kind in kinds]),
        token_s=np.stack([kind.token_s for kind in kinds]),
        limit=np.stack([kind.limit for kind in kinds]),
        time_s=np.array(kinds[0].time_s),
        router_s=np.array(router, dtype=np.float64),
        kind=np.repeat(np.arange(len(groups)), counts),
        role=np.repeat(np.array([group.role for group in groups]), counts),
        cache_tokens=np.array([cache_tokens]),
        path_start=path_start,
        path=path,
    )
    for array in data[1:]:
        array.setflags(write=False)
    return data


def with_requests(data: Cluster, requests: Requests) -> Cluster:
    """The same cluster with other requests."""
    path_start, path = block_paths(requests, int(data.cache_tokens[0]))
    for array in (path_start, path):
        array.setflags(write=False)
    return data._replace(requests=requests, path_start=path_start, path=path)


def _check_groups(groups: Sequence[Group]) -> None:
    for k, group in enumerate(groups):
        if group.servers < 1:
            raise ValueError(f"servers must be positive, got {group.servers} in group {k}")
        if group.role not in (MIXED, PREFILL, DECODE):
            raise ValueError(f"role must be {MIXED}, {PREFILL} or {DECODE}, got {group.role} in group {k}")
    total = sum(group.servers for group in groups)
    if not 1 <= total <= MOST_SERVERS:
        raise ValueError(f"a cluster must have 1 to {MOST_SERVERS} servers, got {total}")
    if all(group.role == DECODE for group in groups):
        raise ValueError("some server must take new requests, got only servers that decode")


def _check_router(router: Router) -> None:
    if not 0 < router.period_s < np.inf:
        raise ValueError(f"period_s of load reports must be positive, got {router.period_s}")
    for name in ("delay_s", "deciding_s"):
        if not 0 <= (value := getattr(router, name)) < np.inf:
            raise ValueError(f"{name} of the router must be finite and not negative, got {value}")


def group_on(host: Host, servers: int, horizon_s: float, token_budget: int, role: int = MIXED) -> Group:
    """So many servers on a known device and model, each step of which computes up to a budget.

    Raises
    ------
    ValueError
        If the model does not fit the device.
    """
    limits = Limits(
        blocks=blocks_on(host),
        horizon_s=horizon_s,
        max_output=host.max_output,
        max_prefill=token_budget,
        patience=NEVER_PATIENT,
    )
    return Group(step_cost(host.device, host.model, host.tp, engine=host.engine), limits, servers, role)


def on_hosts(
    requests: Requests,
    hosts: Sequence[tuple[Host, int]],
    horizon_s: float,
    *,
    token_budget: int = 2048,
    cache_tokens: int = 0,
    router: Router = ROUTER,
) -> Cluster:
    """A cluster of so many servers on each of some known devices and models; a step computes up to a budget.

    Raises
    ------
    ValueError
        As make_cluster, and if a model does not fit its device.
    """
    groups = [group_on(host, count, horizon_s, token_budget) for host, count in hosts]
    return make_cluster(requests, groups, router, cache_tokens=cache_tokens)


@inlined
def at_server(data: Cluster, i: int) -> Serving:
    """Server i as the engine of one server sees its own."""
    k = data.kind[i]
    return Serving(
        data.requests, data.layers_s[k], data.head_s[k], data.cost[k], data.token_s[k], data.limit[k], data.time_s
    )
