"""Reader of the tables of numbers with sources, our own and the user's.

A table ``[NAME]`` holds one entry per number: ``key = [value, "source"]`` or, in a user's file, a
bare ``key = value``, whose source is then the file itself. ``[sources]`` spells the short names out.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from problems.problem import BadInstance


class Rule(NamedTuple):
    """What one number must be."""

    words: str
    low: float = 0.0
    above: bool = True  # low itself is excluded
    high: float = math.inf
    length: int = 0  # of a list; 0: one number
    whole: bool = False

    def broken_by(self, value: Any) -> bool:
        """Whether value is not what the rule asks for."""
        if self.length:
            one = self._replace(length=0)
            return not isinstance(value, list) or len(value) != self.length or any(map(one.broken_by, value))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return True
        return (
            (value <= self.low if self.above else value < self.low)
            or value > self.high
            or (self.whole and value != int(value))
        )


class Entry(NamedTuple):
    """One number as a file states it."""

    value: Any
    source: str


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file by name.

    Raises
    ------
    BadInstance
        If it is not a readable TOML file of tables.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInstance(f"{path}: not a readable TOML file ({error})") from None
    check_tables(content, path)
    return content


def check_tables(content: Mapping[str, Any], path: Path, place: str = "") -> None:
    """Raise BadInstance for the first entry that is not a table."""
    for name, table in content.items():
        if not isinstance(table, dict):
            raise BadInstance(f"{path}, {place}{name}: must be a table [{place}{name}], got {table!r}")


def spelled_out(content: Mapping[str, Any], key: str) -> str:
    """The source behind a short name of ``[sources]``; any other text stands for itself."""
    return str(content.get("sources", {}).get(key, key))


def entry(content: Mapping[str, Any], path: Path, name: str, key: str, value: Any, rule: Rule) -> Entry:
    """Value and source of one checked number.

    Raises
    ------
    BadInstance
        If the value breaks its rule; the message names file, table, key and rule.
    """
    source = f"{path.name}, by its author"
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str):
        value, source = value[0], spelled_out(content, value[1])
    if rule.broken_by(value):
        raise BadInstance(f"{path}, {name}.{key}: must be {rule.words}, got {value!r}")
    return Entry(value, source)


def refuse_unknown(path: Path, name: str, table: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise BadInstance for the first key of a table that has no meaning."""
    for key in table:
        if key not in known:
            raise BadInstance(f"{path}, {name}.{key}: there is no such number; known: {', '.join(known)}")
