"""A cluster whose servers hand requests on: as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems.serving._cluster.data import (
    MIXED,
    ROUTER,
    Cluster,
    Group,
    Router,
    group_on,
    make_cluster,
    with_requests,
)
from problems.serving._cluster.links import Move, freeze_moves, moves_on
from problems.serving._migration.log import MOST_REQUESTS, MOST_TICKS
from problems.serving._server.machine import HORIZON, Host
from problems.serving._server.requests import Requests

# Llumnix decides every 50 ms; a longer tick leaves longer leaps.
TICK_S = 0.25


class Migrating(NamedTuple):
    """One instance of serving/live_migration."""

    cluster: Cluster
    move_s: np.ndarray  # (kinds, MOVES) float64, seconds, see _cluster/links.py
    group_blocks: np.ndarray  # (1,) int64, contiguous blocks that one copy moves
    tick_s: np.ndarray  # (1,) float64, migrations are decided at its multiples


def make_migrating(
    requests: Requests,
    groups: Sequence[Group],
    moves: Sequence[Move],
    router: Router = ROUTER,
    *,
    cache_tokens: int = 0,
    group_blocks: int = 1,
    tick_s: float = TICK_S,
) -> Migrating:
    """Check and freeze an instance.

    Parameters
    ----------
    requests, groups, router, cache_tokens
        As make_cluster.
    moves : sequence of Move
        One per group.
    group_blocks : int
        Contiguous blocks that one copy moves; 1: each block by itself.
    tick_s : float
        Migrations are decided at its multiples.

    Raises
    ------
    ValueError
        As make_cluster; if a server has a role, a time is impossible, or there is more than the log can name.
    """
    cluster = make_cluster(requests, groups, router, cache_tokens=cache_tokens)
    for k, group in enumerate(groups):
        if group.role != MIXED:
            raise ValueError(f"servers that migrate requests do both phases, got role {group.role} in group {k}")
    if len(requests.arrival_s) > MOST_REQUESTS:
        raise ValueError(f"there may be at most {MOST_REQUESTS} requests, got {len(requests.arrival_s)}")
    if not 0 < tick_s < np.inf:
        raise ValueError(f"tick_s must be positive, got {tick_s}")
    if cluster.time_s[HORIZON] / tick_s >= MOST_TICKS:
        raise ValueError(f"tick_s is too short for the horizon: there are {MOST_TICKS} ticks or more")
    move_s = freeze_moves(moves, len(groups), group_blocks)
    data = Migrating(cluster, move_s, np.array([group_blocks]), np.array([float(tick_s)]))
    for array in data[1:]:
        array.setflags(write=False)
    return data


def with_other_requests(data: Migrating, requests: Requests) -> Migrating:
    """The same cluster with other requests."""
    return data._replace(cluster=with_requests(data.cluster, requests))


def on_hosts(
    requests: Requests,
    hosts: Sequence[tuple[Host, int]],
    horizon_s: float,
    *,
    token_budget: int = 2048,
    cache_tokens: int = 0,
    router: Router = ROUTER,
    group_blocks: int = 16,
) -> Migrating:
    """So many servers on each of some known devices, with one model on all; network adapters between them.

    Raises
    ------
    ValueError
        As make_migrating, if models differ, and if one does not fit its device.
    """
    moves = moves_on([host for host, _ in hosts])
    groups = [group_on(host, count, horizon_s, token_budget) for host, count in hosts]
    return make_migrating(requests, groups, moves, router, cache_tokens=cache_tokens, group_blocks=group_blocks)
