"""Reader of prompts with block ids: CSV, one request per line, named columns, and a line for the server."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from problems._text import files_of, lines_of
from problems.problem import BadInstance, Instance
from problems.serving._eviction.data import KINDS, MOST_TOKENS, NEVER_S, Caching, Prompts, on_host
from problems.serving._prefix.store import NOBODY

COLUMNS = (
    "CSV with a header: arrival_s, prompt_tokens, blocks (ids, separated by spaces; equal ids after equal prefixes "
    "hold the same tokens) and, optionally, session, kind (0 person, 1 tool, 2 workflow), next_s (predicted seconds "
    "until the session repeats them, empty: not again); "
)
FORMAT = COLUMNS + ("a first line '# device=H100 model=Qwen2.5-7B tp=1 blocks=2000 block_tokens=512' names the server")
_NEEDED = ("arrival_s", "prompt_tokens", "blocks")
_OPTIONAL = ("session", "kind", "next_s")
_WHOLE = ("prompt_tokens", "session", "kind")
Server = Mapping[str, str]  # what a first line says, by name
SERVER = {"device": "H100", "model": "Qwen2.5-7B", "tp": "1", "blocks": "2000", "block_tokens": "512"}


def read(path: Path) -> list[Instance]:
    """Read a file, or all ``*.csv`` of a folder in order of name.

    Raises
    ------
    BadInstance
        If there is no such file, or it breaks the format; the message names file, line and rule.
    """
    return read_files(path, SERVER, served)


def read_files(path: Path, known: Server, serve: Callable[[Prompts, Server], Any]) -> list[Instance]:
    """As read, with the names and defaults of the first line, and what makes an instance's data."""
    return [_read_file(file, known, serve) for file in files_of(path)]


def _read_file(path: Path, known: Server, serve: Callable[[Prompts, Server], Any]) -> Instance:
    numbered, server = lines_of(path), known
    if numbered and numbered[0][1].startswith("#"):
        server = _server(f"{path}, line {numbered[0][0]}", numbered[0][1], known)
        del numbered[0]
    if len(numbered) < 2:
        raise BadInstance(f"{path}: the file holds no requests")
    header = [word.strip() for word in next(csv.reader([numbered[0][1]]))]
    _check_header(f"{path}, line {numbered[0][0]}", header)
    rows = []
    for k, line in numbered[1:]:
        words = next(csv.reader([line]))
        if len(words) != len(header):
            raise BadInstance(f"{path}, line {k}: {len(words)} values for {len(header)} columns")
        rows.append(_row(f"{path}, line {k}", dict(zip(header, words, strict=True))))
    try:
        data = serve(_prompts(rows, int(server["block_tokens"])), server)
    except ValueError as error:
        raise BadInstance(f"{path}: {error}") from error
    return Instance(path.stem, f"{server['device']}, {server['model']}", data)


def _server(place: str, line: str, known: Server) -> Server:
    found = dict(known)
    for word in line[1:].split():
        name, _, value = word.partition("=")
        whole = value.isascii() and value.isdigit()
        if name not in known or not value or (name not in ("device", "model") and not whole):
            raise BadInstance(f"{place}: a server is given by {', '.join(known)}, got {word!r}")
        found[name] = value
    return found


def _check_header(place: str, header: list[str]) -> None:
    for name in header:
        if name not in (*_NEEDED, *_OPTIONAL):
            raise BadInstance(f"{place}: unknown column {name!r}; the format is {COLUMNS[:-2]}")
    for name in _NEEDED:
        if header.count(name) != 1:
            raise BadInstance(f"{place}: needs a column {name}; the format is {COLUMNS[:-2]}")


def _row(place: str, words: dict[str, str]) -> dict[str, list[float]]:
    """Numbers of each column; blocks may be none or many, the others are one, or none if optional and empty."""
    row = {}
    for name, text in words.items():
        parts = text.split()
        if name != "blocks" and (len(parts) > 1 or (not parts and name in _NEEDED)):
            raise BadInstance(f"{place}: {name} must be a number, got {text.strip()!r}")
        try:
            row[name] = [float(part) for part in parts]
        except ValueError:
            raise BadInstance(f"{place}: {name} must hold numbers, got {text.strip()!r}") from None
        if any(math.isnan(value) for value in row[name]):
            raise BadInstance(f"{place}: {name} must hold numbers, got {text.strip()!r}")
        if name in _WHOLE and any(value != round(value) for value in row[name] if abs(value) < MOST_TOKENS):
            raise BadInstance(f"{place}: {name} must be a whole number, got {text.strip()!r}")
        if name in _WHOLE and any(abs(value) >= MOST_TOKENS for value in row[name]):
            raise BadInstance(f"{place}: {name} must be below {MOST_TOKENS}, got {text.strip()!r}")
    return row


def served(prompts: Prompts, server: Server) -> Caching:
    """Prompts at the server that a first line names."""
    host = (server["device"], server["model"], int(server["tp"]))
    return on_host(prompts, host, block_tokens=int(server["block_tokens"]), blocks=int(server["blocks"]))


def _prompts(rows: list[dict[str, list[float]]], size: int) -> Prompts:
    """Requests with paths through the tree of their blocks of so many tokens."""
    n = len(rows)
    nodes: dict[tuple[int, float], int] = {}  # (parent, id) -> node
    parent: list[int] = []
    paths: list[list[int]] = []
    for row in rows:
        path: list[int] = []
        # the last token is always computed: a block with it cannot be cached
        for block in row["blocks"][: max(int(row["prompt_tokens"][0] - 1), 0) // max(size, 1)]:
            key = (path[-1] if path else NOBODY, block)
            if key not in nodes:
                nodes[key] = len(parent)
                parent.append(key[0])
            path.append(nodes[key])
        paths.append(path)
    session = [row.get("session") or [-1.0 - r] for r, row in enumerate(rows)]
    hinted = ["next_s" in row and bool(path) for row, path in zip(rows, paths, strict=True)]
    for r, row in enumerate(rows):
        if row.get("kind") and row["kind"][0] not in range(len(KINDS)):
            raise ValueError(f"kind must be 0..{len(KINDS) - 1}, got {row['kind'][0]:g} at request {r}")
    return Prompts(
        arrival_s=[row["arrival_s"][0] for row in rows],
        prompt_tokens=[row["prompt_tokens"][0] for row in rows],
        session=np.unique([s[0] for s in session], return_inverse=True)[1].reshape(-1),
        kind=[(row.get("kind") or [0.0])[0] for row in rows],
        path_start=np.cumsum([0, *map(len, paths)]),
        path=[node for path in paths for node in path],
        hint_start=np.cumsum([0, *map(int, hinted)]),
        hint_node=[path[-1] for path, with_hint in zip(paths, hinted, strict=True) if with_hint],
        hint_s=[min((rows[r]["next_s"] or [NEVER_S])[0], NEVER_S) for r in range(n) if hinted[r]],
        parent=parent,
    )
