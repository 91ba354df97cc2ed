"""``evolve export``, ``import``, ``verify`` and ``repair``: what goes out of runs, into them, and is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluators.kinds import evaluator_of
from evaluators.outcome import Failure, Ok, Outcome
from evaluators.sandbox.limits import Limits
from evolve import heuristic, salvage, tables
from evolve.archives.digest import exact, link
from evolve.archives.pareto import ParetoArchive
from evolve.commands.options import Json, Run, WeakSandbox, evaluate_programs, load_problem
from evolve.errors import UserError
from evolve.export import export as export_program
from evolve.program import Candidate, Program
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
        program = Program(store.next_number(), source, "import", file.stem)

        async def work() -> Ok:
            problem = load_problem(config.problem)
            evaluator = evaluator_of(problem)(
                problem,
                decoder=config.decoder,
                limits=Limits(timeout_s=config.timeout_s, memory_bytes=config.memory_bytes),
                sets=config.own_instances,
                share=config.share,
                allow_weak_sandbox=config.allow_weak_sandbox,
            )
            async with evaluator:
                outcome = await evaluator.evaluate(source, "train")
            if not isinstance(outcome, Ok):
                raise UserError(f"{file}: {outcome.kind} at stage {outcome.stage}: {outcome.reason}")
            return outcome

        outcome = asyncio.run(work())
        candidate, objectives = Candidate(program, outcome), load_problem(config.problem).objectives
        chain = link(store.last_link(), candidate, objectives)
        fronts = {"front": ParetoArchive(objectives), "guide": ParetoArchive(exact(objectives))}
        for name, front in fronts.items():
            for member in [*_members(store, name), candidate]:
                front.add(member)
        with store.transaction():
            store.add_program(program)
            store.add_outcome(program.id, "train", outcome)
            store.add_tell(program.id, chain)
            for name, front in fronts.items():
                store.set_meta(name, [member.program.id for member in front.members])
    figures = ", ".join(f"{name} {tables.figure(value)}" for name, value in outcome.objectives.items())
    tables.console.print(f"{file} is program {program.id} of {run}: {figures} (train)", markup=False)


def _members(store: Store, name: str) -> list[Candidate]:
    """Those on a front, with decision times or without, as the journal has it."""
    numbers = store.meta(name, [])
    return [Candidate(store.program(number), store.outcomes_of(number)["train"]) for number in numbers]


def verify(
    file: Annotated[Path, typer.Argument(help="An exported heuristic, or a run's folder.")],
    allow_weak_sandbox: WeakSandbox = False,
    json: Json = False,
) -> None:
    """Evaluate an exported heuristic, or a run's front, again: objectives must agree to the last digit."""
    if file.is_dir():
        name, rows = _front_again(file, allow_weak_sandbox)
    else:
        name, rows = _file_again(file, allow_weak_sandbox)
    wrong = [row for row in rows if not row["agrees"]]
    if json:
        tables.print_json({"file": str(file), "problem": name, "agrees": not wrong, "rows": rows})
    for row in rows if not json else []:
        who = f"program {row['program']}, " if "program" in row else ""
        mark = "agrees" if row["agrees"] else "DIFFERS"
        values = f"recorded {row['recorded']!r}, measured {row['measured']!r}"
        tables.show(f"{who}{row['split']}: {row['objective']} {values}: {mark}")
    if wrong:
        raise UserError(
            f"{file}: {len(wrong)} of {len(rows)} objectives differ from the record: the file or the versions changed"
        )


def _file_again(file: Path, allow_weak_sandbox: bool) -> tuple[str, list[dict[str, Any]]]:
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
    rows = [
        row
        for split in splits
        for row in _compared(str(file), split, record["objectives"][split], found[split][str(file)])
    ]
    return problem.name, rows


def _front_again(folder: Path, allow_weak_sandbox: bool) -> tuple[str, list[dict[str, Any]]]:
    """Champion and front, on train and wherever else the run read them."""
    with Store(folder) as store:
        config, problem = store.config, load_problem(store.config.problem)
        numbers = sorted({*store.meta("front", []), *store.meta("guide", []), store.meta("champion", -1)} - {-1})
        programs = {number: store.program(number) for number in numbers}
        recorded = {number: store.outcomes_of(number) for number in numbers}
    config.check_files()
    names = [objective.name for objective in exact(problem.objectives)]
    splits = sorted({split for outcomes in recorded.values() for split in outcomes})
    found, _ = evaluate_programs(
        problem,
        [heuristic.Named(str(number), program.source) for number, program in programs.items()],
        splits,
        decoder=str(config.decoder),
        sets=config.own_instances,
        share=config.share,
        allow_weak_sandbox=allow_weak_sandbox,
    )
    rows = []
    for number, outcomes in recorded.items():
        for split, before in outcomes.items():
            values = {name: before.objectives[name] for name in names} if isinstance(before, Ok) else {}
            compared = _compared(f"program {number}", split, values, found[split][str(number)])
            rows += [{"program": number, **row} for row in compared]
    if not rows:
        raise UserError(f"{folder}: no program on its front yet")
    return problem.name, rows


def _compared(who: str, split: str, recorded: Mapping[str, float], outcome: Outcome) -> list[dict[str, Any]]:
    """A row per recorded objective."""
    if recorded and not isinstance(outcome, Ok):
        assert isinstance(outcome, Failure)
        raise UserError(f"{who}: {outcome.kind} at stage {outcome.stage} on {split}: {outcome.reason}")
    measured = outcome.objectives if isinstance(outcome, Ok) else {}
    return [
        {
            "split": split,
            "objective": name,
            "recorded": value,
            "measured": measured[name],
            "agrees": value == measured[name],
        }
        for name, value in recorded.items()
    ]


def repair(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Where to save a damaged run; default RUN-repaired.")] = None,
) -> None:
    """Check a run for damage, and save what can be read of a damaged one into a new folder."""
    for sentence in salvage.repair(run, out or run.with_name(f"{run.name}-repaired")):
        tables.show(sentence)
