"""``evolve evaluate`` and ``compare``: sealed evaluation of any program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from evaluators.outcome import Ok, Outcome
from evolve import heuristic, tables
from evolve.commands.options import (
    Json,
    WeakSandbox,
    checked_decoder,
    checked_split,
    evaluate_programs,
    load_problem,
)
from evolve.errors import UserError

_ProblemName = Annotated[str, typer.Argument(help="e.g. shop/job_shop")]
_Split = Annotated[str, typer.Option(help="train, valid, test or a shift suite.")]
_Instances = Annotated[Path | None, typer.Option(help="Your own instance file or folder, instead of a split.")]
_Decoder = Annotated[str | None, typer.Option(help="A decoder of the problem.")]
_OWN = "own"


def evaluate(
    problem: _ProblemName,
    program: Annotated[str, typer.Argument(help="A file, a baseline's name, or RUN:ID.")],
    split: _Split = "test",
    instances: _Instances = None,
    decoder: _Decoder = None,
    allow_weak_sandbox: WeakSandbox = False,
    json: Json = False,
) -> None:
    """Evaluate one program, sealed, and print its objectives by instance group."""
    the_problem = load_problem(problem)
    decoder = checked_decoder(the_problem, decoder)
    split, sets = _target(split if instances else checked_split(the_problem, split), instances)
    named = heuristic.find(the_problem, program)
    found, sources = evaluate_programs(
        the_problem, [named], [split], decoder=decoder, sets=sets, allow_weak_sandbox=allow_weak_sandbox
    )
    outcome = found[split][named.name]
    shown = str(instances or split)
    if json:
        tables.print_json(tables.evaluation_json(the_problem, named.name, shown, decoder, outcome, sources[split]))
    elif isinstance(outcome, Ok):
        tables.show(*tables.evaluation_tables(the_problem, found[split], shown, decoder))
        tables.console.print(tables.reference_line(sources[split]))
    _ok(named.name, outcome)


def _ok(name: str, outcome: Outcome) -> Ok:
    if not isinstance(outcome, Ok):
        raise UserError(f"{name}: {outcome.kind} at stage {outcome.stage}: {outcome.reason}")
    return outcome


def compare(
    problem: _ProblemName,
    programs: Annotated[list[str], typer.Argument(help="Two or more: files, baselines' names, RUN:ID.")],
    split: _Split = "test",
    instances: _Instances = None,
    decoder: _Decoder = None,
    allow_weak_sandbox: WeakSandbox = False,
    json: Json = False,
) -> None:
    """Compare programs instance by instance: paired differences to the first, 95 % intervals."""
    from evolve.statistics import compare as paired_difference

    the_problem = load_problem(problem)
    if len(programs) < 2:
        raise UserError("compare needs two programs or more")
    decoder = checked_decoder(the_problem, decoder)
    split, sets = _target(split if instances else checked_split(the_problem, split), instances)
    named = [heuristic.find(the_problem, text) for text in dict.fromkeys(programs)]
    found, sources = evaluate_programs(
        the_problem, named, [split], decoder=decoder, sets=sets, allow_weak_sandbox=allow_weak_sandbox
    )
    outcomes, shown = {name: _ok(name, outcome) for name, outcome in found[split].items()}, str(instances or split)
    first, *others = outcomes
    rows: list[dict[str, Any]] = []
    for name in others:
        for objective in the_problem.objectives:
            paired = paired_difference(the_problem, objective, outcomes[name], outcomes[first], sources[split])
            rows.append(
                {
                    "program": name, "against": first, "objective": objective.name, "unit": objective.unit,
                    "difference": paired.difference, "low": paired.low, "high": paired.high, "instances": paired.n,
                }
            )  # fmt: skip
    if json:
        evaluations = [
            tables.evaluation_json(the_problem, name, shown, decoder, outcome, sources[split])
            for name, outcome in outcomes.items()
        ]
        tables.print_json({"problem": problem, "split": shown, "evaluations": evaluations, "differences": rows})
        return
    tables.show(*tables.evaluation_tables(the_problem, outcomes, shown, decoder))
    tables.console.print(tables.reference_line(sources[split]) + "\n")
    tables.show(f"difference to {first}, paired by instance")
    table = Table(box=None, pad_edge=False)
    for column in ("program", "objective", "difference", "95 % interval", "instances"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["program"], f"{row['objective']} {row['unit']}", f"{row['difference']:+.3f}",
            f"[{row['low']:+.3f}, {row['high']:+.3f}]", str(row["instances"]),
        )  # fmt: skip
    tables.console.print(table)


def _target(split: str, instances: Path | None) -> tuple[str, dict[str, Path]]:
    if instances is None:
        return split, {}
    if not instances.exists():
        raise UserError(f"--instances {instances}: no such file or folder")
    return _OWN, {_OWN: instances}
