"""Strategies by name: the file name is the name, and nothing has to be registered.

Settings may follow the name, ``portfolio:nursery=0,patience=200``: those of the class ``PortfolioConfig``
in the strategy's file.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from evolve.errors import UserError
from evolve.strategies.strategy import Strategy
from problems.problem import Problem
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


def build(text: str, problem: Problem) -> Strategy:
    """The strategy that ``NAME`` or ``NAME:SETTING=VALUE,...`` describes.

    Raises
    ------
    UserError
        If there is no such strategy or setting, or the value is not of the setting's type.
    """
    name, _, settings = text.partition(":")
    strategy: Callable[..., Strategy] = load(name)
    if not settings:
        return strategy(problem)
    config = getattr(sys.modules[strategy.__module__], f"{strategy.__name__}Config", None)
    if config is None:
        raise UserError(f"strategy {name}: has no settings; leave out {':' + settings!r}")
    changed = dict(_setting(name, config, part) for part in settings.split(","))
    return strategy(problem, config=config(**changed))


def _setting(strategy: str, config: type[Any], text: str) -> tuple[str, float | int]:
    name, _, value = text.partition("=")
    whole = {field.name: isinstance(field.default, int) for field in fields(config)}
    if name not in whole:
        raise UserError(f"strategy {strategy}: {unknown('setting', name, whole)}")
    try:
        return name, int(value) if whole[name] else float(value)
    except ValueError:
        kind = "an integer" if whole[name] else "a number"
        raise UserError(f"strategy {strategy}: {name} must be {kind}, got {value!r}") from None
