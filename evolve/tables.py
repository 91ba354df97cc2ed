"""What the commands print: rich tables for people, plain objects for ``--json``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluators.outcome import Failure, Ok, Outcome
from evolve.codec import dumps
from problems.problem import Baseline, Instance, Objective, Problem, quantities

# Piped output is not bound to a terminal's width: tables must not lose columns in a log.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def show(*parts: Table | str) -> None:
    """Print tables and lines of text; text is shown as it stands."""
    for part in parts:
        # text is not wrapped: programs are copied from the screen
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def print_json(value: Any) -> None:
    """Print one JSON document, with null where a number does not apply."""
    print(dumps(value))


def figure(value: float | None) -> str:
    """A number as tables show it; a dash where it does not apply."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def problem_json(problem: Problem) -> dict[str, Any]:
    """The stable shape of ``evolve problems show NAME --json``."""
    return {
        "name": problem.name,
        "title": problem.title,
        "statement": problem.statement,
        "hooks": [
            {
                "name": hook.name,
                "signature": hook.signature,
                "doc": hook.doc,
                "arguments": [
                    {"name": name, "type": cls.__name__, "fields": [q._asdict() for q in quantities(cls)]}
                    for name, cls in hook.arguments.items()
                ],
                "returns": "float",
            }
            for hook in problem.hooks
        ],
        "form": problem.form,
        "solver": problem.solver
        and {
            "signature": problem.solver.signature,
            "doc": problem.solver.doc,
            "seconds": problem.solver.seconds,
            "fields": [field._asdict() for field in problem.solver.fields],
        },
        "objectives": [_objective_json(o) for o in problem.objectives],
        "baselines": [
            {"name": b.name, "title": b.title, "citation": b.citation, "kind": "rule" if b.is_rule else "procedure"}
            for b in problem.baselines
        ],
        "decoders": list(problem.simulators),
        "splits": {split: len(make()) for split, make in problem.splits.items()},
        "groups": sorted({i.group for make in problem.splits.values() for i in make()}),
        "format": problem.format,
    }


def _objective_json(objective: Objective) -> dict[str, str]:
    return {"name": objective.name, "title": objective.title, "unit": objective.unit, "direction": objective.direction}


def evaluation_json(
    problem: Problem, program: str, split: str, decoder: str, outcome: Outcome, instances: Sequence[Instance]
) -> dict[str, Any]:
    """The stable shape of ``evolve evaluate --json``."""
    found: dict[str, Any] = {
        "problem": problem.name,
        "program": program,
        "split": split,
        "decoder": decoder,
        "outcome": outcome.kind,
        "objectives": {},
        "groups": {},
        "instances": [],
    }
    if isinstance(outcome, Failure):
        return found | {"stage": outcome.stage, "reason": outcome.reason}
    found["objectives"] = {
        o.name: {"mean": outcome.objectives[o.name], "unit": o.unit, "direction": o.direction}
        for o in problem.objectives
    }
    found["groups"] = outcome.groups
    for k, instance in enumerate(instances):
        row: dict[str, Any] = {"name": instance.name, "group": instance.group}
        row |= {name: values[k] for name, values in outcome.values.items()}
        row |= {name: values[k] for name, values in outcome.raw.items()}
        for raw, reference in instance.references.items():
            row[f"{raw}_reference"], row[f"{raw}_reference_kind"] = reference
        found["instances"].append(row)
    return found


def evaluation_tables(problem: Problem, outcomes: Mapping[str, Outcome], split: str, decoder: str) -> list[Table | str]:
    """Objectives of each program, then its primary objective by instance group."""
    rows = [
        {"name": name, "role": "", "objectives": outcome.objectives, "groups": outcome.groups}
        for name, outcome in outcomes.items()
        if isinstance(outcome, Ok)
    ]
    title = f"{problem.name}, {split}, decoder {decoder}"
    return [title, _objective_table(problem, rows), _group_table(problem, rows)]


def reference_line(instances: Sequence[Instance]) -> str:
    """What the gaps are measured against, in words."""
    kinds = sorted({ref.kind for i in instances for ref in i.references.values()})
    return f"reference values: {', '.join(kinds) or 'none'}; {len(instances)} instances"


def report_tables(problem: Problem, report: dict[str, Any]) -> list[Table | str]:
    """The report that ends a run: a table per split, then the verdict in words."""
    parts: list[Table | str] = []
    for split, result in report["splits"].items():
        if split == "train":
            continue
        title = (
            f"{split}: {result['instances']} instances, decoder {report['decoder']}, "
            f"reference {' / '.join(result['references'])}"
        )
        rows = [row for row in result["programs"] if row["outcome"] == Ok.kind]
        rows.sort(key=lambda row: _loss(problem.primary, row))
        few = [r for r in rows if r["role"] != "baseline" or r["name"] == report["best_baseline"]]
        parts += [title, _objective_table(problem, rows, report["best_baseline"]), _group_table(problem, few), ""]
    return [*parts, *report["words"]]


def _objective_table(problem: Problem, rows: list[dict[str, Any]], baseline: str = "") -> Table:
    """A row per program: each objective and, beside a baseline, the paired difference to it."""
    primary = problem.primary
    table = Table(box=None, pad_edge=False)
    table.add_column("program", no_wrap=True)
    for objective in problem.objectives:
        table.add_column(f"{objective.name}, {objective.unit}", justify="right", no_wrap=True)
    if baseline:
        table.add_column(f"{primary.name} - {baseline} [95 %]", no_wrap=True)
    for row in rows:
        cells = [figure(row["objectives"][o.name]) for o in problem.objectives]
        interval = row.get("against_baseline", {}).get(primary.name)
        if interval:
            # one instance gives no interval; the store keeps null for what is not finite
            bounds = [interval["low"], interval["high"]]
            known = all(bound is not None and math.isfinite(bound) for bound in bounds)
            between = f" [{bounds[0]:+.2f}, {bounds[1]:+.2f}]" if known else ""
            cells.append(f"{interval['difference']:+.2f}{between}")
        budgeted = " (budgeted)" if row["role"] == "procedure" else ""
        table.add_row(row["name"] + budgeted, *cells, style="bold" if row["role"] == "champion" else "")
    return table


def _group_table(problem: Problem, rows: list[dict[str, Any]]) -> Table:
    """The primary objective by instance group, a row per program."""
    primary = problem.primary
    groups = list(rows[0]["groups"]) if rows else []
    table = Table(box=None, pad_edge=False, style="dim")
    table.add_column(f"{primary.name}, {primary.unit}, by group", no_wrap=True)
    for group in groups:
        table.add_column(group, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], *(figure(row["groups"][g].get(primary.name)) for g in groups))
    return table


def _loss(objective: Objective, row: dict[str, Any]) -> float:
    value = row["objectives"][objective.name]
    return math.inf if value is None else objective.loss(value)


def baseline_table(baselines: Sequence[Baseline]) -> Table:
    """Baselines with their titles and citations."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "title", "citation"):
        table.add_column(column, overflow="fold")
    for b in baselines:
        table.add_row(b.name + ("" if b.is_rule else " (budgeted)"), b.title, b.citation)
    return table


def spend(total: Mapping[str, float]) -> str:
    """What calls of a model, or for an operator, cost, in words."""
    return (
        f"{total['calls']:,} calls, {total['input_tokens']:,} tokens in ({total['cached_tokens']:,} cached), "
        f"{total['output_tokens']:,} out ({total['reasoning_tokens']:,} reasoning), "
        f"${total['usd']:.4f}, {total['seconds']:.0f} s"
    )
