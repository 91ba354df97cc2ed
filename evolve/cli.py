"""The ``evolve`` command: puts the groups of commands together and turns errors into one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import typer

from evaluators.evaluator import SandboxUnavailable
from evolve.commands import (
    bench,
    data,
    devices,
    doctor,
    evaluate,
    exchange,
    inspect,
    problems,
    prompt,
    reproduce,
    search,
    tune,
)
from evolve.errors import UserError
from problems.problem import BadInstance

app = typer.Typer(
    name="evolve",
    help="Discover scheduling heuristics with language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _add(function: Callable[..., None], name: str | None = None) -> None:
    app.command(name or function.__name__)(function)


_add(search.run)
_add(search.resume)
_add(search.replay)
_add(search.cassette)
app.add_typer(problems.app, name="problems")
app.add_typer(devices.app, name="devices")
app.add_typer(data.app, name="data")
_add(inspect.runs)
_add(inspect.show)
_add(inspect.front)
_add(inspect.lineage)
_add(inspect.diff)
_add(evaluate.evaluate)
_add(evaluate.compare)
_add(tune.tune)
_add(exchange.export)
_add(exchange.import_program, "import")
_add(exchange.verify)
_add(exchange.repair)
_add(prompt.prompt)
_add(reproduce.reproduce)
_add(doctor.doctor)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point: exit code 2 and one line for what the user can mend, 130 for Ctrl-C."""
    # a terminated run ends like an interrupted one: journal closed, workers gone
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (UserError, BadInstance, SandboxUnavailable) as error:
        print(f"evolve: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # e.g. `evolve front RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
