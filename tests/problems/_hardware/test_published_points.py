"""Step costs against published measurements; the tolerances are those of the validation ladder."""

import sys
from pathlib import Path

import numpy as np
import pytest

from problems._hardware.devices import device
from problems._hardware.formats import FORMATS, WeightFormat
from problems._hardware.models import model
from problems._hardware.step_cost import StepCost, step_cost, step_seconds

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared/data/llm"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here (slices of public measurements)")


def milliseconds(cost: StepCost, prompt: int = 0, decoding: int = 0, context: float = 0.0) -> float:
    return 1e3 * step_seconds(cost, prompt, prompt * prompt / 2, decoding, context)


@needs_data
@pytest.mark.parametrize(
    ("gpu", "name", "p90"), [("a100", "A100-80", 0.21), ("h100", "H100", 0.21), ("a40", "A40", 0.21)]
)
def test_gemm_roofline_predicts_held_out_kernels_within_ten_percent(gpu, name, p90, monkeypatch):
    # V1: constants fitted on Llama-2-7B (A40: TP 1 and 4); all others predicted
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_fits

    kernels = gpu_fits.vidur_kernels(DATA, gpu)
    held_out = [k for k in kernels if (k.tp in (2, 8) if gpu == "a40" else k.model != "Llama-2-7B")]
    assert len(held_out) > 1000
    error = gpu_fits.relative_errors(device(name), held_out)
    assert error.mean() <= 0.10
    assert np.quantile(error, 0.9) <= 0.21
    sys.modules.pop("gpu_fits")


@needs_data
def test_gemm_roofline_predicts_another_projects_h100_within_twelve_percent(monkeypatch):
    # V2
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_fits

    kernels = gpu_fits.h100_layers(DATA)
    assert len(kernels) > 2000
    assert gpu_fits.relative_errors(device("H100"), kernels).mean() <= 0.12
    sys.modules.pop("gpu_fits")


def test_memory_bound_decode_on_l4_and_h100():
    # V3: Qwen2.5-7B, batch 1, context 2048: 62.32 ms on L4; 0.27 of the floor on H100; CUDA graphs 1.028x and 1.259x
    eager, graphs = (
        {gpu: step_cost(gpu, "Qwen2.5-7B", engine=f"transformers-{kind}") for gpu in ("L4", "H100")}
        for kind in ("eager", "graphs")
    )
    times = {gpu: milliseconds(eager[gpu], decoding=1, context=2048) for gpu in eager}
    assert times["L4"] == pytest.approx(62.32, rel=0.03)
    assert times["H100"] == pytest.approx(4.58 / 0.27, rel=0.03)
    for gpu, published in (("L4", 1.028), ("H100", 1.259)):
        ratio = times[gpu] / milliseconds(graphs[gpu], decoding=1, context=2048)
        assert ratio == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("weights", "engine", "published"),
    [
        ("nf4", "transformers-eager", 59.36),
        ("awq-marlin", "transformers-eager", 45.24),
        ("gptq-exllamav2", "kernels-only", 17.36),
    ],
)
def test_decode_with_packed_weights_on_an_l4(weights, engine, published):
    # V4: one efficiency per format, fitted to its point
    cost = step_cost("L4", model("Qwen2.5-7B")._replace(weights=weights), engine=engine)
    assert milliseconds(cost, decoding=1, context=2048) == pytest.approx(published, rel=0.03)


def test_no_overhead_serves_both_bf16_and_exllamav2(monkeypatch):
    # with V3's overhead on the L4 (9.5 ms), weights of 4 bits that are read as fast as bf16 take 27 ms, not 17.4
    monkeypatch.setitem(FORMATS, "perfect", WeightFormat(0.5 + 2.5 / 128, 1.0, "none: it unpacks for nothing"))
    cost = step_cost("L4", model("Qwen2.5-7B")._replace(weights="perfect"), engine="transformers-eager")
    assert milliseconds(cost, decoding=1, context=2048) == pytest.approx(27.1, abs=0.3)


def test_distserve_fits_of_opt_13b_on_one_a100():
    # V5: 0.102 ms per prompt token, 19.9 ms per decode step, 0.000627 ms per context token
    cost = step_cost("A100-80-DistServe", "OPT-13B", engine="kernels-only")
    without_attention = [1e3 * step_seconds(cost, n, 0.0, 0, 0.0) for n in (512, 2048)]
    assert np.diff(without_attention)[0] / 1536 == pytest.approx(0.1019, rel=0.05)
    assert milliseconds(cost, decoding=1) == pytest.approx(19.93 + 0.0385, rel=0.05)
    assert milliseconds(cost, decoding=1, context=1000) - milliseconds(cost, decoding=1) == pytest.approx(
        0.627, rel=0.05
    )


# V6: Llama-2-70B, prompt of 512 tokens and decode at batch 1 (Splitwise): ms by tensor parallelism
SPLITWISE = {
    ("A100-80", 2): (197, 55),
    ("A100-80", 4): (127, 45),
    ("A100-80", 8): (94, 45),
    ("H100", 2): (84, 37),
    ("H100", 4): (60, 30),
    ("H100", 8): (53, 30),
}


@pytest.mark.parametrize(("gpu", "tp"), SPLITWISE)
def test_tensor_parallelism_saturates_as_splitwise_measured(gpu, tp):
    prompt, decode = SPLITWISE[gpu, tp]
    cost = step_cost(gpu, "Llama-2-70B", tp, engine=f"vllm-2023-{gpu[:4].lower()}")
    assert milliseconds(cost, prompt=512) == pytest.approx(prompt, rel=0.10)
    assert milliseconds(cost, decoding=1, context=576) == pytest.approx(decode, rel=0.10)


@pytest.fixture
def replays(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import replays

    yield replays
    sys.modules.pop("replays")


@needs_data
@pytest.mark.parametrize("key", ["8B", "30B"])
def test_replay_of_a_measured_vllm_run_agrees_within_five_percent(key, replays):
    # V7 (engine overhead fitted to it) and V8 (floor of the all-to-all fitted to its mean TPOT)
    run = replays.measured(key, DATA)
    found = replays.replay(run, *replays.RUNS[key])
    assert replays.means(found) == pytest.approx(replays.means(run), rel=0.05)


@needs_data
def test_ranks_in_lock_step_make_the_first_token_too_late(replays):
    """V8 otherwise: each step of one rank waits for the other. It explains the run less well, whatever the floor."""
    run = replays.measured("30B", DATA)
    truth = replays.means(run)
    for floor_s in (18e-6, 56e-6):
        found = replays.replay(run, *replays.RUNS["30B"], lock_step=True, device=replays.with_floor(floor_s))
        assert replays.means(found)["ttft"] > 1.1 * truth["ttft"]
        assert replays.means(found)["makespan"] == pytest.approx(truth["makespan"], rel=0.08)


@needs_data
def test_equal_ranks_in_lock_step_are_one_rank(replays):
    """Two ranks with the same requests, each arriving twice, step as one does by itself."""
    run = replays.measured("8B", DATA)
    once = replays.Run(*(column[:40] for column in run))
    twice = replays.Run(*(np.repeat(column, 2) for column in once))
    cost = step_cost("RTX-PRO-6000", "Llama-3.1-8B")
    alone, together = replays.replay_together(once, cost, 1), replays.replay_together(twice, cost, 2)
    assert np.array_equal(np.repeat(alone.last_token_s, 2), together.last_token_s)
