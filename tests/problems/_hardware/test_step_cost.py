"""Step costs: limits and invariants of the roofline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems._hardware.devices import DEVICES, device
from problems._hardware.models import BYTES, MODELS, model
from problems._hardware.step_cost import GRID, kv_capacity_tokens, step_cost, step_seconds
from problems.problem import BadInstance

DENSE = "Llama-3.1-8B"
TOKENS = st.integers(0, 20_000)


def test_batch_one_decode_tends_to_bytes_over_bandwidth():
    # no floors, no overhead, perfect bandwidth: all weights but the input embedding, and the cache
    ideal = device("L4")._replace(
        gemm_floor_s=0.0,
        gemm_bandwidth_efficiency=1.0,
        attention_bandwidth_efficiency=1.0,
        attention_floor_s=0.0,
        small_op_floor_s=0.0,
    )
    shape = model(DENSE)
    read = BYTES * (shape.parameters - shape.vocabulary * shape.hidden) + 2048 * shape.kv_bytes_per_token
    seconds = step_seconds(step_cost(ideal, DENSE, engine="kernels-only"), 0, 0.0, 1, 2048.0)
    assert seconds == pytest.approx(read / ideal.bandwidth_bytes_per_s, rel=0.01)


def test_a_long_prompt_tends_to_flops_over_peak_times_efficiency():
    on, shape = device("A100-80"), model(DENSE)
    layers = shape.parameters - 2 * shape.vocabulary * shape.hidden
    seconds = step_seconds(step_cost(on, DENSE, engine="kernels-only"), 32768, 0.0, 0, 0.0)
    ideal = 2 * layers * 32768 / (on.peak_flops * on.gemm_flops_efficiency)
    assert ideal < seconds < 1.2 * ideal


@pytest.mark.parametrize("name", [DENSE, "Qwen3-30B-A3B", "DeepSeek-V3"])
@given(a=TOKENS, b=TOKENS, pairs=st.floats(0, 1e9), requests=st.integers(0, 512), context=st.floats(0, 1e7))
def test_more_work_never_takes_less_time(name, a, b, pairs, requests, context):
    cost = step_cost("H100", name)
    less, more = sorted((a, b))
    base = step_seconds(cost, less, pairs, requests, context)
    assert step_seconds(cost, more, pairs, requests, context) >= base
    assert step_seconds(cost, less, pairs * 2, requests, context * 2) >= base or base == 0.0
    assert step_seconds(cost, less, pairs, requests + 1, context) >= base


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("where", DEVICES)
def test_every_device_and_model_has_a_finite_cost(where, name):
    cost = step_cost(where, name)
    for table in (cost.layers_s, cost.head_s):
        assert table.shape == GRID.shape
        assert np.isfinite(table).all()
        assert (np.diff(table) >= 0).all()


@given(tokens=st.integers(1, 60_000), requests=st.integers(0, 256))
def test_tensor_parallelism_is_no_faster_than_ideal(tokens, requests):
    for tp in (2, 4, 8):
        one, many = (step_cost("H100", "Llama-3.1-70B", t, engine="kernels-only") for t in (1, tp))
        assert (
            step_seconds(many, tokens, 0.0, requests, 0.0) >= 0.99 * step_seconds(one, tokens, 0.0, requests, 0.0) / tp
        )


def test_an_empty_step_takes_no_time():
    assert step_seconds(step_cost("H100", DENSE), 0, 0.0, 0, 0.0) == 0.0


def test_a_model_larger_than_the_memory_is_refused_with_both_sizes():
    with pytest.raises(BadInstance, match=r"Llama-3.1-70B does not fit on A100-80 with tp=1.*141\.1 GB of weights"):
        kv_capacity_tokens("A100-80", "Llama-3.1-70B")
    assert kv_capacity_tokens("A100-80", "Llama-3.1-70B", 4) > 100_000
