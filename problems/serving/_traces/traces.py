"""Reader of public traces of language model servers, and the request streams they make.

Formats are recognised by the first line; ``.gz`` files are read as they are. Requests without input or
output tokens (failures, in BurstGPT) are left out and counted.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from problems.problem import BadInstance
from problems.serving._server.requests import NONE, Requests, make_requests
from problems.serving._traces.formats import FORMATS, Broken, Format, Line
from problems.serving._workloads.predictors import predict


class Trace(NamedTuple):
    """n requests as a public trace states them, in order of arrival; the first arrives at 0."""

    name: str
    format: str
    arrival_s: np.ndarray  # (n,) float64
    input_tokens: np.ndarray  # (n,) int64, >= 1
    output_tokens: np.ndarray  # (n,) int64, >= 1
    session: np.ndarray  # (n,) int64, numbered from 0, or NONE
    block_tokens: int  # tokens of a hashed block; 0: the format has none
    block_start: np.ndarray  # (n + 1,) int64, blocks of request i are blocks[block_start[i]:block_start[i + 1]]
    blocks: np.ndarray  # int64, equal ids after equal prefixes hold the same tokens
    left_out: int  # requests without input or output


def read(path: Path) -> Trace:
    """Read one trace.

    Raises
    ------
    BadInstance
        If there is no such file, its format is unknown, or a line breaks it; the message names file, line and rule.
    """
    try:
        return _read(path)
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise BadInstance(f"{path}: not a readable text file ({error})") from error


def _read(path: Path) -> Trace:

    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        numbered = ((k, text.rstrip("\r\n")) for k, text in enumerate(file, 1) if text.strip())
        first = next(numbered, None)
        if first is None:
            raise BadInstance(f"{path}: the file is empty")
        found = next(((f, line) for f in FORMATS if (line := f.recognise(first[1]))), None)
        if found is None:
            known = "; ".join(f.title for f in FORMATS)
            raise BadInstance(f"{path}, line {first[0]}: no known trace starts with {first[1][:60]!r}; known: {known}")
        shape, parse = found

        def lines() -> Iterator[tuple[int, Line]]:
            if not shape.header:
                yield first[0], parse(first[1])
            for number, text in numbered:
                try:
                    yield number, parse(text)
                except Broken as rule:
                    raise BadInstance(f"{path}, line {number}: {rule}") from None

        try:
            return _trace(path, shape, lines())
        except Broken as rule:  # of the first line
            raise BadInstance(f"{path}, line {first[0]}: {rule}") from None


def _trace(path: Path, shape: Format, lines: Iterator[tuple[int, Line]]) -> Trace:
    kept: list[tuple[float, int, int, int]] = []
    blocks: list[int] = []
    ends = [0]
    sessions: dict[object, int] = {}  # chat or session of the source -> our session
    latest, left_out = -np.inf, 0
    for number, line in lines:
        _check(f"{path}, line {number}", line, latest, shape.block_tokens)
        latest = line.arrival_s
        session = _session(line, sessions)
        if line.input_tokens == 0 or line.output_tokens == 0:
            left_out += 1
            continue
        kept.append((line.arrival_s, line.input_tokens, line.output_tokens, session))
        blocks.extend(line.blocks)
        ends.append(len(blocks))
    if not kept:
        raise BadInstance(f"{path}: the file holds no request with input and output")
    arrival, given, output, session_of = zip(*kept, strict=True)
    arrival_s = np.array(arrival)
    return Trace(
        name=path.name,
        format=shape.name,
        arrival_s=arrival_s - arrival_s[0],
        input_tokens=np.array(given, dtype=np.int64),
        output_tokens=np.array(output, dtype=np.int64),
        session=np.array(session_of, dtype=np.int64),
        block_tokens=shape.block_tokens,
        block_start=np.array(ends, dtype=np.int64),
        blocks=np.array(blocks, dtype=np.int64),
        left_out=left_out,
    )


def _check(place: str, line: Line, latest: float, block_tokens: int) -> None:
    """Refuse what contradicts the lines before, or itself."""
    if line.arrival_s < latest:
        raise BadInstance(
            f"{place}: arrivals must be in order of time, got {line.arrival_s} s after {latest} s "
            "(sort the file by time)"
        )
    if block_tokens and line.input_tokens and len(line.blocks) > -(-line.input_tokens // block_tokens):
        raise BadInstance(
            f"{place}: {len(line.blocks)} blocks of {block_tokens} tokens exceed the input of "
            f"{line.input_tokens} tokens"
        )


def _session(line: Line, sessions: dict[object, int]) -> int:
    """Our number of a line's session, which is remembered; a chat belongs to that of its parent."""
    if not line.session and line.chat == NONE:
        return NONE
    key: object = line.session or (line.parent if line.parent in sessions else line.chat)
    if key not in sessions:
        sessions[key] = sessions[None] = sessions.get(None, -1) + 1  # None: the latest number
    number = sessions[key]
    if line.chat != NONE:
        sessions[line.chat] = number
    return number


def trace_requests(
    trace: Trace, *, seed: int = 0, predictor: tuple[str, float] = ("rank", 0.7), load: float = 1.0
) -> Requests:
    """The requests of a trace, ``load`` times as fast as they came.

    Hashed blocks become sessions and prefixes: a request that repeats the leading blocks of an earlier one,
    beyond the first block, continues its session; requests with the same first block share a system prompt
    of that block.
    """
    if not 0 < load < np.inf:
        raise ValueError(f"load must be positive, got {load}")
    others: dict[str, np.ndarray] = {"session": trace.session}
    if trace.block_tokens and len(trace.blocks):
        others = _shared(trace)
    predicted = predict(trace.output_tokens, *predictor, np.random.default_rng(seed))
    return make_requests(trace.arrival_s / load, trace.input_tokens, trace.output_tokens, predicted, **others)


def _shared(trace: Trace) -> dict[str, np.ndarray]:
    """Sessions and prefixes by repeated leading blocks."""
    n = len(trace.arrival_s)
    last: dict[int, int] = {}  # block -> latest request with it
    session, depth = np.full(n, NONE, dtype=np.int64), np.zeros(n, dtype=np.int64)
    prefix = np.full(n, NONE, dtype=np.int64)
    sessions = 0
    for k in range(n):
        row = trace.blocks[trace.block_start[k] : trace.block_start[k + 1]].tolist()
        shared = next((i for i, block in enumerate(row) if block not in last), len(row))
        if shared >= 2:
            session[k] = session[last[row[shared - 1]]]
            depth[k] = shared
        else:
            session[k], sessions = sessions, sessions + 1
        if row:
            prefix[k] = row[0]
        last.update(dict.fromkeys(row, k))
    # numbered from 0; a block that one request alone starts with is no system prompt
    _, place, count = np.unique(prefix, return_inverse=True, return_counts=True)
    common = (prefix != NONE) & (count[place] > 1)
    prefix_tokens = np.where(common, np.minimum(trace.block_tokens, trace.input_tokens), 0)
    return {
        "session": session,
        "session_tokens": np.maximum(np.minimum(depth * trace.block_tokens, trace.input_tokens), prefix_tokens),
        "prefix": np.where(common, place, NONE),
        "prefix_tokens": prefix_tokens,
    }
