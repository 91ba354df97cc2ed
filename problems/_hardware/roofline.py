"""Times of the kernels of one transformer step on one GPU, in plain numpy.

A matrix product takes t0 + ((bytes / (eB BW))^q + (flops / (eF P))^q)^(1/q): a roofline with a smooth
knee, whose four constants are fitted per GPU. Everything is elementwise in the number of tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.devices import Device
from problems._hardware.formats import weight_format
from problems._hardware.models import BYTES, Model
from problems.problem import BadInstance

Seconds = np.ndarray  # (n,) float64, one per number of tokens
NODE_GPUS = 8


def smooth_roofline(device: Device, data_bytes: np.ndarray, flops: np.ndarray) -> Seconds:
    """Time of a kernel that moves data_bytes and computes flops, with the device's fitted knee."""
    q = device.gemm_sharpness
    memory = data_bytes / (device.bandwidth_bytes_per_s * device.gemm_bandwidth_efficiency)
    compute = flops / (device.peak_flops * device.gemm_flops_efficiency)
    slower, faster = np.maximum(memory, compute), np.minimum(memory, compute)
    ratio = np.divide(faster, slower, out=np.zeros_like(slower), where=slower > 0)
    return device.gemm_floor_s + slower * (1 + ratio**q) ** (1 / q)


def gemm_seconds(device: Device, tokens: np.ndarray, k: float, n: float, weight_bytes: float = BYTES) -> Seconds:
    """(tokens, k) times a (k, n) weight, bf16 but for weights that take otherwise long to read."""
    moved = weight_bytes * k * n + BYTES * tokens * (k + n)
    return np.where(tokens > 0, smooth_roofline(device, moved, 2.0 * tokens * k * n), 0.0)


def small_ops_seconds(device: Device, tokens: np.ndarray, model: Model, tp: int, width: float) -> Seconds:
    """The layer's kernels that only touch activations: two norms with residual, rotary embedding, cache write, gate."""
    rotary = 2 * (model.heads + model.kv_heads) * model.head_dim / tp
    moved = BYTES * (2 * 4 * model.hidden + rotary + 3 * width)
    rate = device.bandwidth_bytes_per_s * device.small_op_bandwidth_efficiency
    return np.where(tokens > 0, 5 * device.small_op_floor_s + tokens * moved / rate, 0.0)


def attention_projection_seconds(device: Device, tokens: np.ndarray, model: Model, tp: int) -> Seconds:
    """Projections before and after the attention of one layer, on one of tp ranks."""
    h, d, read = model.hidden, model.head_dim, weight_format(model.weights).read_bytes
    if not model.latent_dim:
        kv = max(model.kv_heads / tp, 1.0)  # a head cannot be split: beyond that, ranks hold copies
        return gemm_seconds(device, tokens, h, (model.heads / tp + 2 * kv) * d, read) + gemm_seconds(
            device, tokens, model.heads * d / tp, h, read
        )
    heads = model.heads / tp
    shapes = (
        (h, model.latent_query_dim + model.latent_dim + model.latent_rope_dim),  # down-projections, on every rank
        (model.latent_query_dim, heads * (d + model.latent_rope_dim)),
        (heads * d, model.latent_dim),  # keys and values are absorbed into query and output
        (heads * d, model.latent_dim),
        (heads * d, h),
    )
    return np.sum([gemm_seconds(device, tokens, k, n, read) for k, n in shapes], axis=0)


def ffn_seconds(device: Device, tokens: np.ndarray, model: Model, width: float) -> Seconds:
    """A dense feed-forward block of the given inner width on one rank."""
    up, read = (2 if model.gated else 1) * width, weight_format(model.weights).read_bytes
    return gemm_seconds(device, tokens, model.hidden, up, read) + gemm_seconds(
        device, tokens, width, model.hidden, read
    )


def activated_experts(model: Model, tokens: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
    """Expected number of distinct experts that independent tokens reach.

    Parameters
    ----------
    tokens : (n,) array
    shares : (experts,) array or None
        Probability of each expert to be among a token's, summing to experts_per_token; None: all alike.
    """
    count = np.asarray(tokens, dtype=np.float64)
    if shares is None:
        return model.experts * (1 - (1 - model.experts_per_token / model.experts) ** count)
    # expert by expert: tokens x experts would be a large table
    reached = np.zeros_like(count)
    for share in shares:
        reached += 1 - (1 - float(share)) ** count
    return reached


class Experts(NamedTuple):
    """How experts are spread over GPUs, and how tokens are over experts."""

    ep: int = 1  # GPUs that hold whole experts; 1: each expert is split over the tensor-parallel ranks
    balance: float = 1.0  # mean over maximum load of these GPUs
    shares: np.ndarray | None = None  # as in activated_experts


def experts_seconds(device: Device, tokens: np.ndarray, model: Model, tp: int, spread: Experts) -> Seconds:
    """One layer's router, routed and shared experts on one rank.

    With expert parallelism, ``ep / tp`` groups of ranks bring ``tokens`` each and every rank holds
    ``experts / ep`` whole experts.
    """
    ep, balance = spread.ep, spread.balance
    groups, share = (ep // tp, ep) if ep > 1 else (1, tp)
    together = tokens * groups
    weights = activated_experts(model, together, spread.shares) * model.ffn_parameters(model.expert_ffn) / share
    routed = together * model.experts_per_token / share / balance
    activations = routed * (4 if model.gated else 2) * (model.hidden + model.expert_ffn)
    flops = 2 * routed * model.ffn_parameters(model.expert_ffn)
    # two grouped kernels; one roofline over both differs from their sum by the second floor
    moved = weight_format(model.weights).read_bytes * weights + BYTES * activations
    grouped = smooth_roofline(device, moved, flops) + device.gemm_floor_s
    total = np.where(tokens > 0, grouped, 0.0) + gemm_seconds(device, tokens, model.hidden, model.experts)
    if model.shared_experts:
        total = total + ffn_seconds(device, tokens, model, model.shared_experts * model.expert_ffn / tp)
    return total


def allreduce_seconds(device: Device, data_bytes: np.ndarray, ranks: int) -> Seconds:
    """Ring all-reduce of data_bytes over the GPUs of one node: floor + 2 (n - 1) / n bytes / bus rate."""
    if ranks == 1:
        return np.zeros_like(np.asarray(data_bytes, dtype=np.float64))
    if ranks > NODE_GPUS:
        raise BadInstance(f"an all-reduce spans one node of {NODE_GPUS} GPUs, got {ranks} (use pipeline parallelism)")
    at = np.log2(ranks)
    floor = np.interp(at, (1, 2, 3), device.allreduce_floor_s)
    rate = np.interp(at, (1, 2, 3), device.allreduce_bytes_per_s)
    return np.where(data_bytes > 0, floor + 2 * (ranks - 1) / ranks * data_bytes / rate, 0.0)


def all_to_all_seconds(device: Device, data_bytes: np.ndarray, ranks: int) -> Seconds:
    """Each rank sends data_bytes, an equal part to every rank, over its own link."""
    if ranks == 1:
        return np.zeros_like(np.asarray(data_bytes, dtype=np.float64))
    floor = device.allreduce_floor_s[0]
    return np.where(data_bytes > 0, floor + (ranks - 1) / ranks * data_bytes / device.send_bytes_per_s, 0.0)


def send_seconds(device: Device, data_bytes: np.ndarray) -> Seconds:
    """Point to point between two GPUs of a node."""
    return np.where(data_bytes > 0, device.allreduce_floor_s[0] + data_bytes / device.send_bytes_per_s, 0.0)
