"""Fit the constants of problems/_hardware to public profiles, and print them with their errors.

    python benchmarks/gpu_fits.py [--data FOLDER]

The profiles are not part of this repository; FOLDER holds the files whose sources devices.toml names.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from problems._hardware import devices, models, roofline
from problems._hardware.devices import Device
from problems._hardware.formats import FORMATS
from problems._hardware.models import BYTES
from problems._hardware.step_cost import step_cost, step_seconds

DATA = Path(__file__).resolve().parents[2] / "shared/data/llm"
VIDUR_MODELS = {
    "meta-llama/Meta-Llama-3-8B": "Llama-3.1-8B",
    "meta-llama/Meta-Llama-3-70B": "Llama-3.1-70B",
    "meta-llama/Llama-2-7b-hf": "Llama-2-7B",
    "meta-llama/Llama-2-70b-hf": "Llama-2-70B",
}


class Kernel(NamedTuple):
    """One measured matrix product."""

    model: str
    tp: int
    tokens: float
    k: float
    n: float
    seconds: float


def rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """The lines of a compressed CSV file."""
    with gzip.open(folder / name, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def shapes(model: models.Model, tp: int) -> dict[str, tuple[float, float]]:
    """(k, n) of the products that Vidur profiles, on one rank."""
    h, d, kv = model.hidden, model.head_dim, max(model.kv_heads / tp, 1)
    return {
        "attn_pre_proj_ms": (h, (model.heads / tp + 2 * kv) * d),
        "attn_post_proj_ms": (model.heads * d / tp, h),
        "mlp_up_proj_ms": (h, 2 * model.ffn / tp),
        "mlp_down_proj_ms": (model.ffn / tp, h),
    }


def vidur_kernels(folder: Path, gpu: str) -> list[Kernel]:
    """Products of one GPU; medians of 3 digits, so those below 20 us are left out."""
    found = []
    for row in rows(folder, "vidur_gemm_profiles.csv.gz"):
        if row["gpu"] != gpu:
            continue
        name, tp = VIDUR_MODELS[row["model"]], int(row["tp"])
        for column, (k, n) in shapes(models.model(name), tp).items():
            if row[column] and float(row[column]) >= 0.02:
                found.append(Kernel(name, tp, float(row["num_tokens"]), k, n, float(row[column]) * 1e-3))
    return found


def columns(kernels: Sequence[Kernel]) -> tuple[np.ndarray, ...]:
    """Tokens, k, n and seconds as arrays."""
    return tuple(np.array([getattr(kernel, key) for kernel in kernels]) for key in ("tokens", "k", "n", "seconds"))


def relative_errors(device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
    """Absolute relative error of each predicted product."""
    tokens, k, n, seconds = columns(kernels)
    return np.abs(roofline.gemm_seconds(device, tokens, k, n) / seconds - 1)


def fit_gemm(device: Device, kernels: Sequence[Kernel]) -> Device:
    """The device with its four constants fitted to kernels, on log times with a soft loss."""
    tokens, k, n, seconds = columns(kernels)

    def changed(x: np.ndarray) -> Device:
        floor, bandwidth, flops, sharpness = map(float, x)
        return device._replace(
            gemm_floor_s=floor * 1e-6,
            gemm_bandwidth_efficiency=bandwidth,
            gemm_flops_efficiency=flops,
            gemm_sharpness=sharpness,
        )

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(roofline.gemm_seconds(changed(x), tokens, k, n) / seconds)

    found = least_squares(residuals, (5, 0.8, 0.7, 1.5), bounds=((0, 0.3, 0.3, 1), (20, 1.1, 1.1, 8)), loss="soft_l1")
    return changed(found.x)


def print_gemm(device: Device, kernels: Sequence[Kernel], words: str) -> None:
    error = relative_errors(device, kernels)
    constants = (
        f"t0 {device.gemm_floor_s * 1e6:.2f} us, eB {device.gemm_bandwidth_efficiency:.3f}, "
        f"eF {device.gemm_flops_efficiency:.3f}, q {device.gemm_sharpness:.2f}"
    )
    print(
        f"  {words}: {constants}; {len(kernels)} kernels, "
        f"mean error {error.mean():.1%}, p90 {np.quantile(error, 0.9):.1%}"
    )


def gemm(folder: Path) -> None:
    """V1: constants fitted on one model per GPU, errors on the models held out."""
    print("GEMM roofline, fitted on Llama-2-7B (A40: on its TP 1 and 4), errors on what is held out")
    for gpu, name in (("a100", "A100-80"), ("h100", "H100"), ("a40", "A40")):
        kernels = vidur_kernels(folder, gpu)
        train, held_out = [], []
        for kernel in kernels:
            chosen = kernel.tp in (1, 4) if gpu == "a40" else kernel.model == "Llama-2-7B"
            (train if chosen else held_out).append(kernel)
        print(name)
        print_gemm(devices.device(name), held_out, "shipped, on held out")
        print_gemm(fit_gemm(devices.device(name), train), held_out, "refitted, on held out")
        print_gemm(fit_gemm(devices.device(name), kernels), kernels, "fitted on all")


def h100_layers(folder: Path) -> list[Kernel]:
    """Products of Llama-3.1-8B (TP 1) and 70B (TP 4) on the H100, each projection on its own."""
    found = []
    for row in rows(folder, "llmservingsim_h100_layers.csv.gz"):
        of, tp = models.model(row["model"].split("/")[-1]), int(row["tp"])
        heads, kv, width = (of.heads * of.head_dim / tp, of.kv_heads * of.head_dim / tp, of.ffn / tp)
        known = {
            "q_proj": (of.hidden, heads),
            "k_proj": (of.hidden, kv),
            "v_proj": (of.hidden, kv),
            "o_proj": (heads, of.hidden),
            "gate_proj": (of.hidden, width),
            "up_proj": (of.hidden, width),
            "down_proj": (width, of.hidden),
            "lm_head": (of.hidden, of.vocabulary / tp),
        }
        if row["op"] in known:
            found.append(Kernel(of.name, tp, float(row["tokens"]), *known[row["op"]], float(row["time_ns"]) * 1e-9))
    return found


def rtx_kernels(folder: Path) -> list[Kernel]:
    """Products of Llama-3.1-8B and the shared ones of Qwen3-30B-A3B on the RTX PRO 6000."""
    found = []
    for row in rows(folder, "llmservingsim_profiles_rtxpro6000.csv.gz"):
        name = "Llama-3.1-8B" if "8B" in row["model"] else "Qwen3-30B-A3B"
        of = models.model(name)
        known = {
            "qkv_proj": (of.hidden, (of.heads + 2 * of.kv_heads) * of.head_dim),
            "o_proj": (of.heads * of.head_dim, of.hidden),
            "gate_up_proj": (of.hidden, 2 * of.ffn),
            "down_proj": (of.ffn, of.hidden),
            "lm_head": (of.hidden, of.vocabulary),
        }
        if row["op"] in known:
            found.append(Kernel(name, 1, float(row["a"]), *known[row["op"]], float(row["time_us"]) * 1e-6))
    return found


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope that fit log y best, both >= 0."""

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.log((p[0] + p[1] * x / x.max()) / y)

    found = least_squares(residuals, (y.min(), y.max()), bounds=(1e-9, np.inf), loss="soft_l1")
    return float(found.x[0]), float(found.x[1] / x.max())


