"""``evolve doctor``: what the sandbox is worth on this machine."""

from __future__ import annotations

import sys

import typer
from rich.table import Table

from evaluators import doctor as probes
from evolve import tables
from evolve.commands.options import Json
from evolve.errors import UserError


def doctor(json: Json = False) -> None:
    """Try every layer of the sandbox in a throw-away worker; exit 3 if a required one does not hold here."""
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
