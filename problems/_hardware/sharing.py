"""One GPU, or a GPU and its host, doing two things at once.

Rooflines of resources, not of kernels: what a resource is busy with adds up, and what runs on
different resources overlaps.
"""

from __future__ import annotations

from typing import NamedTuple

from problems._jit import inlined

HOST_BYTES_PER_S = 150e9  # memory of one server socket: 60-200 GB/s
PREFILL_SATURATION = 0.9  # share of SMs at which prefill is as fast as on all of them, assumed
DECODE_SATURATION = 0.4  # the same for decode: memory bandwidth needs few SMs (0.3-0.5)


class Split(NamedTuple):
    """Two steps that run side by side on shares of one GPU's SMs."""

    prefill_s: float
    decode_s: float


@inlined
def split_seconds(
    prefill_s: float,
    decode_s: float,
    decode_share: float,
    prefill_memory: float,
    prefill_saturation: float,
    decode_saturation: float,
) -> Split:
    """Durations of a prefill and a decode step that share the SMs.

    Parameters
    ----------
    prefill_s, decode_s : float
        Their durations alone on the whole GPU.
    decode_share : float
        Share of the SMs for decode, in (0, 1); prefill has the rest.
    prefill_memory : float
        Part of the memory bandwidth that prefill alone on the whole GPU uses, in [0, 1].
    prefill_saturation, decode_saturation : float
        Share of SMs beyond which each is no faster.

    Notes
    -----
    Decode is bound by memory: at full speed it takes all of the bandwidth. Where both together ask
    for more than there is, both slow down in proportion.
    """
    prefill_rate = min(1.0, (1.0 - decode_share) / prefill_saturation)
    decode_rate = min(1.0, decode_share / decode_saturation)
    demand = prefill_rate * prefill_memory + decode_rate
    scale = 1.0 / demand if demand > 1.0 and prefill_s > 0.0 and decode_s > 0.0 else 1.0
    # what computes alone is not slowed by a full memory bus: only its loads are
    prefill_slowed = prefill_rate * (1.0 - prefill_memory + prefill_memory * scale)
    return Split(prefill_s / prefill_slowed, decode_s / (decode_rate * scale))


@inlined
def overlapped_seconds(
    compute_s: float, memory_s: float, network_s: float, serial_s: float, efficiency: float
) -> float:
    """A step whose nano-batches overlap: the busiest resource over an efficiency, and what does not overlap.

    The ceiling of NanoFlow: with efficiency 1 and nothing serial, throughput is peak * eF / (2 * active
    parameters) tokens per second where compute is the busiest.
    """
    return max(compute_s, memory_s, network_s) / efficiency + serial_s


@inlined
def host_attention_seconds(
    kv_bytes: float, query_bytes: float, host_bytes_per_s: float, pcie_bytes_per_s: float
) -> float:
    """Decode attention on the CPU: the cache is read in host memory, queries and outputs cross PCIe."""
    return kv_bytes / host_bytes_per_s + query_bytes / pcie_bytes_per_s


@inlined
def hybrid_seconds(gpu_s: float, other_gpu_s: float, host_s: float) -> float:
    """Two sub-batches in turns: one's host attention hides behind the other's matrix products on the GPU.

    Parameters
    ----------
    gpu_s : float
        GPU time of the sub-batch whose attention runs on the host.
    other_gpu_s : float
        GPU time of the sub-batch that runs meanwhile.
    host_s : float
        Host attention.
    """
    return gpu_s + max(other_gpu_s, host_s)