def small_ops(folder: Path) -> None:
    """Floor and bandwidth of norms, rotary embedding and activation."""
    print("small kernels: floor us, share of bandwidth (norm: 4 h, rope: 2 (q + k), act: 3 F values per token)")
    for gpu, name in (("a100", "A100-80"), ("h100", "H100"), ("a40", "A40")):
        on = devices.device(name)
        for column in ("input_layernorm_ms", "attn_rope_ms", "mlp_act_ms", "add_ms"):
            x, y = [], []
            for row in rows(folder, "vidur_gemm_profiles.csv.gz"):
                if row["gpu"] == gpu and row[column]:
                    of, tp = models.model(VIDUR_MODELS[row["model"]]), int(row["tp"])
                    per_token = {
                        "input_layernorm_ms": 2 * of.hidden,
                        "attn_rope_ms": 2 * (of.heads + of.kv_heads) * of.head_dim / tp,
                        "mlp_act_ms": 3 * of.ffn / tp,
                        "add_ms": 3 * of.hidden,
                    }[column]
                    x.append(int(row["num_tokens"]) * per_token * BYTES)
                    y.append(float(row[column]) * 1e-3)
            floor, slope = line(np.array(x), np.array(y))
            print(f"  {name} {column}: {floor * 1e6:.1f} us, {1 / slope / on.bandwidth_bytes_per_s:.2f}")


