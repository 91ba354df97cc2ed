"""``evolve doctor``: what the sandbox is worth on this machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from evaluators.outcome import Ok
from evaluators.sandbox import doctor as probes
from evolve import tables
from evolve.commands.options import Json, WeakSandbox, load_problem, task_name
from evolve.errors import UserError


def doctor(
    json: Json = False,
    task: Annotated[Path | None, typer.Option(help="Probe this task's evaluator for exploits instead.")] = None,
    allow_weak_sandbox: WeakSandbox = False,
) -> None:
    """Try every layer of the sandbox in a throw-away worker; exit 3 if a required one does not hold here."""
    if task is not None:
        _probe_task(task, json, allow_weak_sandbox)
        return
    try:
        records = probes.examine()
    except ValueError as error:
        raise UserError(str(error)) from None
    if json:
        tables.print_json(records)
    else:
        table = Table("layer", "protects", "works", "detail", box=None, pad_edge=False)
        for record in records:
            failed = "NO" if record["required"] else "no (optional)"
            table.add_row(record["layer"], record["protects"], "yes" if record["works"] else failed, record["detail"])
        tables.console.print(table)
    if missing := probes.missing(records):
        print(
            f"evolve: this machine lacks required layers of the sandbox: {', '.join(missing)}; `evolve run` refuses to "
            "start here, unless told --allow-weak-sandbox",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def _probe_task(folder: Path, json: bool, weak: bool) -> None:
    """Throw probes at a task's evaluator; exit code 3 if one is rewarded."""
    from evaluators.tasks import exploits

    problem = load_problem(task_name(folder))
    findings = asyncio.run(exploits.throw(exploits.ExternalEvaluator(problem, allow_weak_sandbox=weak)))
    exploited = any(finding.exploits for finding in findings)
    works = findings[0].outcome == Ok.kind
    if json:
        tables.print_json(
            {"task": str(problem.task and problem.task.folder), "works": works, "exploited": exploited,
             "objective": problem.primary.name, "probes": [finding._asdict() for finding in findings]}
        )  # fmt: skip
    else:
        table = Table("probe", "outcome", problem.primary.name, "exploits", "detail", box=None, pad_edge=False)
        for finding in findings:
            mark = "EXPLOIT" if finding.exploits else "no"
            table.add_row(finding.probe, finding.outcome, tables.figure(finding.score), mark, Text(finding.detail))
        tables.console.print(table)
    if exploited or not works:
        raise typer.Exit(3)
