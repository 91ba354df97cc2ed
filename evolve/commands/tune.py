"""``evolve tune``: better constants for a program, without a model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from evaluators.evaluator import Evaluator
from evaluators.optimisers import OPTIMISERS
from evaluators.sandbox.limits import Limits, available_cores
from evolve import heuristic, tables, tuning
from evolve.commands.options import Json, WeakSandbox, checked_decoder, load_problem
from evolve.errors import UserError
from problems.problem import Problem
from problems.registry import unknown


def tune(
    problem: Annotated[str, typer.Argument(help="e.g. shop/job_shop")],
    program: Annotated[str, typer.Argument(help="A file, a baseline's name, or RUN:ID.")],
    evaluations: Annotated[
        int, typer.Option(help="Effort: as many simulations as so many evaluations on train take.")
    ] = 200,
    optimiser: Annotated[str, typer.Option(help=f"{', '.join(OPTIMISERS)}.")] = "cmaes",
    lift: Annotated[
        bool, typer.Option("--lift", help="Tune the program's float literals, not only param(...).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the optimiser.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the program that is kept.")] = None,
    train: Annotated[Path | None, typer.Option(help="Your own instances to tune on.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Your own instances to confirm on.")] = None,
    decoder: Annotated[str | None, typer.Option(help="A decoder of the problem.")] = None,
    allow_weak_sandbox: WeakSandbox = False,
    json: Json = False,
) -> None:
    """Tune a program's constants on train; keep them if the program is better, checked on valid."""
    the_problem = load_problem(problem)
    if optimiser not in OPTIMISERS:
        raise UserError(unknown("optimiser", optimiser, OPTIMISERS))
    if evaluations < 1:
        raise UserError(f"--evaluations: must be at least 1, got {evaluations}")
    if seed < 0:
        raise UserError(f"--seed: must not be negative, got {seed}")
    sets = {split: path for split, path in (("train", train), ("valid", valid)) if path is not None}
    for split, path in sets.items():
        if not path.exists():
            raise UserError(f"--{split} {path}: no such file or folder")
    named = heuristic.find(the_problem, program)
    if not named.source:
        raise UserError(f"{program}: a procedure has no constants to tune; name a rule or a file")

    async def work() -> tuning.Tuned:
        evaluator = Evaluator(
            the_problem.name,
            decoder=checked_decoder(the_problem, decoder),
            workers=available_cores(),
            limits=Limits(timeout_s=60.0),
            sets=sets,
            allow_weak_sandbox=allow_weak_sandbox,
        )
        async with evaluator:
            return await tuning.tune(
                evaluator, named.source,
                evaluations=evaluations, optimiser=optimiser, seed=seed, lift=lift, name=named.name,
            )  # fmt: skip

    tuned = asyncio.run(work())
    if out is not None:
        _write(out, tuned.source)
    if json:
        tables.print_json(_document(the_problem, named.name, optimiser, tuned))
    else:
        _show(the_problem, tuned, out)


def _write(path: Path, source: str) -> None:
    try:
        path.write_text(source, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}") from None


def _document(problem: Problem, name: str, optimiser: str, tuned: tuning.Tuned) -> dict[str, Any]:
    objective, search = problem.primary.name, tuned.search
    return {
        "problem": problem.name, "program": name, "optimiser": optimiser, "kept": tuned.kept, "why": tuned.why,
        "parameters": [
            {"name": b.name, "before": b.value, "after": a.value, "low": b.low, "high": b.high, "log": b.log}
            for b, a in zip(tuned.before, tuned.after, strict=True)
        ],
        "objective": objective,
        "splits": {
            split: {
                "written": tuned.written[split].objectives[objective],
                "tuned": tuned.tuned[split].objectives[objective],
                "difference": paired.difference, "low": paired.low, "high": paired.high,
            }
            for split, paired in tuned.difference.items()
        },
        "thetas": search.thetas, "simulations": search.simulations, "seconds": search.seconds,
        "source": tuned.source,
    }  # fmt: skip


def _show(problem: Problem, tuned: tuning.Tuned, out: Path | None) -> None:
    objective, search = problem.primary, tuned.search
    table = Table(box=None, pad_edge=False)
    for column in ("parameter", "before", "after", "bounds"):
        table.add_column(column)
    for before, after in zip(tuned.before, tuned.after, strict=True):
        scale = " log" if before.log else ""
        table.add_row(before.name, f"{before.value:g}", f"{after.value:g}", f"[{before.low:g}, {before.high:g}]{scale}")
    tables.console.print(table)
    for split, paired in tuned.difference.items():
        written, found = (o[split].objectives[objective.name] for o in (tuned.written, tuned.tuned))
        tables.show(
            f"{objective.name} on {split}: {written:.3f} as written, {found:.3f} tuned {objective.unit}; "
            f"difference {paired.difference:+.3f} [{paired.low:+.3f}, {paired.high:+.3f}]"
        )
    rate = search.simulations / max(search.seconds, 1e-9)
    tables.show(f"{search.thetas} values tried, {search.simulations} simulations, {rate:.0f} per second")
    tables.show(f"{'kept' if tuned.kept else 'not kept'}: {tuned.why}")
    if out is None:
        tables.show(f"\n{tuned.source}")
    else:
        tables.show(f"wrote {out}")
