"""Reader of single-machine instances: CSV files with one job ``duration,due`` per line.

The first line may be a header; blank lines are passed over. Times are whole numbers in one unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from problems._text import files_of, lines_of
from problems.problem import BadInstance


class Text(NamedTuple):
    """One file as it was read."""

    path: Path
    duration: list[int]  # > 0
    due: list[int]  # >= 0


def read_text(path: Path) -> Sequence[Text]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_file(file) for file in files_of(path)]


def _read_file(path: Path) -> Text:
    lines = lines_of(path)
    if lines and not any(character.isdigit() for character in lines[0][1]):
        del lines[0]  # a header
    if not lines:
        raise BadInstance(f"{path}: the file holds no jobs")
    jobs = [_read_line(f"{path}, line {number}", line) for number, line in lines]
    return Text(path, [duration for duration, _ in jobs], [due for _, due in jobs])


def _read_line(place: str, line: str) -> tuple[int, int]:
    words = [word.strip() for word in line.split(",")]
    if len(words) != 2:
        raise BadInstance(f"{place}: a line must hold 'duration,due', got {line.strip()!r}")
    for word in words:
        # int() alone would take "1_000" and digits of other scripts.
        if not (word.isascii() and word.removeprefix("-").isdigit() and len(word) <= 16):
            raise BadInstance(f"{place}: times must be whole numbers below 10**16 (choose a finer unit), got {word!r}")
    duration, due = int(words[0]), int(words[1])
    if duration <= 0:
        raise BadInstance(f"{place}: duration must be positive, got {duration}")
    if due < 0:
        raise BadInstance(f"{place}: due date must not be negative, got {due} (what is overdue is due at 0)")
    return duration, due
