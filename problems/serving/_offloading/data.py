"""Instances of KV offloading: prompts and a GPU's cache as in serving/prefix_eviction, and tiers of memory below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems._hardware import models
from problems._hardware.step_cost import kv_bytes_per_rank, step_cost
from problems._hardware.transfers import NIC_LATENCY_S, SEGMENT_S, link
from problems._jit import inlined
from problems.serving._eviction.data import BLOCKS, Caching, Prompts
from problems.serving._eviction.data import make_instance as make_caching

LINKS = 2  # to the GPU, from each tier below it
LEVELS = 1 + LINKS  # tiers: GPU (0), host (1), remote pool (2)
POOL_BYTES_PER_S = 3.125e9  # 25 Gbit/s Ethernet of a whole server, assumed

# Columns of Offloading.link_s: seconds per
BLOCK = 0
GROUP = 1  # of blocks that are copied together
TRANSFER = 2

# Entries of Offloading.limit
GROUP_BLOCKS = 0
PIECE_BLOCKS = 1


class Offloading(NamedTuple):
    """A server with tiers of KV cache; blocks come up from a lower tier over a link of its own."""

    caching: Caching  # prompts, and the GPU's cache
    below: np.ndarray  # (LINKS,) int64 blocks of the host and of the remote pool; 0: there is no such tier
    link_s: np.ndarray  # (LINKS, 3) float64, duration of a transfer per block, group and transfer
    limit: np.ndarray  # (2,) int64, GROUP_BLOCKS and PIECE_BLOCKS, the most that are fetched ahead at a time


class Tier(NamedTuple):
    """A cache below the GPU's, and its link."""

    blocks: int  # 0: none
    block_s: float = 0.0
    group_s: float = 0.0
    transfer_s: float = 0.0


class Memory(NamedTuple):
    """Sizes of the caches of a server in blocks, and how its links differ from the usual."""

    gpu: int
    host: int = 0
    remote: int = 0
    slowdown: float = 1.0  # of both links
    pool_bytes_per_s: float = POOL_BYTES_PER_S


def make_instance(
    caching: Caching, tiers: Sequence[Tier], *, group_blocks: int = 1, piece_blocks: int = 8
) -> Offloading:
    """Check and freeze an instance with these tiers below the GPU's cache: host, then remote pool.

    Raises
    ------
    ValueError
        Naming the field, the rule, the value and the tier.
    """
    if len(tiers) != LINKS:
        raise ValueError(f"there must be {LINKS} tiers, host and remote pool (of 0 blocks: none), got {len(tiers)}")
    for name, value in (("group_blocks", group_blocks), ("piece_blocks", piece_blocks)):
        if not 0 < value < 2**30:
            raise ValueError(f"{name} must be between 1 and {2**30 - 1}, got {value}")
    for name, tier in zip(("host", "remote"), tiers, strict=True):
        if not 0 <= tier.blocks < 2**30:
            raise ValueError(f"blocks must be between 0 and {2**30 - 1}, got {tier.blocks} in tier {name}")
        for part in ("block_s", "group_s", "transfer_s"):
            if not 0.0 <= (seconds := getattr(tier, part)) < math.inf:
                raise ValueError(f"{part} must be finite and not negative, got {seconds} in tier {name}")
    if (entries := len(caching.path)) >= 2**28:
        raise ValueError(f"paths must have fewer than {2**28} entries in all, got {entries}")
    data = Offloading(
        caching,
        below=np.array([tier.blocks for tier in tiers], dtype=np.int64),
        link_s=np.array([tier[1:] for tier in tiers], dtype=np.float64),
        limit=np.array([group_blocks, piece_blocks], dtype=np.int64),
    )
    for array in data[1:]:
        array.setflags(write=False)
    return data


def on_host(prompts: Prompts, host: tuple[str, str, int], memory: Memory, *, block_tokens: int) -> Offloading:
    """An instance on a known device and model, spread over so many GPUs.

    Each rank loads its own part of a block from host memory over its own PCIe; what comes from the pool
    passes one network adapter of the server, all parts one after another. Copies are two per layer and block.
    """
    device, model, tp = host
    of, pcie = models.model(model), link("pcie", device)
    copies_s = (1 if of.latent_dim else 2) * of.layers * SEGMENT_S
    part_bytes = kv_bytes_per_rank(of, tp) * block_tokens
    tiers = (
        Tier(memory.host, memory.slowdown * part_bytes / pcie.bytes_per_s, copies_s, pcie.latency_s),
        Tier(memory.remote, memory.slowdown * tp * part_bytes / memory.pool_bytes_per_s, copies_s, NIC_LATENCY_S),
    )
    return make_instance(
        make_caching(prompts, step_cost(device, model, tp), block_tokens=block_tokens, blocks=memory.gpu), tiers
    )


@inlined
def transfer_seconds(data: Offloading, i: int, blocks: int) -> float:
    """Duration of bringing so many blocks from tier i to the GPU, > 0 of them."""
    groups = (blocks + data.limit[GROUP_BLOCKS] - 1) // data.limit[GROUP_BLOCKS]
    seconds = data.link_s[i - 1]
    return seconds[TRANSFER] + groups * seconds[GROUP] + blocks * seconds[BLOCK]


@inlined
def capacities(data: Offloading) -> np.ndarray:
    """(LEVELS,) int64 blocks of each tier."""
    sizes = np.empty(LEVELS, np.int64)
    sizes[0] = data.caching.limit[BLOCKS]
    sizes[1:] = data.below
    return sizes
