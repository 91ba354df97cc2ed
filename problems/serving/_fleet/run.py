"""Instances run, each by itself. Compiled once: all steps of an instance are inlined here."""

from __future__ import annotations

from problems._borrow import borrow
from problems._jit import kernel
from problems.serving._cluster.data import UP, Cluster
from problems.serving._cluster.state import ClusterState
from problems.serving._cluster.step import advance
from problems.serving._fleet.state import DRAINING

ALL = -1


@kernel
def run_to(cluster: Cluster, state: ClusterState, until_s: float, only: int) -> None:
    """Let all instances that are up or drain, or only one of them, run to a time."""
    cluster, state = borrow(cluster), borrow(state)
    for i in range(len(cluster.kind)):
        if only in (ALL, i) and state.engine.server[i].status in (UP, DRAINING):
            advance(cluster, state, i, until_s)
