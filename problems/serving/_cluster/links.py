"""Moving KV cache between the servers of a cluster: what it costs, by kind of server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from problems._hardware import models
from problems._hardware.step_cost import kv_bytes_per_rank
from problems._hardware.transfers import link
from problems._jit import inlined
from problems.serving._cluster.data import Cluster
from problems.serving._server.machine import BLOCK_TOKENS, Host, blocks_for

# Entries of move_s, per kind of server
TOKEN = 0  # of KV cache, over the link
GROUP = 1  # copies of a group of contiguous blocks
MESSAGE = 2  # a transfer whatever its size
MOVES = 3


class Linked(Protocol):
    """A cluster whose servers have links."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def move_s(self) -> np.ndarray: ...  # (kinds, MOVES) float64, seconds
    @property
    def group_blocks(self) -> np.ndarray: ...  # (1,) int64, contiguous blocks that one copy moves


class Move(NamedTuple):
    """What moving KV cache from or to a kind of server costs, in seconds."""

    token_s: float
    group_s: float
    message_s: float = 0.0


def freeze_moves(moves: Sequence[Move], groups: int, group_blocks: int) -> np.ndarray:
    """(groups, MOVES) float64, one row per group of servers.

    Raises
    ------
    ValueError
        If there is not one per group, a time is impossible, or a copy moves no block.
    """
    if len(moves) != groups:
        raise ValueError(f"there must be one move per group, got {len(moves)} for {groups}")
    values = [x for move in moves for x in move]
    if not all(0 <= value < np.inf for value in values):
        raise ValueError(f"seconds of move must be finite and not negative, got {tuple(values)}")
    if group_blocks < 1:
        raise ValueError(f"group_blocks must be positive, got {group_blocks}")
    return np.array(moves, dtype=np.float64).reshape(-1, MOVES)


def move_of(host: Host) -> Move:
    """Moving the KV cache of a host over its network adapters, one per GPU: each rank moves its own part."""
    of, over = models.model(host.model), link("nic", host.device)
    copies = (1 if of.latent_dim else 2) * of.layers
    return Move(kv_bytes_per_rank(of, host.tp) / over.bytes_per_s, copies * over.segment_s, over.latency_s)


def moves_on(hosts: Sequence[Host]) -> list[Move]:
    """One move per host; all run one model.

    Raises
    ------
    ValueError
        If models differ.
    """
    if len(names := sorted({host.model for host in hosts})) > 1:
        raise ValueError(f"all servers must run one model, or they cannot share KV cache, got {names}")
    return [move_of(host) for host in hosts]


@inlined
def move_seconds(data: Linked, home: int, target: int, tokens: int) -> float:
    """Duration of moving the cache of so many tokens from one server to another; the slower link counts."""
    source, sink = data.move_s[data.cluster.kind[home]], data.move_s[data.cluster.kind[target]]
    blocks = blocks_for(tokens, data.cluster.limit[0, BLOCK_TOKENS])
    groups = blocks_for(blocks, data.group_blocks[0])
    whole = max(source[MESSAGE], sink[MESSAGE]) + max(source[GROUP], sink[GROUP]) * groups
    return float(whole + max(source[TOKEN], sink[TOKEN]) * tokens)
