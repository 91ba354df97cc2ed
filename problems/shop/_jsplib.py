"""Reader of job shops in the two public text formats.

Standard (OR-Library, JSPLIB): the first line is ``n m`` (jobs, machines), then one line per job
with m pairs ``machine duration``, machines from 0. What follows a ``#`` is a comment.

Taillard's own: text lines around a line of numbers that starts with ``n m``, then a line ``Times``
with the n x m durations, then a line ``Machines`` with the n x m machines, from 1. It is
recognised by the word ``Times``; one file may hold several such instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from problems.problem import BadInstance


class Text(NamedTuple):
    """One instance as it was read and checked."""

    name: str
    machine: list[list[int]]  # n rows of m, each a permutation of 0..m-1
    duration: list[list[int]]  # n rows of m, > 0


class _Line(NamedTuple):
    number: int
    words: list[str]


def read_text(path: Path) -> list[Text]:
    """Read a file, or all files of a folder in order of name (not hidden ones, not subfolders).

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    if not path.is_dir():
        return list(_read_file(path, path.stem))
    files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
    if not files:
        raise BadInstance(f"{path}: the folder holds no instance files")
    unique = len({file.stem for file in files}) == len(files)
    return [text for file in files for text in _read_file(file, file.stem if unique else file.name)]


def _read_file(path: Path, name: str) -> Iterator[Text]:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInstance(f"{path}: not a readable text file ({error})") from error
    lines = [_Line(i, words) for i, row in enumerate(content.splitlines(), 1) if (words := row.split("#")[0].split())]
    if not lines:
        raise BadInstance(f"{path}: the file is empty")
    if any(line.words[0].lower() == "times" for line in lines):
        yield from _taillard_layout(path, name, lines)
    else:
        yield _standard_layout(path, name, lines)


def _standard_layout(path: Path, name: str, lines: list[_Line]) -> Text:
    head = lines[0]
    if len(head.words) != 2:
        _refuse(path, head, f"the first line must be 'n m' (jobs, machines), got {' '.join(head.words)!r}")
    n, m = _size(path, head)
    rows = _table(path, lines[1:], n, 2 * m, f"{m} pairs 'machine duration'")
    if len(lines) > n + 1:
        _refuse(path, lines[n + 1], f"nothing may follow the {n} job lines")
    for line, row in zip(lines[1:], rows, strict=True):
        _check_route(path, line, row[::2], 0)
        _check_durations(path, line, row[1::2])
    return Text(name, [row[::2] for row in rows], [row[1::2] for row in rows])


def _taillard_layout(path: Path, name: str, lines: list[_Line]) -> Iterator[Text]:
    heads = [i for i, line in enumerate(lines) if line.words[0].lower() == "times"]
    for count, at in enumerate(heads, 1):
        if at == 0:
            _refuse(path, lines[at], "the line before 'Times' must start with 'n m' (jobs, machines)")
        n, m = _size(path, lines[at - 1])
        times, below = lines[at + 1 : at + 1 + n], lines[at + 1 + n :]
        durations = _table(path, times, n, m, f"{m} durations")
        if not below or below[0].words[0].lower() != "machines":
            _refuse(path, times[-1], f"after this line, the last of the {n} of 'Times', 'Machines' must follow")
        machines = _table(path, below[1:], n, m, f"{m} machines")
        for line, row in zip(times, durations, strict=True):
            _check_durations(path, line, row)
        for line, row in zip(below[1:], machines, strict=False):
            _check_route(path, line, row, 1)
        yield Text(
            name if len(heads) == 1 else f"{name}-{count}", [[k - 1 for k in row] for row in machines], durations
        )


def _size(path: Path, line: _Line) -> tuple[int, int]:
    numbers = _integers(path, line)
    if len(numbers) < 2 or min(numbers[:2]) < 1:
        _refuse(path, line, f"'n m' (jobs, machines) must be two positive numbers, got {' '.join(line.words)!r}")
    return numbers[0], numbers[1]


def _table(path: Path, lines: list[_Line], rows: int, columns: int, what: str) -> list[list[int]]:
    if len(lines) < rows:
        raise BadInstance(f"{path}: {rows} lines of {what} must follow, the file ends after {len(lines)}")
    table = [_integers(path, line) for line in lines[:rows]]
    for line, numbers in zip(lines, table, strict=False):
        if len(numbers) != columns:
            _refuse(path, line, f"a line must hold {what}, {columns} numbers, got {len(numbers)}")
    return table


def _check_durations(path: Path, line: _Line, durations: list[int]) -> None:
    if min(durations) < 1:
        _refuse(path, line, f"a duration must be positive, got {min(durations)}")


def _check_route(path: Path, line: _Line, machines: list[int], first: int) -> None:
    last = first + len(machines) - 1
    if sorted(machines) != list(range(first, last + 1)):
        _refuse(path, line, f"a job must visit each of the machines {first}..{last} once, got {machines}")


def _integers(path: Path, line: _Line) -> list[int]:
    for word in line.words:
        # int() alone would take "1_000" and the digits of other scripts.
        if not (word.isascii() and word.removeprefix("-").isdigit() and len(word) <= 15):
            _refuse(path, line, f"numbers must be whole and of at most 15 digits, got {word!r}")
    return [int(word) for word in line.words]


def _refuse(path: Path, line: _Line, rule: str) -> NoReturn:
    raise BadInstance(f"{path}, line {line.number}: {rule}")
