"""Moving KV cache and weights: so many copies, each with a cost of its own, then bytes over the link.

Copying block by block issues two copies (keys, values) per layer and block; at 5-10 us each they, not
the bytes, take the time. Groups of contiguous blocks divide their number by the length of the group.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from problems._hardware import devices, models
from problems._hardware.devices import Device
from problems._hardware.models import Model
from problems._hardware.step_cost import weight_bytes_per_rank
from problems._jit import inlined
from problems.problem import BadInstance

SEGMENT_S = 7e-6  # one copy call: 5-10 us, the FastSwitch study (2024)
NIC_BYTES_PER_S = 25e9  # one 200 Gbit/s adapter
NIC_LATENCY_S = 10e-6  # one message of an RDMA network, assumed
STORAGE_BYTES_PER_S = 5e9  # a local NVMe disk, assumed: loading weights


class Link(NamedTuple):
    """A way from one memory to another."""

    bytes_per_s: float  # > 0, one direction
    segment_s: float  # per copy issued
    latency_s: float  # per transfer


def link(kind: str, device: str | Device) -> Link:
    """``pcie`` (host memory), ``nvlink`` (a GPU of the same node) or ``nic`` (another node) of a device.

    Raises
    ------
    BadInstance
        If there is no such link on this device.
    """
    on = devices.device(device)
    if kind == "pcie":
        return Link(on.pcie_bytes_per_s, SEGMENT_S, 0.0)
    if kind == "nic":
        return Link(min(NIC_BYTES_PER_S, on.pcie_bytes_per_s), SEGMENT_S, NIC_LATENCY_S)
    if kind == "nvlink" and on.nvlink_bytes_per_s > 0:
        return Link(on.nvlink_bytes_per_s / 2, SEGMENT_S, 0.0)
    raise BadInstance(f"{on.name} has no link {kind!r}; links: pcie, nic" + ", nvlink" * (on.nvlink_bytes_per_s > 0))


@inlined
def transfer_seconds(over: Link, segments: float, data_bytes: float) -> float:
    """Duration of a transfer of data_bytes in so many copies; 0 for no bytes."""
    if data_bytes <= 0.0:
        return 0.0
    return over.latency_s + segments * over.segment_s + data_bytes / over.bytes_per_s


def kv_segments(model: str | Model, tokens: int, block_tokens: int = 16, group_blocks: int = 1) -> int:
    """Copies that moving the cache of so many tokens takes: two per layer and group of contiguous blocks."""
    of = models.model(model)
    groups = math.ceil(math.ceil(tokens / block_tokens) / group_blocks)
    return (1 if of.latent_dim else 2) * of.layers * groups


def migration_seconds(
    over: Link,
    bytes_per_token: float,
    tokens: float,
    tokens_per_s: float,
    *,
    stages: int = 3,
    last_tokens: float = 256.0,
) -> tuple[float, float]:
    """Live migration of a decoding request: (whole duration, pause of the request), seconds.

    Copies while decoding goes on, each stage what was written during the one before; the request
    pauses for the last one. Stops staging at ``last_tokens`` or after ``stages``, as Llumnix does
    (3 stages, 16 blocks of 16 tokens).
    """
    left, whole = float(tokens), 0.0
    for _ in range(stages - 1):
        if left <= last_tokens:
            break
        duration = left * bytes_per_token / over.bytes_per_s
        whole += duration
        left = duration * tokens_per_s
    pause = left * bytes_per_token / over.bytes_per_s
    return whole + pause, pause


def load_seconds(device: str | Device, model: str | Model, tp: int = 1, *, from_host: bool = False) -> float:
    """Time until an instance's weights are on its GPUs: over PCIe from host memory, or from local storage."""
    on, of = devices.device(device), models.model(model)
    per_rank = weight_bytes_per_rank(of, tp)
    if from_host:
        return per_rank / on.pcie_bytes_per_s
    return max(per_rank / on.pcie_bytes_per_s, per_rank * tp / STORAGE_BYTES_PER_S)
