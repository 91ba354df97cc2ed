"""``evolve problems``: what there is to work on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from evolve import tables
from evolve.commands.options import Json, load_problem
from problems import registry

app = typer.Typer(help="List problems, or show one.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def problems(context: typer.Context, json: Json = False) -> None:
    """List the problems by name."""
    if context.invoked_subcommand is not None:
        return
    found = [load_problem(name) for name in registry.names()]
    if json:
        tables.print_json(
            [{"name": p.name, "title": p.title, "objectives": [o.name for o in p.objectives]} for p in found]
        )
        return
    table = Table("name", "title", "objectives", "baselines", box=None, pad_edge=False)
    for p in found:
        table.add_row(p.name, p.title, ", ".join(o.name for o in p.objectives), str(len(p.baselines)))
    tables.console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="e.g. shop/job_shop")], json: Json = False) -> None:
    """Statement, hooks with units, objectives, splits and baselines of one problem."""
    problem = load_problem(name)
    description = tables.problem_json(problem)
    if json:
        tables.print_json(description)
        return
    console = tables.console
    console.print(f"{problem.name}: {problem.title}", style="bold")
    console.print(problem.statement.strip() + "\n", markup=False)
    for hook in problem.hooks:
        console.print(f"{hook.signature}: {hook.doc}", style="bold", markup=False)
    for hook in description["hooks"]:
        for argument in hook["arguments"]:
            table = Table(box=None, pad_edge=False)
            for column in (f"{argument['name']}.", "unit", "meaning"):
                table.add_column(column, overflow="fold")
            for field in argument["fields"]:
                table.add_row(field["name"], field["unit"], field["doc"])
            console.print(table)
    if problem.solver is not None:
        console.print(f"{problem.solver.signature}: {problem.solver.doc}", style="bold", markup=False)
        console.print(f"{problem.solver.seconds:g} s of wall-clock time for each instance")
        table = Table(box=None, pad_edge=False)
        for column in ("instance.", "form", "unit", "meaning"):
            table.add_column(column, overflow="fold")
        for row in problem.solver.fields:
            table.add_row(*row)
        console.print(table)
    console.print(
        "\nobjectives: " + "; ".join(f"{o.name} ({o.unit}, {o.direction}): {o.title}" for o in problem.objectives)
    )
    console.print("splits: " + ", ".join(f"{split} ({n})" for split, n in description["splits"].items()))
    console.print("decoders: " + ", ".join(description["decoders"]))
    console.print(f"instance files: {problem.format}\n", markup=False)
    console.print(tables.baseline_table(problem.baselines))
