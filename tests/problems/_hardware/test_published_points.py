"""Step costs against published measurements; the tolerances are those of the validation ladder."""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from problems._hardware.devices import device
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


class Batch:
    """vLLM v1 in plain Python: running requests in order, then waiting ones, under one token budget."""

    def __init__(self, arrival, prompt, output, *, budget=2048, sequences=128):
        self.arrival, self.prompt, self.output = arrival, prompt, output
        self.budget, self.sequences = budget, sequences
        self.computed, self.generated = [0] * len(prompt), [0] * len(prompt)
        self.first, self.last = np.zeros(len(prompt)), np.zeros(len(prompt))

    def replay(self, cost: StepCost) -> None:
        now, arrived, running, waiting = 0.0, 0, [], []
        while arrived < len(self.arrival) or running or waiting:
            while arrived < len(self.arrival) and self.arrival[arrived] <= now:
                waiting.append(arrived)
                arrived += 1
            plan = self.compose(running, waiting)
            if not plan:
                now = self.arrival[arrived]
                continue
            chunks = [(r, c) for r, c in plan if c]
            decoding = [r for r, c in plan if not c]
            pairs = sum(c * (self.computed[r] + c / 2) for r, c in chunks)
            context = sum(self.prompt[r] + self.generated[r] for r in decoding)
            now += step_seconds(cost, sum(c for _, c in chunks), float(pairs), len(decoding), float(context))
            self.advance(plan, running, now)

    def compose(self, running, waiting):
        left, plan = self.budget, []
        for r in running:
            chunk = min(left, self.prompt[r] - self.computed[r])
            if left:
                plan.append((r, chunk))
                left -= max(chunk, 1)
        while waiting and left and len(running) < self.sequences:
            running.append(waiting.pop(0))
            chunk = min(left, self.prompt[running[-1]])
            plan.append((running[-1], chunk))
            left -= chunk
        return plan

    def advance(self, plan, running, now):
        for r, chunk in plan:
            self.computed[r] += chunk
            if self.computed[r] >= self.prompt[r]:
                if not self.generated[r]:
                    self.first[r] = now
                self.generated[r] += 1
                self.last[r] = now
                if self.generated[r] >= self.output[r]:
                    running.remove(r)


def measured_run(key: str) -> dict[str, np.ndarray]:
    with gzip.open(DATA / "vllm_measured_runs.csv.gz", "rt") as file:
        taken = [row for row in csv.DictReader(file) if key in row["run"]]
    columns = ("arrival_s", "input_tokens", "output_tokens", "first_token_s", "last_token_s")
    return {c: np.array([float(row[c]) for row in taken]) for c in columns}


def means(arrival, output, first, last):
    ttft, tpot = first - arrival, (last - first) / (output - 1)
    return {"ttft": ttft.mean(), "tpot": tpot.mean(), "e2e": (last - arrival).mean(), "makespan": last.max()}


def replayed(run, cost, parts):
    first, last = np.zeros(len(run["arrival_s"])), np.zeros(len(run["arrival_s"]))
    for k in range(parts):  # data-parallel engines take requests in turns
        mine = slice(k, None, parts)
        lengths = ([int(x) for x in run[c][mine]] for c in ("input_tokens", "output_tokens"))
        batch = Batch(run["arrival_s"][mine].tolist(), *lengths)
        batch.replay(cost)
        first[mine], last[mine] = batch.first, batch.last
    return means(run["arrival_s"], run["output_tokens"], first, last)


@needs_data
@pytest.mark.parametrize(
    ("key", "name", "parts", "tolerance"),
    [("8B", "Llama-3.1-8B", 1, {"ttft": 0.05}), ("30B", "Qwen3-30B-A3B", 2, {"ttft": 0.15})],
)
def test_replay_of_a_measured_vllm_run_agrees_within_five_percent(key, name, parts, tolerance):
    # V7, and V8's run with experts: its mean TTFT hangs on a queue that barely forms, hence 15 % there
    run = measured_run(key)
    truth = means(*(run[c] for c in ("arrival_s", "output_tokens", "first_token_s", "last_token_s")))
    found = replayed(run, step_cost("RTX-PRO-6000", name, ep=parts), parts)
    for metric, value in truth.items():
        assert found[metric] == pytest.approx(value, rel=tolerance.get(metric, 0.05)), metric
