"""Strategies by name: the file name is the name, and nothing has to be registered."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from evolve.errors import UserError
from evolve.strategies.strategy import Strategy
from problems.registry import unknown

_ROOT = Path(__file__).parent
_NOT_STRATEGIES = ("__init__", "registry", "strategy")


class UnknownStrategy(UserError):
    """No strategy has that name; the message suggests the closest one."""


def names() -> list[str]:
    """Names of all strategies, sorted, found without importing any of them."""
    return sorted(path.stem for path in _ROOT.glob("[!_]*.py") if path.stem not in _NOT_STRATEGIES)


def load(name: str) -> type[Strategy]:
    """Import one strategy: the only class of that kind that its file defines.

    Raises
    ------
    UnknownStrategy
        If there is no such file.
    """
    known = names()
    if name not in known:
        raise UnknownStrategy(unknown("strategy", name, known))
    module = importlib.import_module(f"{__package__}.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Strategy) and member.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__file__} must define one strategy, it defines {len(found)}"
    return found[0]
