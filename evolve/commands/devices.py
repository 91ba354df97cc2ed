"""``evolve devices``: the GPUs, models and engines that step costs are computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from evolve import tables
from evolve.commands.options import Json
from evolve.errors import UserError
from problems import registry
from problems._hardware import user
from problems._hardware.devices import DEFAULT_ENGINE, find_device
from problems._hardware.formats import FORMATS
from problems._hardware.models import find_model

app = typer.Typer(
    help="GPUs, models and engines, each number with its source.", invoke_without_command=True, rich_markup_mode=None
)
File = Annotated[Path | None, typer.Option("--file", help="TOML file with devices, models or engines of your own.")]


def as_json(hardware: user.Hardware) -> dict[str, Any]:
    """Devices, models and engines: every number with its source."""

    def numbers(record: Any, sources: dict[str, str]) -> dict[str, Any]:
        return {key: {"value": getattr(record, key), "source": source} for key, source in sources.items()}

    return {
        "devices": [
            {"name": r.device.name, "aliases": list(r.aliases), "numbers": numbers(r.device, r.sources)}
            for r in hardware.devices.values()
        ],
        "models": [
            r.model._asdict()
            | {
                "aliases": list(r.aliases),
                "source": r.source,
                "parameters": r.model.parameters,
                "active_parameters": r.model.active_parameters,
                "kv_bytes_per_token": r.model.kv_bytes_per_token,
            }
            for r in hardware.models.values()
        ],
        "engines": [
            {"name": r.engine.name, "numbers": numbers(r.engine, r.sources)} for r in hardware.engines.values()
        ],
        "weight formats": [
            {"name": name, "numbers": numbers(f, dict.fromkeys(f._fields[:-1], f.source))}
            for name, f in FORMATS.items()
        ],
    }


@app.callback()
def devices(context: typer.Context, file: File = None, json: Json = False) -> None:
    """List devices, models and engines."""
    if context.invoked_subcommand is not None:
        return
    hardware = user.load(file)
    if json:
        tables.print_json(as_json(hardware))
        return
    gpus = Table(
        "device", "TFLOP/s", "GB/s", "GB", "NVLink GB/s", "PCIe GB/s", "t0 us", "eB", "eF", "q", "fit", box=None
    )
    for record in hardware.devices.values():
        d = record.device
        rates = (d.peak_flops / 1e12, d.bandwidth_bytes_per_s / 1e9, d.memory_bytes / 1e9)
        links = (d.nvlink_bytes_per_s / 1e9, d.pcie_bytes_per_s / 1e9)
        knee = (d.gemm_floor_s * 1e6, d.gemm_bandwidth_efficiency, d.gemm_flops_efficiency, d.gemm_sharpness)
        fitted = record.sources["gemm_flops_efficiency"]
        gpus.add_row(d.name, *(f"{x:.4g}" for x in (*rates, *links, *knee)), fitted)
    models = Table("model", "layers", "hidden", "heads", "kv", "parameters B", "active B", "KV bytes/token", box=None)
    for shape in (record.model for record in hardware.models.values()):
        kv = "latent" if shape.latent_dim else str(shape.kv_heads)
        models.add_row(
            shape.name,
            *map(str, (shape.layers, shape.hidden, shape.heads)),
            kv,
            f"{shape.parameters / 1e9:.2f}",
            f"{shape.active_parameters / 1e9:.2f}",
            f"{shape.kv_bytes_per_token:,}",
        )
    engines = "engines: " + ", ".join(hardware.engines)
    formats = "weight formats: " + ", ".join(FORMATS)
    tables.show(
        gpus, "", models, "", engines, formats, "every number with its source: evolve devices show NAME, or --json"
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A device, model, engine or weight format.")],
    file: File = None,
    json: Json = False,
) -> None:
    """All numbers of one device, model, engine or weight format, each with its source."""
    everything = as_json(user.load(file))
    for kind, entries in everything.items():
        for found in entries:
            if name.casefold() in {found["name"].casefold(), *(a.casefold() for a in found.get("aliases", ()))}:
                _print_one(kind, found, json)
                return
    raise UserError(registry.unknown("device", name, [e["name"] for entries in everything.values() for e in entries]))


def _print_one(kind: str, found: dict[str, Any], json: bool) -> None:
    if json:
        tables.print_json(found)
        return
    table = Table(found["name"], "value", "source", box=None)
    if kind == "models":
        for key, value in found.items():
            if key not in ("name", "aliases", "source"):
                derived = key in ("parameters", "active_parameters", "kv_bytes_per_token")
                shown = value if isinstance(value, str) else f"{value:,}"
                table.add_row(key, shown, "computed from the shape" if derived else found["source"])
    else:
        for key, number in found["numbers"].items():
            value = number["value"]
            figures = value if isinstance(value, tuple) else (value,)
            table.add_row(key, ", ".join(f"{x:.6g}" for x in figures), number["source"])
    tables.show(table)


@app.command()
def cost(
    device: Annotated[str, typer.Argument(help="e.g. H100")],
    model: Annotated[str, typer.Argument(help="e.g. Llama-3.1-8B")],
    tp: Annotated[int, typer.Option(help="Tensor parallelism.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline parallelism.")] = 1,
    ep: Annotated[int, typer.Option(help="Expert parallelism.")] = 1,
    engine: Annotated[str, typer.Option(help="Engine whose overhead is added.")] = DEFAULT_ENGINE,
    file: File = None,
    json: Json = False,
) -> None:
    """KV capacity and the durations of typical steps of a model on a device."""
    # late: imports the compiler, a second that no other command should wait for
    from problems._hardware.step_cost import kv_capacity_tokens, step_cost, step_seconds

    hardware = user.load(file)
    if engine not in hardware.engines:
        raise UserError(registry.unknown("engine", engine, hardware.engines))
    on, of = find_device(device, hardware.devices).device, find_model(model, hardware.models).model
    coefficients = step_cost(on, of, tp, pp=pp, ep=ep, engine=hardware.engines[engine].engine)
    found: dict[str, Any] = {
        "device": on.name,
        "model": of.name,
        "tp": tp,
        "pp": pp,
        "ep": ep,
        "engine": engine,
        "kv_capacity_tokens": kv_capacity_tokens(on, of, tp, pp=pp, ep=ep),
        "prefill_ms": {n: step_seconds(coefficients, n, n * n / 2, 0, 0.0) * 1e3 for n in (128, 512, 2048, 8192)},
        "decode_ms": {n: step_seconds(coefficients, 0, 0.0, n, n * 1024.0) * 1e3 for n in (1, 8, 64, 256)},
    }
    if json:
        tables.print_json(found)
        return
    steps = Table("step", "ms", box=None)
    for n, value in found["prefill_ms"].items():
        steps.add_row(f"prompt of {n} tokens", f"{value:.2f}")
    for n, value in found["decode_ms"].items():
        steps.add_row(f"decode, {n} sequences of 1024 tokens", f"{value:.2f}")
    title = f"{of.name} on {on.name}, tp {tp}, pp {pp}, ep {ep}, {engine}"
    tables.show(title, f"room for {found['kv_capacity_tokens']:,} tokens of KV cache", steps)
