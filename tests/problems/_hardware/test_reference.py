"""A second, slow reading of the step's cost: one operator at a time, in plain Python."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems._hardware.devices import Device, device
from problems._hardware.models import Model, model
from problems._hardware.step_cost import FINE, step_cost, step_seconds


def gemm(d: Device, rows: int, k: float, n: float) -> float:
    if rows == 0:
        return 0.0
    memory = 2 * (k * n + rows * (k + n)) / (d.bandwidth_bytes_per_s * d.gemm_bandwidth_efficiency)
    compute = 2 * rows * k * n / (d.peak_flops * d.gemm_flops_efficiency)
    q = d.gemm_sharpness
    return d.gemm_floor_s + (memory**q + compute**q) ** (1 / q)


def all_reduce(d: Device, data: float, ranks: int) -> float:
    if ranks == 1:
        return 0.0
    place = {2: 0, 4: 1, 8: 2}[ranks]
    return d.allreduce_floor_s[place] + 2 * (ranks - 1) / ranks * data / d.allreduce_bytes_per_s[place]


def dense_layer(d: Device, m: Model, tp: int, t: int) -> float:
    kv = m.kv_heads / tp if m.kv_heads >= tp else 1
    time = gemm(d, t, m.hidden, m.head_dim * (m.heads / tp + 2 * kv)) + gemm(d, t, m.head_dim * m.heads / tp, m.hidden)
    time += all_reduce(d, t * m.hidden * 2, tp)
    if m.experts:
        reached = m.experts * (1 - (1 - m.experts_per_token / m.experts) ** t) / tp
        width = m.expert_ffn
        weights = reached * 3 * m.hidden * width
        routed = t * m.experts_per_token / tp
        memory = (
            2 * (weights + 4 * routed * (m.hidden + width)) / (d.bandwidth_bytes_per_s * d.gemm_bandwidth_efficiency)
        )
        compute = 2 * routed * 3 * m.hidden * width / (d.peak_flops * d.gemm_flops_efficiency)
        time += 2 * d.gemm_floor_s + math.hypot(*(x ** (d.gemm_sharpness / 2) for x in (memory, compute))) ** (
            2 / d.gemm_sharpness
        )
        time += gemm(d, t, m.hidden, m.experts)
        gate = m.expert_ffn * m.experts_per_token / tp
    else:
        time += gemm(d, t, m.hidden, 2 * m.ffn / tp) + gemm(d, t, m.ffn / tp, m.hidden)
        gate = m.ffn / tp
    time += all_reduce(d, t * m.hidden * 2, tp)
    values = 8 * m.hidden + 2 * (m.heads + m.kv_heads) * m.head_dim / tp + 3 * gate
    small = t * 2 * values / (d.bandwidth_bytes_per_s * d.small_op_bandwidth_efficiency)
    return time + 5 * d.small_op_floor_s + small


def slow_step(d: Device, m: Model, tp: int, prompt: int, pairs: float, decoding: int, context: float) -> float:
    time = 0.0
    for _ in range(m.layers):
        time += dense_layer(d, m, tp, prompt + decoding) + d.attention_floor_s
        time += 4 * m.heads / tp * m.head_dim * pairs / (d.peak_flops * d.attention_flops_efficiency)
        read = 2 * 2 * max(m.kv_heads / tp, 1) * m.head_dim * context
        compute = 4 * m.heads / tp * m.head_dim * context / (d.peak_flops * d.gemm_flops_efficiency)
        time += max(read / (d.bandwidth_bytes_per_s * d.attention_bandwidth_efficiency), compute)
    emitting = decoding + (prompt > 0)
    return time + gemm(d, emitting, m.hidden, m.vocabulary / tp) + d.small_op_floor_s


@pytest.mark.parametrize("name", ["Llama-3.1-70B", "Qwen3-30B-A3B"])
@pytest.mark.parametrize("tp", [1, 2, 4])
@settings(max_examples=30, deadline=None)
@given(
    prompt=st.integers(0, 40_000),
    pairs=st.floats(0, 1e8),
    decoding=st.integers(0, 500),
    context=st.floats(0, 1e6),
)
def test_tabulated_steps_agree_with_operators_added_one_by_one(name, tp, prompt, pairs, decoding, context):
    if prompt + decoding == 0:
        return
    on, of = device("A100-80"), model(name)
    fast = step_seconds(step_cost(on, of, tp, engine="kernels-only"), prompt, pairs, decoding, context)
    # tables hold every count below FINE, and are interpolated above
    exact = prompt + decoding < FINE
    assert fast == pytest.approx(slow_step(on, of, tp, prompt, pairs, decoding, context), rel=1e-9 if exact else 1e-3)
