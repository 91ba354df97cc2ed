"""Reader of programs for one server: CSV, one call per line, named columns, and a line for the host."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._programs.data import make_calls, on_host
from problems.serving._server.machine import Host
from problems.serving._traces.reader import host_of, number

FORMAT = (
    "CSV with a header: program, arrival_s, prompt_tokens, output_tokens and, optionally, after (lines of the calls "
    "it waits for, counted within the program from 0, with blanks between), continues (one of these), "
    "repeated_tokens, tool, tool_s, predicted_output, predicted_tool_s, predicted_calls, predicted_tokens; the lines "
    "of a program stand together, in order of arrival; a first line '# device=A100-80 model=Llama-3.1-8B tp=1 "
    "share=1' names the host"
)
_NEEDED = ("program", "arrival_s", "prompt_tokens", "output_tokens")
_NUMBERS = (
    "repeated_tokens",
    "tool",
    "tool_s",
    "predicted_output",
    "predicted_tool_s",
    "predicted_calls",
    "predicted_tokens",
)
_KNOWN = (*_NEEDED, *_NUMBERS, "after", "continues")
_PATIENCE_S = 1800.0


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return [_read_file(file) for file in files_of(path)]


def _read_file(path: Path) -> Instance:
    host = Host("A100-80", "Llama-3.1-8B", max_output=2048)
    numbered = lines_of(path)
    if numbered and numbered[0][1].startswith("#"):
        host = host_of(f"{path}, line {numbered[0][0]}", numbered[0][1][1:].split(), host)
        del numbered[0]
    if len(numbered) < 2:
        raise BadInstance(f"{path}: the file holds no calls")
    header = [word.strip() for word in next(csv.reader([numbered[0][1]]))]
    _check_header(f"{path}, line {numbered[0][0]}", header)
    rows = [(k, next(csv.reader([line]))) for k, line in numbered[1:]]
    for k, words in rows:
        if len(words) != len(header):
            raise BadInstance(f"{path}, line {k}: {len(words)} values for {len(header)} columns")
    table = _Table(path, [(k, dict(zip(header, words, strict=True))) for k, words in rows])
    try:
        arrival_s = np.array(table.arrival_s)
        calls = make_calls(table.edges, **{name: np.array(values) for name, values in table.columns.items()})
        data = on_host(arrival_s, calls, host, float(arrival_s[-1]) + _PATIENCE_S)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return Instance(path.stem, str(host), data)


def _check_header(place: str, header: list[str]) -> None:
    for name in header:
        if name not in _KNOWN:
            raise BadInstance(f"{place}: unknown column {name!r}; the format is {FORMAT}")
    for name in _NEEDED:
        if header.count(name) != 1:
            raise BadInstance(f"{place}: needs a column {name}; the format is {FORMAT}")


class _Table:
    """Lines of a file as columns: programs numbered in their order, calls through all programs."""

    def __init__(self, path: Path, rows: list[tuple[int, dict[str, str]]]) -> None:
        self.path = path
        self.arrival_s: list[float] = []
        self.edges: list[tuple[int, int]] = []
        self.columns: dict[str, list[float]] = {"program": [], "continues": []}
        self._names: dict[str, int] = {}
        self._first = 0
        for k, row in rows:
            self._add(f"{path}, line {k}", row)

    def _add(self, place: str, row: dict[str, str]) -> None:
        name, call = row["program"].strip(), len(self.columns["program"])
        arrival_s = number(place, "arrival_s", row["arrival_s"])
        if name not in self._names:
            self._names[name] = len(self._names)
            self._first = call
            self.arrival_s.append(arrival_s)
        elif self._names[name] != len(self._names) - 1:
            raise BadInstance(f"{place}: the lines of program {name} must stand together")
        elif arrival_s != self.arrival_s[-1]:
            raise BadInstance(f"{place}: arrival_s must be the same in all lines of program {name}")
        self.columns["program"].append(self._names[name])
        for before in row.get("after", "").split():
            self.edges.append((self._call(place, "after", before, call), call))
        source = row.get("continues", "").strip()
        self.columns["continues"].append(self._call(place, "continues", source, call) if source else -1)
        for column in ("prompt_tokens", "output_tokens", *_NUMBERS):
            if column in row:
                self.columns.setdefault(column, []).append(number(place, column, row[column]))

    def _call(self, place: str, column: str, word: str, call: int) -> int:
        if not (word.isascii() and word.isdigit()) or int(word) >= call - self._first:
            raise BadInstance(
                f"{place}: {column} must name earlier calls of the program, from 0 to {call - self._first - 1}, got "
                f"{word!r}"
            )
        return self._first + int(word)
