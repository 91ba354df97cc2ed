"""``evolve runs``, ``show``, ``front``, ``lineage`` and ``diff``: look into runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.syntax import Syntax
from rich.table import Table
from rich.tree import Tree

from evaluators.outcome import Failure, Ok
from evolve import tables
from evolve.archives.pareto import ParetoArchive
from evolve.commands.options import Json, Run, load_problem
from evolve.errors import UserError
from evolve.noise import in_words
from evolve.program import Candidate
from evolve.store import Store, run_folders

_CAPS = (
    "evaluations", "max_usd", "max_calls", "max_tokens", "max_input_tokens", "max_output_tokens", "max_seconds",
)  # fmt: skip


def runs(
    folder: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("runs"), json: Json = False
) -> None:
    """List the runs in a folder."""
    rows: list[dict[str, Any]] = []
    for path in run_folders(folder):
        rows.append({"run": str(path), **_row(path)})
    if json:
        tables.print_json(rows)
        return
    if not rows:
        tables.console.print(f"no runs in {folder}; start one: evolve run shop/job_shop", markup=False)
        return
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row.values()))
    tables.console.print(table)


def _row(path: Path) -> dict[str, Any]:
    """What the list of runs says of one; one that is damaged does not hide the others."""
    try:
        with Store(path) as store:
            return {
                "problem": store.config.problem,
                "proposer": store.config.proposer,
                "status": store.meta("status", "empty"),
                "programs": sum(store.counts().values()),
                "champion": store.meta("champion"),
            }
    except UserError as error:
        unreadable = f"unreadable: {str(error).removeprefix(f'{path}').lstrip('/: ')}"
        return {"problem": None, "proposer": None, "status": unreadable, "programs": None, "champion": None}


def show(run: Run, json: Json = False) -> None:
    """Settings, outcomes, spend, champion and test report of a run."""
    with Store(run) as store:
        config = store.config.model_dump(mode="json", exclude_none=True)
        champion = store.meta("champion", -1)
        budget = {key: config.get(key) for key in _CAPS}
        report = store.meta("report")
        found = {
            "run": str(run),
            "status": store.meta("status", "empty"),
            "settings": config,
            "outcomes": store.counts(),
            "spend": store.spend(),
            "spend_by_operator": store.spend("operator"),
            "in_flight": store.in_flight(),
            "budgets": budget,
            "elapsed_s": store.meta("elapsed_s", 0.0),
            "champion": champion,
            "archive_hash": store.archive_hash(),
            "noise": store.meta("noise", {}),
            "report": report,
        }
        source = store.program(champion).source if champion >= 0 else ""
    if json:
        tables.print_json(found)
        return
    console = tables.console
    console.print(f"{run}: {config['problem']}, {found['status']}", style="bold", markup=False)
    console.print("settings: " + ", ".join(f"{k}={v}" for k, v in config.items() if k != "out"), markup=False)
    console.print("outcomes: " + (", ".join(f"{k} {v}" for k, v in found["outcomes"].items()) or "none"))
    console.print("budgets:  " + ", ".join(f"{k} {v}" for k, v in budget.items() if v is not None))
    for name, total in [*found["spend"].items(), *found["spend_by_operator"].items()]:
        console.print(f"spend:    {name}: {tables.spend(total)}", markup=False)
    if found["in_flight"]["calls"]:
        flying = found["in_flight"]
        console.print(f"spend:    in flight: {flying['calls']} calls, at most ${flying['usd']:.4f}", markup=False)
    console.print(f"archive:  {found['archive_hash'] or 'empty'}", markup=False)
    if report:
        tables.show(*tables.report_tables(load_problem(config["problem"]), report))
    elif found["noise"]:
        tables.show(in_words(load_problem(config["problem"]), found["noise"]))
    if champion >= 0:
        console.print(f"\nchampion: program {champion}", style="bold")
        console.print(source, markup=False)


def front(run: Run, json: Json = False) -> None:
    """The Pareto front of a run, with objectives on every split that was read."""
    with Store(run) as store:
        problem = load_problem(store.config.problem)
        rows: list[dict[str, Any]] = []
        for candidate in front_of(store).members:
            outcomes = store.outcomes_of(candidate.program.id)
            rows.append(
                {
                    "id": candidate.program.id,
                    "origin": candidate.program.origin,
                    "operator": candidate.program.operator,
                    "objectives": {s: o.objectives for s, o in outcomes.items() if isinstance(o, Ok)},
                    "source": candidate.program.source,
                }
            )
    if json:
        tables.print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("origin")
    for objective in problem.objectives:
        table.add_column(f"{objective.name} {objective.unit}", justify="right")
    table.add_column("valid", justify="right")
    table.add_column("program", overflow="fold")
    for row in rows:
        values = [tables.figure(row["objectives"]["train"][o.name]) for o in problem.objectives]
        on_valid = row["objectives"].get("valid", {}).get(problem.primary.name)
        table.add_row(
            str(row["id"]),
            f"{row['origin']} {row['operator']}",
            *values,
            tables.figure(on_valid),
            _last_line(row["source"]),
        )
    tables.console.print(table)


def front_of(store: Store) -> ParetoArchive:
    """The archive of a run; its journal says who is in it, except in runs of older versions."""
    archive, numbers = ParetoArchive(load_problem(store.config.problem).objectives), store.meta("front")
    if numbers is not None:
        candidates = [Candidate(store.program(number), store.outcomes_of(number)["train"]) for number in numbers]
    else:
        outcomes = store.outcomes("train")
        candidates = [
            Candidate(program, outcomes[program.id]) for program in store.programs() if program.id in outcomes
        ]
    for candidate in candidates:
        if isinstance(candidate.outcome, Ok):
            archive.add(candidate)
    return archive


def _last_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def lineage(run: Run, id: Annotated[int, typer.Argument(help="A program's id.")], json: Json = False) -> None:
    """The ancestors of a program, back to the baselines."""
    with Store(run) as store:
        programs = store.ancestors(id)
        outcomes = store.outcomes("train")
        primary = load_problem(store.config.problem).primary.name
    rows: list[dict[str, Any]] = []
    for number in sorted(programs, reverse=True):
        program, outcome = programs[number], outcomes.get(number)
        value = outcome.objectives[primary] if isinstance(outcome, Ok) else None
        rows.append(
            {
                "id": number,
                "origin": program.origin,
                "operator": program.operator,
                "parents": list(program.parents),
                primary: value,
                "outcome": outcome.kind if outcome else "unfinished",
                "source": program.source,
            }
        )
    if json:
        tables.print_json(rows)
        return
    labels = {r["id"]: f"{r['id']} {r['origin']} {r['operator']} {primary} {tables.figure(r[primary])}" for r in rows}
    tree, shown = Tree(labels[id]), {id}

    def grow(branch: Tree, number: int) -> None:
        for parent in programs[number].parents:
            again = parent in shown
            child = branch.add(labels[parent] + (" (above)" if again and programs[parent].parents else ""))
            if not again:
                shown.add(parent)
                grow(child, parent)

    grow(tree, id)
    tables.console.print(tree)


def diff(
    run: Run,
    a: Annotated[int, typer.Argument(help="A program's id.")],
    b: Annotated[int, typer.Argument(help="Another program's id.")],
    json: Json = False,
) -> None:
    """What changed from one program of a run to another."""
    with Store(run) as store:
        first, second = store.program(a), store.program(b)
        outcomes = [store.outcomes_of(number).get("train") for number in (a, b)]
    lines = difflib.unified_diff(
        first.source.splitlines(), second.source.splitlines(), f"program {a}", f"program {b}", lineterm=""
    )
    text = "\n".join(lines)
    if json:
        tables.print_json({"a": a, "b": b, "diff": text})
        return
    for number, outcome in zip((a, b), outcomes, strict=True):
        tables.console.print(f"program {number}: {_summary(outcome)}", markup=False)
    tables.console.print(Syntax(text, "diff", background_color="default") if text else "the same text")


def _summary(outcome: Ok | Failure | None) -> str:
    if isinstance(outcome, Ok):
        return ", ".join(f"{name} {tables.figure(value)}" for name, value in outcome.objectives.items()) + " (train)"
    return f"{outcome.kind}: {outcome.reason}" if outcome else "unfinished"
