"""A fleet as data: a cluster of places for instances, in pools, of which some are up; and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems._hardware.step_cost import step_cost
from problems._hardware.transfers import load_seconds
from problems._jit import inlined
from problems.serving._cluster.data import (
    DELAY,
    MIXED,
    NEVER_PATIENT,
    PERIOD,
    ROUTER,
    Cluster,
    Group,
    Router,
    make_cluster,
)
from problems.serving._cluster.data import with_requests as with_cluster_requests
from problems.serving._server.machine import HORIZON, Host, Limits, blocks_on
from problems.serving._server.requests import Requests

# Entries of Elastic.control_s
TICK = 0  # the fleet's size is decided at its multiples, from the first on
SHORT = 1  # windows over which rates are measured
LONG = 2
CONTROL_TIMES = 3

START_S = 10.0  # a process starts, graphs are captured: assumed, besides loading weights


class Elastic(NamedTuple):
    """One instance of a problem with a fleet that grows and shrinks."""

    cluster: Cluster  # all places for instances, by pool: a place's kind is its pool
    least: np.ndarray  # (pools,) int64, >= 1, instances that are always wanted
    first: np.ndarray  # (pools,) int64, least..places, instances that are up at time 0
    load_s: np.ndarray  # (pools,) float64, >= 0, from the decision until an instance is up
    price: np.ndarray  # (pools,) float64, > 0, dollars an hour for an instance
    control_s: np.ndarray  # (CONTROL_TIMES,) float64
    penalty: np.ndarray  # (1,) float64, >= 0, dollars for a request whose promise is not kept
    fail_s: np.ndarray  # (failures,) float64, ascending: hidden from hooks
    fail_place: np.ndarray  # (failures,) int64, which place fails; nothing happens if none is there


class Instances(NamedTuple):
    """Instances of one kind."""

    group: Group  # its servers are the places
    price: float
    load_s: float
    least: int = 1
    first: int = 1


class Control(NamedTuple):
    """When the size of the fleet is decided, and over which times rates are measured, in seconds."""

    tick_s: float = 5.0
    short_s: float = 15.0
    long_s: float = 90.0


CONTROL = Control()


def make_elastic(
    requests: Requests,
    pools: Sequence[Instances],
    penalty: float,
    *,
    router: Router = ROUTER,
    control: Control = CONTROL,
    cache_tokens: int = 0,
    failures: Sequence[tuple[float, int]] = (),
) -> Elastic:
    """Check and freeze an instance.

    Parameters
    ----------
    requests, pools, penalty
        What comes, to whom, and what it costs in dollars to break a promise.
    router, cache_tokens
        As in make_cluster.
    control : Control
        The times at which the fleet's size is decided.
    failures : sequence of (float, int)
        Times in seconds and places that fail then, ascending.

    Raises
    ------
    ValueError
        As make_cluster; if a pool's numbers, the penalty, a control time or a failure is impossible.
    """
    _check_pools(pools)
    cluster = make_cluster(requests, [pool.group for pool in pools], router, cache_tokens=cache_tokens)
    _check_control(control, cluster)
    if not 0 <= penalty < np.inf:
        raise ValueError(f"penalty must be finite and not negative, got {penalty}")
    data = Elastic(
        cluster=cluster,
        least=np.array([pool.least for pool in pools], dtype=np.int64),
        first=np.array([pool.first for pool in pools], dtype=np.int64),
        load_s=np.array([pool.load_s for pool in pools], dtype=np.float64),
        price=np.array([pool.price for pool in pools], dtype=np.float64),
        control_s=np.array(control, dtype=np.float64),
        penalty=np.array([penalty], dtype=np.float64),
        fail_s=np.array([at_s for at_s, _ in failures], dtype=np.float64),
        fail_place=np.array([place for _, place in failures], dtype=np.int64),
    )
    _check_failures(data)
    for array in data[1:]:
        array.setflags(write=False)
    return data


def with_requests(data: Elastic, requests: Requests) -> Elastic:
    """The same fleet with other requests."""
    return data._replace(cluster=with_cluster_requests(data.cluster, requests))


def with_failures(data: Elastic, fail_s: np.ndarray, fail_place: np.ndarray) -> Elastic:
    """The same fleet with other failures.

    Raises
    ------
    ValueError
        If a failure is impossible.
    """
    changed = data._replace(fail_s=np.array(fail_s, np.float64), fail_place=np.array(fail_place, np.int64))
    _check_failures(changed)
    for array in (changed.fail_s, changed.fail_place):
        array.setflags(write=False)
    return changed


def _check_pools(pools: Sequence[Instances]) -> None:
    if not pools:
        raise ValueError("a fleet must have at least one pool")
    for k, pool in enumerate(pools):
        if pool.group.role != MIXED:
            raise ValueError(f"instances of a fleet take and finish requests: role must be {MIXED} in pool {k}")
        if not 1 <= pool.least <= pool.first <= pool.group.servers:
            raise ValueError(
                f"1 <= least <= first <= servers must hold, got {pool.least}, {pool.first} and {pool.group.servers} "
                f"in pool {k}"
            )
        if not 0 < pool.price < np.inf:
            raise ValueError(f"price must be positive and finite, got {pool.price} in pool {k}")
        if not 0 <= pool.load_s < np.inf:
            raise ValueError(f"load_s must be finite and not negative, got {pool.load_s} in pool {k}")


def _check_control(control: Control, cluster: Cluster) -> None:
    age_s = float(cluster.router_s[PERIOD] + cluster.router_s[DELAY])
    if not age_s <= control.tick_s < np.inf:
        raise ValueError(f"tick_s must be at least a report's age, {age_s} s, got {control.tick_s}")
    if control.tick_s * 1000 != round(control.tick_s * 1000):
        raise ValueError(f"tick_s must be whole milliseconds, got {control.tick_s}")
    if not 0 < control.short_s <= control.long_s < np.inf:
        raise ValueError(f"0 < short_s <= long_s must hold, got {control.short_s} and {control.long_s}")


def _check_failures(data: Elastic) -> None:
    horizon_s, places = data.cluster.time_s[HORIZON], len(data.cluster.kind)
    for k in np.flatnonzero(~((data.fail_s >= 0) & (data.fail_s < horizon_s)))[:1]:
        raise ValueError(f"failures must be between 0 and the horizon {horizon_s}, got {data.fail_s[k]} at failure {k}")
    for k in np.flatnonzero(np.diff(data.fail_s) < 0)[:1]:
        raise ValueError(f"failures must be in order of time, got {data.fail_s[k + 1]} after {data.fail_s[k]}")
    for k in np.flatnonzero((data.fail_place < 0) | (data.fail_place >= places))[:1]:
        raise ValueError(f"failures must be at places 0 to {places - 1}, got {data.fail_place[k]} at failure {k}")


class Offer(NamedTuple):
    """A pool on known hardware: its host, how many places, what one costs an hour, how many are up."""

    host: Host
    places: int
    price: float
    least: int = 1
    first: int = 1


def pool_on(offer: Offer, horizon_s: float, *, token_budget: int = 2048, start_s: float = START_S) -> Instances:
    """A pool of instances on a known device and model, whose weights are loaded from local storage.

    Raises
    ------
    ValueError
        If the model does not fit the device.
    """
    host = offer.host
    limits = Limits(
        blocks=blocks_on(host),
        horizon_s=horizon_s,
        max_output=host.max_output,
        max_prefill=token_budget,
        patience=NEVER_PATIENT,
    )
    group = Group(step_cost(host.device, host.model, host.tp, engine=host.engine), limits, offer.places)
    load_s = start_s + load_seconds(host.device, host.model, host.tp)
    return Instances(group, offer.price, load_s, offer.least, offer.first)


@inlined
def places_of(data: Elastic, pool: int) -> tuple[int, int]:
    """First place of a pool, and the one after its last."""
    kind, low = data.cluster.kind, 0
    while kind[low] != pool:
        low += 1
    high = low
    while high < len(kind) and kind[high] == pool:
        high += 1
    return low, high