def attention(folder: Path) -> None:
    """Decode and prefill attention on the RTX PRO 6000 and the H100."""
    on = devices.device("RTX-PRO-6000")
    for name, key in (("Llama-3.1-8B", "8B"), ("Qwen3-30B-A3B", "30B")):
        of = models.model(name)
        taken = np.array(
            [
                [float(row[c]) for c in ("a", "b", "c", "d", "time_us")]
                for row in rows(folder, "llmservingsim_profiles_rtxpro6000.csv.gz")
                if row["kind"] == "attention" and key in row["model"]
            ]
        )
        chunk, cached, count, context, t = taken.T
        t = t * 1e-6
        kv = of.kv_bytes_per_token / of.layers
        decode = (chunk == 0) & (count > 0)
        floor, slope = line(kv * count[decode] * context[decode], t[decode])
        print(
            f"RTX PRO 6000 {name} decode attention: {floor * 1e6:.1f} us, {1 / slope / 1e9:.0f} GB/s "
            f"({1 / slope / on.bandwidth_bytes_per_s:.3f} of peak)"
        )
        prefill = (chunk > 0) & (count == 0)
        flops = 4 * of.heads * of.head_dim * chunk * (cached + chunk / 2)
        floor, slope = line(flops[prefill], t[prefill])
        print(
            f"  prefill attention: {floor * 1e6:.1f} us, {1 / slope / 1e12:.0f} TFLOP/s "
            f"({1 / slope / on.peak_flops:.3f})"
        )
        long = prefill & (chunk >= 512)
        floor, slope = line(flops[long], t[long])
        print(f"  prefill attention of chunks >= 512: {floor * 1e6:.1f} us, {1 / slope / 1e12:.0f} TFLOP/s")


def layers(folder: Path) -> None:
    """V2: the H100's constants, fitted to other profiles, on those of another project."""
    print("H100, layer tables of another project")
    print_gemm(devices.device("H100"), h100_layers(folder), "shipped")


def rtx(folder: Path) -> None:
    """Constants of the RTX PRO 6000."""
    kernels = rtx_kernels(folder)
    on = devices.device("RTX-PRO-6000")
    print("RTX-PRO-6000")
    print_gemm(on, kernels, "shipped, on all")
    print_gemm(fit_gemm(on, kernels), kernels, "fitted on all")


def collectives(folder: Path) -> None:
    """Floor and bus bandwidth of all-reduce, rate of send, inside a node."""
    for system, name in (("a100_dgx", "A100-80"), ("h100_dgx", "H100")):
        taken = [r for r in rows(folder, "vidur_collectives.csv.gz") if r["system"] == system]
        for kind in ("all_reduce", "send_recv"):
            for n in (2, 4, 8):
                inside = [r for r in taken if r["num_workers"] == str(n) == r["devices_per_node"]]
                points = [(float(r["bytes"]), float(r["time_ms"])) for r in inside if r["collective"] == kind]
                if not points:
                    continue
                size, t = np.array(points).T * np.array([[1.0], [1e-3]])
                factor = 2 * (n - 1) / n if kind == "all_reduce" else 1.0
                floor, slope = line(size, t)
                error = np.abs((floor + slope * size) / t - 1)
                print(f"{name} {kind} {n}: floor {floor * 1e6:.0f} us, {factor / slope / 1e9:.0f} GB/s, ", end="")
                print(f"mean error {error.mean():.1%}; smallest message {t[size.argmin()] * 1e6:.0f} us, ", end="")
                print(f"largest {factor * size.max() / t[size.argmax()] / 1e9:.0f} GB/s")


def weight_formats() -> None:
    """V4: efficiency of reading packed weights on the L4, relative to bf16, and the step if it were 1."""
    on, of = devices.device("L4"), models.model("Qwen2.5-7B")
    rate = on.bandwidth_bytes_per_s * on.gemm_bandwidth_efficiency
    weights = of.layers * (of.attention_parameters + of.ffn_parameters(of.ffn))
    for name, milliseconds in (("nf4", 59.36), ("awq-marlin", 45.24), ("gptq-exllamav2", 17.36)):
        for engine in ("transformers-eager", "kernels-only"):
            rest = step_seconds(step_cost(on, of, engine=engine), 0, 0.0, 1, 2048.0) - BYTES * weights / rate
            read_s = weights * FORMATS[name].bytes_per_weight / rate
            print(f"L4 {name}, {engine}: {read_s / (1e-3 * milliseconds - rest):.3f}, {1e3 * (rest + read_s):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    folder = parser.parse_args().data
    gemm(folder)
    layers(folder)
    rtx(folder)
    small_ops(folder)
    attention(folder)
    collectives(folder)
    weight_formats()


if __name__ == "__main__":
    main()
