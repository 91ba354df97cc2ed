"""``evolve data``: public data sets, listed with their terms, fetched when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from evolve import datasets, request_files, tables
from evolve import fetch as fetching
from evolve.commands.options import Json
from evolve.errors import UserError
from problems import registry

app = typer.Typer(help="List public data sets, or fetch one.", invoke_without_command=True, rich_markup_mode=None)


def as_json(dataset: datasets.Dataset) -> dict[str, Any]:
    """One data set with its files."""
    files = [
        {"name": f.name, "url": f.url, "size_bytes": f.size_bytes, "sha256": f.sha256 or None} for f in dataset.files
    ]
    return dataset._asdict() | {"files": files}


@app.callback()
def data(context: typer.Context, json: Json = False) -> None:
    """List the data sets with licence and source; nothing is fetched."""
    if context.invoked_subcommand is not None:
        return
    if json:
        tables.print_json([as_json(dataset) for dataset in datasets.DATASETS])
        return
    table = Table("name", "family", "title and source", "licence", "size", "fetch", box=None, pad_edge=False)
    for dataset in sorted(datasets.DATASETS, key=lambda d: d.family):
        checked = dataset.files and all(file.sha256 for file in dataset.files)
        how = "by hand" if not dataset.files else "checksum" if checked else "yes"
        what = f"{dataset.title}\n{dataset.page}"
        table.add_row(dataset.name, dataset.family, what, dataset.licence, dataset.size, how)
    tables.show(table, "", "fetch one: evolve data fetch NAME")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="e.g. azure-llm-2023-conv")],
    to: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("data"),
    mirror: Annotated[str, typer.Option(help="Take the files from this address instead.")] = "",
    json: Json = False,
) -> None:
    """Fetch a data set from where its owners publish it; a known checksum must hold."""
    if name not in datasets.BY_NAME:
        raise UserError(registry.unknown("data set", name, datasets.BY_NAME))
    dataset = datasets.BY_NAME[name]
    fetched = fetching.fetch(dataset, to, mirror=mirror)
    if json:
        tables.print_json([f._asdict() | {"path": str(f.path)} for f in fetched])
        return
    for file in fetched:
        state = "fetched" if file.fetched else "was there"
        checked = "checksum holds" if file.verified else "no checksum is known"
        tables.show(f"{file.path}: {state}, {file.size_bytes:,} bytes, sha256 {file.sha256} ({checked})")
    tables.show(f"licence: {dataset.licence}; {dataset.title}; {dataset.page}")


@app.command()
def requests(
    source: Annotated[str, typer.Argument(help="A workload (docs/workloads.md), or the file of a public trace.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    count: Annotated[int, typer.Option(help="The first so many requests.")] = 500,
    seed: Annotated[int, typer.Option(help="Of a workload, and of the predictor's errors.")] = 0,
    rate: Annotated[float | None, typer.Option(help="Requests per second; default: as in the source.")] = None,
    predictor: Annotated[str, typer.Option(help="Error of predicted lengths, KIND:SIZE.")] = "rank:0.7",
    context: Annotated[int, typer.Option(help="Leave out requests with more tokens, prompt and output.")] = 131_072,
    device: Annotated[str, typer.Option(help="Whose steps serve them.")] = "A100-80",
    model: Annotated[str, typer.Option(help="The model that is served.")] = "Llama-3.1-8B",
    tp: Annotated[int, typer.Option(help="Its tensor parallelism.")] = 1,
) -> None:
    """Write requests of a workload or a public trace as instances of the serving problems."""
    kind, _, size = predictor.partition(":")
    try:
        error = (kind, float(size or 0))
    except ValueError:
        raise UserError(f"--predictor must be KIND:SIZE with a number, e.g. rank:0.7, got {predictor!r}") from None
    try:
        made = request_files.draw(source, count, seed, rate=rate, predictor=error)
        kept = request_files.write(made, out, context_tokens=context, host=(device, model, tp))
    except ValueError as rule:
        raise UserError(f"{source}: {rule}") from None
    tables.show(f"{out}: {kept:,} requests, {len(made.arrival_s) - kept:,} left out as longer than {context:,} tokens")
