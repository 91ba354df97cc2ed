"""Experiments on what papers claim of single devices; figures and verdicts stand in claims.py.

No requests and no queue: each compares ways to run one step, or the operators in it, on the roofline.
Seeds are fixed; each takes less than a second.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from problems._hardware import devices, models, roofline
from problems._hardware.models import BYTES
from problems._hardware.sharing import HOST_BYTES_PER_S, host_attention_seconds, hybrid_seconds, overlapped_seconds
from problems._hardware.step_cost import attention_work, kv_capacity_tokens, step_cost, step_seconds

_LENGTHS = (512, 512)  # prompt and output, where a paper's own are one of several
_STEP_TOKENS = 2048
_TOKEN_S = 0.2


# NanoFlow: Llama-2-70B on eight A100s.
_NANO = ("A100-80", "Llama-2-70B", 8)


def ceiling_tokens_per_s(device: str, model: str) -> float:
    """Tokens per second and GPU that no engine exceeds: peak * eF / (2 * active parameters)."""
    on, of = devices.device(device), models.model(model)
    return on.peak_flops * on.gemm_flops_efficiency / (2.0 * of.active_parameters)


def _steady_batch() -> tuple[int, float, int, float]:
    """Prompt tokens, their pairs, decoding sequences and their contexts of a step where as many end as begin."""
    prompt, output = _LENGTHS
    decoding = _STEP_TOKENS * output // (prompt + output)
    tokens = _STEP_TOKENS - decoding
    return tokens, tokens * prompt / 2.0, decoding, decoding * (prompt + output / 2.0)


def sequential_and_overlapped_s() -> tuple[float, float]:
    """Seconds of a saturated step: operators one after the other, and two nano-batches that overlap.

    Each nano-batch reads all weights; matrix products, decode attention and all-reduces keep three
    resources busy at once without hindering one another, small kernels and the output head none.
    """
    device, model, tp = _NANO
    on, of = devices.device(device), models.model(model)
    cost = step_cost(device, model, tp)
    prompt, pairs, decoding, context = _steady_batch()
    half = np.array([_STEP_TOKENS / 2.0])
    products = roofline.attention_projection_seconds(on, half, of, tp) + roofline.ffn_seconds(on, half, of, of.ffn / tp)
    network = 2 * roofline.allreduce_seconds(on, half * of.hidden * BYTES, tp)
    small = roofline.small_ops_seconds(on, half, of, tp, of.ffn / tp)
    head = roofline.gemm_seconds(on, np.array([float(decoding)]), of.hidden, of.vocabulary / tp)
    overlapped = overlapped_seconds(
        2 * of.layers * float(products[0]) + cost.prefill_pair_s * pairs,
        cost.decode_context_s * context,
        2 * of.layers * float(network[0]),
        2 * of.layers * float(small[0]) + float(head[0]) + cost.step_s + cost.sequence_s * decoding,
        1.0,
    )
    return step_seconds(cost, prompt, pairs, decoding, context), overlapped


def nano_batches() -> float:
    """Throughput of overlapping over sequential operators."""
    sequential_s, overlapped_s = sequential_and_overlapped_s()
    return sequential_s / overlapped_s


def share_of_ceiling() -> float:
    """Throughput of overlapped nano-batches, in % of the ceiling."""
    device, model, tp = _NANO
    return 100.0 * _STEP_TOKENS / sequential_and_overlapped_s()[1] / tp / ceiling_tokens_per_s(device, model)


# APEX: decode attention of some sequences on the host.
def host_attention(device: str, model: str, utilisation: float, host_bytes_per_s: float = HOST_BYTES_PER_S) -> float:
    """Decode throughput with the best number of sequences whose cache lies in host memory, over none.

    GPU memory is full of cache in both cases, the further sequences take turns with it, and the planner
    knows all durations; sequences are half-way through their output. A token takes at most 0.2 s.
    """
    on, of = devices.device(device), models.model(model)
    context = _LENGTHS[0] + _LENGTHS[1] / 2.0
    cost = step_cost(device, model)
    resident = int(kv_capacity_tokens(device, model, utilisation=utilisation) / context)
    resident_s = step_seconds(cost, 0, 0.0, resident, resident * context)
    cache = attention_work(of, 1)[0] * context
    sent = 2.0 * BYTES * of.layers * (of.heads + of.kv_heads) * of.head_dim
    best = resident / resident_s
    for guests in range(1, 257):
        host_s = host_attention_seconds(guests * cache, guests * sent, host_bytes_per_s, on.pcie_bytes_per_s)
        step_s = hybrid_seconds(step_seconds(cost, 0, 0.0, guests, 0.0), resident_s, host_s)
        if step_s <= _TOKEN_S:
            best = max(best, (resident + guests) / step_s)
    return best * resident_s / resident


# FlashInfer: decode attention as tiles of KV cache on streaming multiprocessors.
SMS = 132  # of an H100 SXM
_TILE_TOKENS = 256
_SPLITS = 8  # into which SGLang's Triton backend cut each sequence by default


def makespan(work: Sequence[float], machines: int) -> float:
    """Largest load when each piece goes, longest first, to the machine with the least."""
    loads = [0.0] * machines
    for piece in sorted(work, reverse=True):
        heapq.heapreplace(loads, loads[0] + piece)
    return max(loads)


def balanced_tiles() -> float:
    """Time between tokens with every sequence cut into eight over that with tiles of equal length.

    16 sequences of log-normal length on one H100, Llama-3.1-8B; pieces are computed for each KV head. Each
    SM has its share of the bandwidth; merging partial results is free. Mean of 200 batches.
    """
    of, cost, rng = models.model("Llama-3.1-8B"), step_cost("H100", "Llama-3.1-8B"), np.random.default_rng(20250102)
    ratios = []
    for _ in range(200):
        context = np.clip(2000.0 * np.exp(rng.standard_normal(16)), 64, 32_000).round()
        split = [c / _SPLITS for c in context for _ in range(_SPLITS)]
        tiles = [min(_TILE_TOKENS, c - k) for c in context for k in range(0, int(c), _TILE_TOKENS)]
        times = []
        for pieces in (split, tiles):
            # over the time in which all SMs would be busy to the end
            slowdown = makespan(pieces * of.kv_heads, SMS) * SMS / (float(context.sum()) * of.kv_heads)
            times.append(step_seconds(cost, 0, 0.0, len(context), float(context.sum()) * slowdown))
        ratios.append(times[0] / times[1])
    return float(np.mean(ratios))


# D2MoE: experts are loaded one by one, each is computed when it is there: a flow shop of two machines.
def flow_shop_makespan(load_s: Sequence[float], compute_s: Sequence[float], order: Sequence[int]) -> float:
    """End of the last computation if experts are loaded and computed in this order."""
    loaded = ended = 0.0
    for expert in order:
        loaded += load_s[expert]
        ended = max(ended, loaded) + compute_s[expert]
    return ended


def johnson_order(load_s: Sequence[float], compute_s: Sequence[float]) -> list[int]:
    """Johnson's rule, which minimises the makespan of a flow shop of two machines.

    Johnson (1954), Naval Research Logistics Quarterly 1(1):61-68. First those that load faster than they
    compute, fastest load first; then the others, longest computation first.
    """
    return sorted(
        range(len(load_s)),
        key=lambda e: (0, load_s[e]) if load_s[e] <= compute_s[e] else (1, -compute_s[e]),
    )


def _experts(rng: np.random.Generator, *, nested: bool) -> tuple[list[float], list[float]]:
    """Seconds to load and to compute each expert that a batch reaches, at 4 bits, or at 2 to 8, hot ones at more.

    Experts of Qwen3-30B-A3B on an L4 of a tenth of its speed, as an edge device has it, loaded over PCIe.
    """
    on, of = devices.device("L4"), models.model("Qwen3-30B-A3B")
    parameters = of.ffn_parameters(of.expert_ffn)
    popularity = rng.permutation(1.0 / np.arange(1, of.experts + 1) ** 0.8)
    tokens = rng.multinomial(64 * of.experts_per_token, popularity / popularity.sum())
    tokens = tokens[tokens > 0]
    bits = np.full(len(tokens), 4.0)
    if nested:
        bits = 2.0 + 6.0 * np.argsort(np.argsort(tokens)) / max(len(tokens) - 1, 1)
    load_s = parameters * bits / 8.0 / on.pcie_bytes_per_s
    compute_s = 10.0 * roofline.smooth_roofline(on, parameters * bits / 8.0, 2.0 * tokens * parameters)
    return load_s.tolist(), compute_s.tolist()


def hottest_first(*, nested: bool) -> float:
    """Largest makespan of hottest first over that of Johnson's rule, in 500 layers."""
    rng, worst = np.random.default_rng(20250417), 1.0
    for _ in range(500):
        load_s, compute_s = _experts(rng, nested=nested)
        hottest = sorted(range(len(load_s)), key=lambda e: -compute_s[e])
        best = flow_shop_makespan(load_s, compute_s, johnson_order(load_s, compute_s))
        worst = max(worst, flow_shop_makespan(load_s, compute_s, hottest) / best)
    return worst


def loading_order() -> float:
    """Makespan in order of number over that of hottest first, nested bit-widths, mean of 500 layers."""
    rng, ratios = np.random.default_rng(20250417), []
    for _ in range(500):
        load_s, compute_s = _experts(rng, nested=True)
        hottest = sorted(range(len(load_s)), key=lambda e: -compute_s[e])
        by_number = flow_shop_makespan(load_s, compute_s, range(len(load_s)))
        ratios.append(by_number / flow_shop_makespan(load_s, compute_s, hottest))
    return float(np.mean(ratios))
