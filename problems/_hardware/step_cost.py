"""Seconds of one inference step of a (device, model, parallelism): a table lookup and two products.

All that depends on the number of tokens alone (matrix products, small kernels, collectives) is tabulated
once, so a step costs about ten nanoseconds inside a simulator. Attention is linear in what it reads:
context tokens for decoding, (new token, attended token) pairs for prompts.

Model of a step: max(GPU time, launch time) + engine overhead; see docs/hardware.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from problems._hardware import devices, models, roofline
from problems._hardware.devices import DEFAULT_ENGINE, Device, Engine
from problems._hardware.models import BYTES, Model
from problems._hardware.roofline import Experts
from problems._jit import inlined
from problems.problem import BadInstance

FINE = 1024  # token counts below are tabulated one by one,
COARSE = 64  # above in strides of this many, with linear interpolation,
LARGEST = 65536  # and beyond this extrapolated
GRID = np.concatenate([np.arange(FINE), np.arange(FINE, LARGEST + 1, COARSE)]).astype(np.float64)
UTILISATION = 0.9  # of device memory that an engine takes
ACTIVATION_BYTES = 1.5e9  # kept free of weights and cache for activations and graphs


class StepCost(NamedTuple):
    """Coefficients of one instance: a device, a model, and how the model is spread."""

    layers_s: np.ndarray  # (len(GRID),) float64, all layers without attention, by tokens of the step
    head_s: np.ndarray  # (len(GRID),) float64, output projection and sampling, by emitting sequences
    prefill_pair_s: float  # attention per (new token, attended token) pair
    decode_context_s: float  # attention per context token of a decoding sequence
    attention_floor_s: float  # per step that computes anything
    launch_s: float  # CPU time to launch the kernels; a step is no faster
    step_s: float  # engine overhead per step
    sequence_s: float  # engine overhead per decoding sequence
    prefill_launch_s: float = 0.0  # launch time of steps that compute prompt tokens, where it is longer


@inlined
def tabulated(table: np.ndarray, count: int) -> float:
    """Value of a table over GRID at a whole number of tokens (>= 0)."""
    if count < FINE:
        return float(table[count])
    k = min(FINE + (count - FINE) // COARSE, table.size - 2)
    over = count - (FINE + (k - FINE) * COARSE)
    return float(table[k] + (table[k + 1] - table[k]) * over / COARSE)


@inlined
def step_seconds(
    cost: StepCost, prefill_tokens: int, prefill_context: float, decode_requests: int, decode_context: float
) -> float:
    """Duration of one step, seconds; 0 for an empty one.

    Parameters
    ----------
    cost : StepCost
    prefill_tokens : int
        Prompt tokens computed in this step, over all chunks.
    prefill_context : float
        (new token, attended token) pairs: the sum over chunks of ``c * (k + c / 2)`` for c new
        tokens after k that are in the cache.
    decode_requests : int
        Sequences that decode one token.
    decode_context : float
        Their context lengths, summed.
    """
    tokens = prefill_tokens + decode_requests
    if tokens == 0:
        return 0.0
    emitting = decode_requests + (1 if prefill_tokens > 0 else 0)
    gpu = tabulated(cost.layers_s, tokens) + tabulated(cost.head_s, emitting) + cost.attention_floor_s
    gpu += cost.prefill_pair_s * prefill_context + cost.decode_context_s * decode_context
    launch = max(cost.launch_s, cost.prefill_launch_s) if prefill_tokens > 0 else cost.launch_s
    return max(gpu, launch) + cost.step_s + cost.sequence_s * decode_requests


@inlined
def layered_step_seconds(
    cost: StepCost,
    groups: int,
    prefill_tokens: int,
    prefill_context: float,
    decode_requests: int,
    decode_context: float,
) -> float:
    """Duration of a step in which prompts pass one of so many equal groups of layers and decoding passes all.

    A prompt takes ``groups`` such steps whole, where chunks would pass all layers in as many steps: the
    weights that a group reads are read once per prompt, those of experts in chunks again and again.
    """
    if prefill_tokens + decode_requests == 0:
        return 0.0
    together = tabulated(cost.layers_s, prefill_tokens + decode_requests)
    alone = tabulated(cost.layers_s, decode_requests)
    # the prompt's token leaves the last group: one step in ``groups`` emits for it, charged in each
    emitting = decode_requests + (1 if prefill_tokens > 0 else 0)
    gpu = together / groups + alone * (1.0 - 1.0 / groups) + tabulated(cost.head_s, emitting)
    gpu += cost.attention_floor_s * (1.0 if decode_requests > 0 else 1.0 / groups)
    gpu += cost.prefill_pair_s * prefill_context / groups + cost.decode_context_s * decode_context
    launch = max(cost.launch_s, cost.prefill_launch_s) if prefill_tokens > 0 else cost.launch_s
    return max(gpu, launch) + cost.step_s + cost.sequence_s * decode_requests


def step_cost(
    device: str | Device,
    model: str | Model,
    tp: int = 1,
    *,
    pp: int = 1,
    ep: int = 1,
    balance: float = 1.0,
    expert_shares: Sequence[float] | None = None,
    engine: str | Engine = DEFAULT_ENGINE,
) -> StepCost:
    """Coefficients of one stage of an instance.

    Parameters
    ----------
    device, model : str or Device, str or Model
        By name, or as they are.
    tp, pp, ep : int
        Degrees of tensor, pipeline and expert parallelism. With pp > 1 the result is the cost of the
        slowest stage with its send: what a step takes in a full pipeline; a token passes pp of them.
        With ep > 1 (a multiple of tp) the experts lie on ep GPUs, fed by ep / tp equal instances.
    balance : float
        Mean over maximum load of the GPUs that hold experts, in (0, 1].
    expert_shares : sequence of float
        Probability of each expert to be among a token's; they sum to experts per token. Default: all alike.
    engine : str or Engine
        What the engine adds.

    Raises
    ------
    BadInstance
        If a name is unknown or the model cannot be spread like that.
    """
    on, of, extra = devices.device(device), models.model(model), devices.engine(engine)
    check_parallelism(of, tp, pp, ep, balance)
    spread = Experts(ep, balance, _checked_shares(of, expert_shares))
    share = -(-of.layers // pp) / of.layers  # the first stages are the longest
    layers = share * _layers_seconds(on, of, GRID, tp, spread)
    if pp > 1:
        layers = layers + roofline.send_seconds(on, GRID * of.hidden * BYTES / tp)
    head = roofline.gemm_seconds(on, GRID, of.hidden, of.vocabulary / tp) + np.where(GRID > 0, on.small_op_floor_s, 0)
    pair, decode = _attention_seconds(on, of, tp)
    return StepCost(
        layers_s=np.ascontiguousarray(layers),
        head_s=np.ascontiguousarray(head),
        prefill_pair_s=share * pair,
        decode_context_s=share * decode,
        attention_floor_s=share * of.layers * (on.attention_floor_s + extra.gap_per_layer_s),
        launch_s=share * of.layers * extra.launch_per_layer_s,
        prefill_launch_s=share * of.layers * extra.prefill_launch_per_layer_s,
        step_s=extra.step_s,
        sequence_s=extra.sequence_s,
    )


def _checked_shares(of: Model, shares: Sequence[float] | None) -> np.ndarray | None:
    if shares is None:
        return None
    found = np.asarray(shares, dtype=np.float64)
    if found.shape != (of.experts,) or not ((found >= 0) & (found <= 1)).all():
        raise BadInstance(f"{of.name}, expert_shares: must be {of.experts} numbers in [0, 1]")
    if abs(found.sum() - of.experts_per_token) > 1e-6 * of.experts_per_token:
        raise BadInstance(f"{of.name}, expert_shares: must sum to {of.experts_per_token}, got {found.sum():g}")
    return found


def _layers_seconds(on: Device, of: Model, tokens: np.ndarray, tp: int, spread: Experts) -> np.ndarray:
    """All layers without attention, by tokens."""
    reduced = roofline.allreduce_seconds(on, tokens * of.hidden * BYTES, tp)
    attention = roofline.attention_projection_seconds(on, tokens, of, tp) + reduced
    total = of.layers * attention
    dense = of.layers - of.expert_layers
    if dense:
        block = roofline.ffn_seconds(on, tokens, of, of.ffn / tp) + reduced
        total = total + dense * (block + roofline.small_ops_seconds(on, tokens, of, tp, of.ffn / tp))
    if of.expert_layers:
        width = of.expert_ffn * (of.experts_per_token + of.shared_experts) / max(tp, 1)
        block = roofline.experts_seconds(on, tokens, of, tp, spread)
        sent = tokens / tp * of.experts_per_token * of.hidden * BYTES
        exchange = 2 * roofline.all_to_all_seconds(on, sent, spread.ep) if spread.ep > 1 else reduced
        total = total + of.expert_layers * (block + exchange + roofline.small_ops_seconds(on, tokens, of, tp, width))
    return total


def _attention_seconds(on: Device, of: Model, tp: int) -> tuple[float, float]:
    """All layers, on one rank: per prefill pair, and per context token of a decoding sequence."""
    kv_read, decode_flops, pair_flops = attention_work(of, tp)
    decode = max(
        kv_read / (on.bandwidth_bytes_per_s * on.attention_bandwidth_efficiency),
        decode_flops / (on.peak_flops * on.gemm_flops_efficiency),
    )
    return pair_flops / (on.peak_flops * on.attention_flops_efficiency), decode


def attention_work(of: Model, tp: int) -> tuple[float, float, float]:
    """Per rank, all layers: cache bytes and FLOPs per decoded context token, FLOPs per prefill pair."""
    heads = of.heads / tp
    if of.latent_dim:  # every rank reads the whole latent cache; heads share it
        width = 2 * of.latent_dim + of.latent_rope_dim
        prefill = 2 * heads * (2 * of.head_dim + of.latent_rope_dim)
        return float(of.kv_bytes_per_token), 2.0 * of.layers * heads * width, of.layers * prefill
    return kv_bytes_per_rank(of, tp), 4.0 * of.layers * heads * of.head_dim, 4.0 * of.layers * heads * of.head_dim


def kv_bytes_per_rank(of: Model, tp: int) -> float:
    """Cache bytes of one token that one rank keeps; heads are split, a single head or a latent is copied."""
    if of.latent_dim:
        return float(of.kv_bytes_per_token)
    return of.kv_bytes_per_token * max(1.0 / tp, 1.0 / of.kv_heads)


def check_parallelism(of: Model, tp: int, pp: int = 1, ep: int = 1, balance: float = 1.0) -> None:
    """Raise BadInstance where a model cannot be spread over so many GPUs."""
    for key, value in (("tp", tp), ("pp", pp), ("ep", ep)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInstance(f"{of.name}, {key}: must be a whole number >= 1, got {value!r}")
    if tp > roofline.NODE_GPUS or of.heads % tp:
        raise BadInstance(f"{of.name}, tp: must be <= {roofline.NODE_GPUS} and divide heads = {of.heads}, got {tp}")
    if pp > of.layers:
        raise BadInstance(f"{of.name}, pp: must be <= layers = {of.layers}, got {pp}")
    if ep > 1 and (not of.experts or of.experts % ep or ep % tp):
        raise BadInstance(f"{of.name}, ep: must divide experts = {of.experts} and be a multiple of tp = {tp}, got {ep}")
    if not 0 < balance <= 1:
        raise BadInstance(f"{of.name}, balance: must be in (0, 1], got {balance}")


def weight_bytes_per_rank(of: Model, tp: int = 1, pp: int = 1, ep: int = 1) -> float:
    """Weights that one GPU holds."""
    others, experts = of.stored_bytes
    return (others / tp + experts / (ep if ep > 1 else tp)) / pp


def kv_capacity_tokens(
    device: str | Device, model: str | Model, tp: int = 1, *, pp: int = 1, ep: int = 1, utilisation: float = UTILISATION
) -> int:
    """Tokens of KV cache that fit beside weights and activations of an instance.

    Raises
    ------
    BadInstance
        If the weights alone do not fit, or the model cannot be spread like that.
    """
    on, of = devices.device(device), models.model(model)
    check_parallelism(of, tp, pp, ep)
    if not 0 < utilisation <= 1:
        raise BadInstance(f"utilisation: must be in (0, 1], got {utilisation}")
    weights = weight_bytes_per_rank(of, tp, pp, ep)
    free = on.memory_bytes * utilisation - weights - ACTIVATION_BYTES
    tokens = int(free / (kv_bytes_per_rank(of, tp) / pp))
    if tokens < 1:
        raise BadInstance(
            f"{of.name} does not fit on {on.name} with tp={tp}, pp={pp}, ep={ep}: {weights / 1e9:.1f} GB of weights "
            f"and {ACTIVATION_BYTES / 1e9:.1f} GB of activations per GPU exceed {utilisation:.0%} of "
            f"{on.memory_bytes / 1e9:.0f} GB (use more GPUs or a smaller model)"
        )
    return tokens
