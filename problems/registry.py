"""Problems by name: the path is the name, and nothing has to be registered."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection
from pathlib import Path

from problems import task
from problems.problem import Problem

_ROOT = Path(__file__).parent


class UnknownProblem(LookupError):
    """No problem has that name; the message suggests the closest one."""


def names() -> list[str]:
    """Names of all problems, sorted, found without importing any of them."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in _ROOT.glob("[!_]*/[!_]*.py"))


def suggest(name: str, known: Collection[str], *, cutoff: float = 0.6) -> str:
    """``; did you mean 'duration'?`` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(what: str, name: str, known: Collection[str], *, close_to: str = "") -> str:
    """The message for a name that is not known: what it is, the closest one, and all there are."""
    hint = suggest(close_to or name, known, cutoff=0.4)
    return f"unknown {what} {name!r}{hint or ';'} known: {', '.join(known)}"


def load(name: str) -> Problem:
    """Import one problem, or read a task folder; an error inside a problem's module is let through.

    Raises
    ------
    UnknownProblem
        If there is no such file, or ``task:FOLDER`` names no task.
    """
    if name.startswith(task.PREFIX):
        try:
            return task.load(Path(name.removeprefix(task.PREFIX)))
        except task.BadTask as error:
            raise UnknownProblem(str(error)) from None
    known = names()
    if name not in known:
        # a name without its family is the commonest slip
        family = next((k.split("/")[0] + "/" for k in known if k.endswith("/" + name)), "")
        raise UnknownProblem(unknown("problem", name, known, close_to=family + name))
    return importlib.import_module("problems." + name.replace("/", ".")).PROBLEM
