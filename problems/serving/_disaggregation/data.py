"""A deployment as data: a cluster whose instances have roles, links between them, and who controls the roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems.serving._cluster.data import (
    PREFILL,
    ROUTER,
    Cluster,
    Group,
    Router,
    group_on,
    make_cluster,
    with_requests,
)
from problems.serving._cluster.links import Move, freeze_moves, moves_on
from problems.serving._server.machine import Host
from problems.serving._server.requests import Requests

# Roles of instances are those of a cluster: MIXED (both phases), PREFILL, DECODE.

# Entries of Deployment.control_s
TICK = 0  # roles are decided at its multiples
SWITCH = 1  # from the last thing an instance has to do in its old role to the new one
CONTROLS = 2

# Entries of Deployment.plan
RATE, PROMPT, OUTPUT = 0, 1, 2

_MOST_TURNS = 10**7  # the log has room for all of them
SMOOTHING = 0.25  # weight of the last tick in what the controller knows of the load


class Deployment(NamedTuple):
    """One instance of serving/prefill_decode."""

    cluster: Cluster  # without prefix caches; its roles are those at the start
    move_s: np.ndarray  # (kinds, MOVES) float64, seconds
    group_blocks: np.ndarray  # (1,) int64, contiguous blocks that one copy moves
    control_s: np.ndarray  # (CONTROLS,) float64
    plan: np.ndarray  # (3,) float64, requests/s, mean prompt and mean output in tokens, that it was planned for


class Control(NamedTuple):
    """How often roles are decided, and how long an instance without work takes to change its own, in seconds."""

    tick_s: float = 1.0
    switch_s: float = 0.5


class Plan(NamedTuple):
    """The load that a deployment is planned for."""

    rate_per_s: float
    prompt_tokens: float
    output_tokens: float


CONTROL = Control()


def make_deployment(
    requests: Requests,
    groups: Sequence[Group],
    moves: Sequence[Move],
    plan: Plan,
    *,
    router: Router = ROUTER,
    control: Control = CONTROL,
    group_blocks: int = 1,
) -> Deployment:
    """Check and freeze an instance.

    Parameters
    ----------
    requests, groups, router
        As make_cluster. Roles of the groups are those at the start.
    moves : sequence of Move
        One per group.
    plan, control
        The load that is expected, and how roles change.
    group_blocks : int
        Contiguous blocks that one copy moves; 1: each block by itself.

    Raises
    ------
    ValueError
        As make_cluster; if a time is impossible, or reports take longer to come than to become old.
    """
    cluster = make_cluster(requests, groups, router)
    if all(group.role == PREFILL for group in groups):
        raise ValueError("some instance must decode, got only instances that prefill")
    move_s = freeze_moves(moves, len(groups), group_blocks)
    if not all(0 <= value < np.inf for value in control):
        raise ValueError(f"seconds of control must be finite and not negative, got {tuple(control)}")
    if not control.tick_s > 0:
        raise ValueError(f"tick_s of control must be positive, got {control.tick_s}")
    if not router.delay_s < router.period_s:
        raise ValueError(f"delay_s of reports must be below period_s = {router.period_s}, got {router.delay_s}")
    if len(cluster.kind) * groups[0].limits.horizon_s / control.tick_s > _MOST_TURNS:
        raise ValueError(f"tick_s of control is too short for the horizon: there are more than {_MOST_TURNS} turns")
    if not all(0 < value < np.inf for value in plan):
        raise ValueError(f"the plan must be finite and positive, got {tuple(plan)}")
    data = Deployment(
        cluster=cluster,
        move_s=move_s,
        group_blocks=np.array([group_blocks]),
        control_s=np.array(control, dtype=np.float64),
        plan=np.array(plan, dtype=np.float64),
    )
    for array in data[1:]:
        array.setflags(write=False)
    return data


def with_other_requests(data: Deployment, requests: Requests) -> Deployment:
    """The same deployment with other requests."""
    return data._replace(cluster=with_requests(data.cluster, requests))


def on_hosts(
    requests: Requests,
    hosts: Sequence[tuple[Host, int, int]],
    horizon_s: float,
    plan: Plan,
    *,
    token_budget: int = 2048,
    router: Router = ROUTER,
    control: Control = CONTROL,
    group_blocks: int = 1,
) -> Deployment:
    """A deployment of so many instances in a role on each of some known devices, with one model on all.

    Raises
    ------
    ValueError
        As make_deployment, if models differ, and if one does not fit its device.
    """
    moves = moves_on([host for host, _, _ in hosts])
    groups = [group_on(host, count, horizon_s, token_budget, role) for host, count, role in hosts]
    return make_deployment(requests, groups, moves, plan, router=router, control=control, group_blocks=group_blocks)
