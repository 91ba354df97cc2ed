"""Step costs: limits and invariants of the roofline."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems._hardware.devices import DEVICES, device
from problems._hardware.models import BYTES, MODELS, model
from problems._hardware.roofline import activated_experts
from problems._hardware.step_cost import GRID, kv_capacity_tokens, layered_step_seconds, step_cost, step_seconds
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
@settings(deadline=None)  # the first call compiles
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


@settings(deadline=None)  # the first call compiles
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


@given(tokens=st.integers(1, 30_000))
@settings(deadline=None)
def test_a_stage_of_a_pipeline_takes_its_share_of_the_layers_and_a_send(tokens):
    one, four = (step_cost("A100-80", "Llama-2-7B", pp=pp, engine="kernels-only") for pp in (1, 4))
    layers = step_seconds(one, tokens, 0.0, 0, 0.0)
    stage = step_seconds(four, tokens, 0.0, 0, 0.0)
    assert layers / 4 < stage < layers
    sent = device("A100-80").allreduce_floor_s[0] + 2 * tokens * 4096 / device("A100-80").send_bytes_per_s
    # the output projection is the last stage's, and is counted in the slowest
    head = one.head_s[1]
    assert stage == pytest.approx((layers - head) / 4 + head + sent, rel=1e-6)


def test_uneven_layers_make_the_first_stage_the_slowest():
    # 61 layers on 4 stages: 16
    one, four = (step_cost("H200", "DeepSeek-V3", 8, pp=pp, engine="kernels-only") for pp in (1, 4))
    assert four.attention_floor_s == pytest.approx(one.attention_floor_s * 16 / 61)


@pytest.mark.parametrize("tokens", [1, 16, 256, 4096])
def test_expert_parallelism_reads_fewer_experts_per_gpu_but_not_less_than_its_share(tokens):
    of = model("Qwen3-30B-A3B")
    free = device("H100")._replace(send_bytes_per_s=1e18, allreduce_floor_s=(1e-12,) * 3)
    times = [
        step_seconds(step_cost(free, of, ep=ep, engine="kernels-only"), 0, 0.0, tokens, 0.0) for ep in (1, 2, 4, 8)
    ]
    if tokens >= 256:  # all experts are read: each GPU holds a part of them
        assert times == sorted(times, reverse=True)
    unbalanced = step_cost(free, of, ep=8, balance=0.5, engine="kernels-only")
    assert step_seconds(unbalanced, 0, 0.0, tokens, 0.0) > times[3]


def test_experts_are_split_over_gpus_and_leave_room_for_more_cache():
    one, two = (kv_capacity_tokens("A100-80", "Qwen3-30B-A3B", ep=ep) for ep in (1, 2))
    experts = 48 * 128 * 3 * 2048 * 768
    assert two - one == pytest.approx(2 * experts / 2 / 98_304, abs=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tp": 3}, "tp: must be <= 8 and divide heads = 32, got 3"),
        ({"tp": 16}, "tp: must be <= 8"),
        ({"tp": 0}, "tp: must be a whole number >= 1, got 0"),
        ({"pp": 40}, "pp: must be <= layers = 32, got 40"),
        ({"ep": 2}, "ep: must divide experts = 0"),
        ({"balance": 0.0}, r"balance: must be in \(0, 1\], got 0.0"),
    ],
)
def test_impossible_spreads_are_refused(arguments, message):
    with pytest.raises(BadInstance, match=message):
        step_cost("H100", DENSE, **arguments)


def test_perturbed_physics_moves_steps_the_way_it_should():
    # rankings of rules are to survive these: see the evaluator's rules
    on = device("H100")
    base = step_cost(on, DENSE)
    slower = step_cost(on._replace(gemm_bandwidth_efficiency=0.85 * on.gemm_bandwidth_efficiency), DENSE)
    assert step_seconds(slower, 0, 0.0, 1, 0.0) > step_seconds(base, 0, 0.0, 1, 0.0)
    weaker = step_cost(on._replace(gemm_flops_efficiency=0.85 * on.gemm_flops_efficiency), DENSE)
    assert step_seconds(weaker, 8192, 0.0, 0, 0.0) == pytest.approx(
        step_seconds(base, 8192, 0.0, 0, 0.0) / 0.85, rel=0.05
    )


def test_skewed_routing_reaches_fewer_experts_than_uniform_routing():
    of = model("Mixtral-8x7B")
    tokens = np.array([1, 4, 64])
    uniform, skewed = (
        activated_experts(of, tokens, s) for s in (None, np.array([1.0, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]))
    )
    # one token reaches two experts whatever the shares
    assert uniform[0] == pytest.approx(2.0)
    assert skewed[0] == pytest.approx(2.0)
    assert skewed[1] < uniform[1]
    assert uniform[2] == pytest.approx(8.0, abs=1e-6)
    assert activated_experts(of, tokens, np.full(8, 0.25)) == pytest.approx(uniform)
    with pytest.raises(BadInstance, match="expert_shares: must sum to 2, got 8"):
        step_cost("H100", of, 2, expert_shares=[1.0] * 8)
    with pytest.raises(BadInstance, match="expert_shares: must be 8 numbers"):
        step_cost("H100", of, 2, expert_shares=[1.0, 1.0])


@given(tokens=st.integers(0, 5000), requests=st.integers(0, 300), context=st.floats(0, 1e6))
@settings(deadline=None)
def test_one_group_of_layers_is_an_ordinary_step(tokens, requests, context):
    cost = step_cost("H100", "Qwen3-30B-A3B")
    ordinary = step_seconds(cost, tokens, tokens**2 / 2, requests, context)
    assert layered_step_seconds(cost, 1, tokens, tokens**2 / 2, requests, context) == pytest.approx(ordinary)


def test_layer_groups_beat_chunks_where_experts_are_read_again():
    # a prompt of 4,096 tokens in eight steps: each chunk reads nearly all experts, as do many decoding sequences
    cost = step_cost("H100", "Qwen3-30B-A3B", engine="kernels-only")
    gain = []
    for decoding in (2, 32):
        context = 1000.0 * decoding
        layered = 8 * layered_step_seconds(cost, 8, 4096, 4096**2 / 2, decoding, context)
        chunks = sum(step_seconds(cost, 512, 512 * (512 * k + 256.0), decoding, context) for k in range(8))
        gain.append(chunks / layered)
    assert gain[0] > 1.3
    assert 1.0 < gain[1] < 1.1


@given(
    where=st.sampled_from(sorted(DEVICES)),
    name=st.sampled_from(["Llama-2-7B", "Llama-3.1-8B", "Qwen2.5-32B", "Falcon-180B", "Mixtral-8x7B", "Qwen3-30B-A3B"]),
    tokens=st.integers(1, 20_000),
)
@settings(deadline=None, max_examples=60)
def test_no_step_beats_peak_compute_or_bandwidth(where, name, tokens):
    on, of = device(where), model(name)
    seconds = step_seconds(step_cost(on, of, engine="kernels-only"), tokens, 0.0, 0, 0.0)
    active = of.active_parameters - (1 if of.tied_embeddings else 2) * of.vocabulary * of.hidden
    assert seconds >= 2 * active * tokens / (on.peak_flops * on.gemm_flops_efficiency)
    # one token's experts at least
    assert seconds >= BYTES * active / (on.bandwidth_bytes_per_s * on.gemm_bandwidth_efficiency)


def test_room_for_cache_agrees_with_a_measured_run_on_a_small_gpu():
    # a replayed vLLM run of Llama-3.1-8B on an RTX 4090 fits with 40,000 to 46,000 tokens
    assert 40_000 <= kv_capacity_tokens("RTX-4090", DENSE) <= 46_000


def test_packed_weights_make_room_for_cache_and_cost_as_much_per_prompt_token():
    bf16, packed = model("Llama-3.1-8B"), model("Llama-3.1-8B")._replace(weights="awq-marlin")
    # 6.98e9 weights of layers at 2 and at 0.52 bytes; a token of cache takes 131,072
    freed = 6.979e9 * (2 - 0.5 - 2.5 / 128)
    more = kv_capacity_tokens("A100-80", packed) - kv_capacity_tokens("A100-80", bf16)
    assert more == pytest.approx(freed / 131_072, rel=0.001)
    slow, fast = (step_cost("A100-80", of, engine="kernels-only") for of in (bf16, packed))
    ends = [step_seconds(c, 65_536, 0.0, 0, 0.0) - step_seconds(c, 32_768, 0.0, 0, 0.0) for c in (slow, fast)]
    assert ends[1] == pytest.approx(ends[0], rel=0.001)
    assert step_seconds(fast, 0, 0.0, 1, 1.0) < step_seconds(slow, 0, 0.0, 1, 1.0)


def test_an_unknown_weight_format_is_refused():
    with pytest.raises(BadInstance, match="unknown weight format 'int3'"):
        step_cost("A100-80", model("Llama-3.1-8B")._replace(weights="int3"))
