"""Problems by name: the path is the name, and nothing has to be registered."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from problems.problem import Problem

_ROOT = Path(__file__).parent


class UnknownProblem(LookupError):
    """No problem has that name; the message suggests the closest one."""


def names() -> list[str]:
    """Names of all problems, sorted, found without importing any of them."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in _ROOT.glob("[!_]*/[!_]*.py"))


def load(name: str) -> Problem:
    """Import one problem; an error inside its module is let through.

    Raises
    ------
    UnknownProblem
        If there is no such file.
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        close = close or [k for k in known if k.endswith("/" + name)]
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownProblem(f"unknown problem {name!r}{hint} Known: {', '.join(known)}")
    return importlib.import_module("problems." + name.replace("/", ".")).PROBLEM
