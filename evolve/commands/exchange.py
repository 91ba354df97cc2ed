"""``evolve export``, ``import`` and ``verify``: heuristics out of runs, into runs, and checked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from evaluators.evaluator import Evaluator
from evaluators.limits import Limits
from evaluators.outcome import Ok
from evolve import heuristic, tables
from evolve.commands.options import Json, Run, WeakSandbox, evaluate_programs, load_problem
from evolve.errors import UserError
from evolve.export import export as export_program
from evolve.program import Program
from evolve.store import Store


def export(
    run: Run,
    id: Annotated[int | None, typer.Argument(help="A program's id; default the champion.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("heuristic.py"),
    licence: Annotated[str, typer.Option(help="Licence to state in the file.")] = "CC0-1.0",
) -> None:
    """Write a program as one readable module that imports with nothing but numpy."""
    with Store(run) as store:
        text = export_program(store, id, licence)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror or error}") from None
    tables.console.print(f"wrote {output}; check it: evolve verify {output}", markup=False)


def import_program(run: Run, file: Annotated[Path, typer.Argument(help="A program.")]) -> None:
    """Evaluate a file on a run's train split and add it to the run; a later resume builds on it."""
    source = heuristic.read_source(file)
    with Store(run, writable=True) as store:
        config = store.config
        program = Program(len(store.programs()), source, "import", file.stem)

        async def work() -> Ok:
            evaluator = Evaluator(
                config.problem,
                decoder=config.decoder,
                limits=Limits(timeout_s=config.timeout_s, memory_bytes=config.memory_bytes),
                sets=config.own_instances,
                allow_weak_sandbox=config.allow_weak_sandbox,
            )
            async with evaluator:
                outcome = await evaluator.evaluate(source, "train")
            if not isinstance(outcome, Ok):
                raise UserError(f"{file}: {outcome.kind} at stage {outcome.stage}: {outcome.reason}")
            return outcome

        outcome = asyncio.run(work())
        with store.transaction():
            store.add_program(program)
            store.add_outcome(program.id, "train", outcome)
            store.add_tell(program.id)
    objectives = ", ".join(f"{name} {tables.figure(value)}" for name, value in outcome.objectives.items())
    tables.console.print(f"{file} is program {program.id} of {run}: {objectives} (train)", markup=False)


def verify(
    file: Annotated[Path, typer.Argument(help="An exported heuristic.")],
    allow_weak_sandbox: WeakSandbox = False,
    json: Json = False,
) -> None:
    """Evaluate an exported heuristic again; its recorded objectives must agree to the last digit."""
    source = heuristic.read_source(file)
    record = heuristic.record_of(source)
    if record is None:
        raise UserError(f"{file}: has no evolve-record line; only files written by evolve export can be verified")
    problem = load_problem(record["problem"])
    splits = [split for split in record["objectives"] if split in problem.splits]
    found, _ = evaluate_programs(
        problem,
        [heuristic.Named(str(file), source)],
        splits,
        decoder=record["decoder"],
        allow_weak_sandbox=allow_weak_sandbox,
    )
    rows = []
    for split in splits:
        outcome = found[split][str(file)]
        if not isinstance(outcome, Ok):
            raise UserError(f"{file}: {outcome.kind} at stage {outcome.stage} on {split}: {outcome.reason}")
        for name, recorded in record["objectives"][split].items():
            measured = outcome.objectives[name]
            rows.append(
                {
                    "split": split,
                    "objective": name,
                    "recorded": recorded,
                    "measured": measured,
                    "agrees": recorded == measured,
                }
            )
    if json:
        tables.print_json(
            {"file": str(file), "problem": problem.name, "agrees": all(r["agrees"] for r in rows), "rows": rows}
        )
    for row in rows if not json else []:
        mark = "agrees" if row["agrees"] else "DIFFERS"
        tables.console.print(
            f"{row['split']}: {row['objective']} recorded {row['recorded']!r}, measured {row['measured']!r}: {mark}"
        )
    wrong = [row for row in rows if not row["agrees"]]
    if wrong:
        raise UserError(
            f"{file}: {len(wrong)} of {len(rows)} objectives differ from the record: the file or the versions changed"
        )
