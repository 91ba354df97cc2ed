"""What a worker sends to the trusted process: a fixed binary form that cannot hold code.

An answer is one byte for its kind, then either a typed failure (two bytes and text) or numbers
and arrays. The reader believes nothing: lengths, types and dimensions are checked against what
the simulator returns, and whatever does not fit is a BadAnswer.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evaluators.outcome import FAILURES, CompileError, Crashed, Failure, NonFinite, OutOfMemory

_STAGES = ("compile", "run")
# What a worker may say of itself; the rest is decided outside of it.
_KINDS = (CompileError.kind, Crashed.kind, NonFinite.kind, OutOfMemory.kind)
_DTYPES = tuple(np.dtype(t).str for t in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"))
_MAX_REASON_BYTES = 1_000
_COMPILERS = ("numba", "lowered")
_HEADER = struct.Struct("<I3d32sB")  # instances; seconds; fingerprint; compiler
_ARRAY = struct.Struct("<BB")  # dtype, dimensions
_REQUEST = struct.Struct("<II")  # instances, parameters


class Request(NamedTuple):
    """What the trusted process asks of a worker that serves."""

    positions: list[int]  # of instances in their split
    theta: np.ndarray  # (number of parameters,) float64, read-only; empty: as written


class BadAnswer(ValueError):
    """A worker's answer that no honest worker gives."""


class Layout(NamedTuple):
    """Type of one array of a solution."""

    dtype: str
    dimensions: int


@dataclass(frozen=True)
class Answer:
    """A worker's solutions, unverified, with the CPU time of each simulation."""

    solutions: list[Any]  # NamedTuples of arrays, writable
    nanoseconds: list[int]
    fingerprint: str
    sealed_at_s: float  # on the clock time.monotonic, which all processes share
    compile_s: float
    run_s: float
    compiler: str = _COMPILERS[0]


def encode_request(positions: Sequence[int], theta: Sequence[float] = ()) -> bytes:
    """Ask for instances, with other values of the parameters where any are given."""
    return _REQUEST.pack(len(positions), len(theta)) + struct.pack(
        f"<{len(positions)}I{len(theta)}d", *positions, *theta
    )


def read_request(read: Callable[[int], bytes]) -> Request | None:
    """The next request from whatever reads so many bytes; None at the end."""
    head = read(_REQUEST.size)
    if len(head) < _REQUEST.size:
        return None
    instances, values = _REQUEST.unpack(head)
    body = read(4 * instances + 8 * values)
    theta = np.frombuffer(body, np.float64, values, 4 * instances).copy()  # aligned
    theta.setflags(write=False)
    return Request(list(struct.unpack(f"<{instances}I", body[: 4 * instances])), theta)


def encode_losses(values: Sequence[float]) -> bytes:
    """One number per instance."""
    return b"L" + struct.pack(f"<{len(values)}d", *values)


def decode_losses(data: bytes, instances: int) -> list[float] | Failure:
    """Read such numbers, which may be anything but of another count.

    Raises
    ------
    BadAnswer
        If the message is neither so many numbers nor a failure.
    """
    reader = _Reader(data)
    kind = reader.take(1)
    if kind == b"F":
        return _decode_failure(reader)
    if kind != b"L" or reader.left != 8 * instances:
        raise BadAnswer("it is neither losses nor a failure")
    return list(reader.unpack(struct.Struct(f"<{instances}d")))


def encode_failure(kind: str, stage: str, reason: str) -> bytes:
    """A failure that the worker itself noticed."""
    text = reason.encode("utf-8", "replace")[:_MAX_REASON_BYTES]
    return b"F" + bytes([_KINDS.index(kind), _STAGES.index(stage)]) + text


def encode_answer(answer: Answer, fingerprint: bytes) -> bytes:
    """All solutions, as raw arrays."""
    seconds = (answer.sealed_at_s, answer.compile_s, answer.run_s)
    parts = [b"S", _HEADER.pack(len(answer.solutions), *seconds, fingerprint, _COMPILERS.index(answer.compiler))]
    for solution, nanoseconds in zip(answer.solutions, answer.nanoseconds, strict=True):
        parts.append(struct.pack("<Q", nanoseconds))
        parts += [_encode_array(np.asarray(field)) for field in solution]
    return b"".join(parts)


def _encode_array(array: np.ndarray) -> bytes:
    array = array.view(np.uint8) if array.dtype == np.bool_ else array
    head = _ARRAY.pack(_DTYPES.index(array.dtype.str), array.ndim)
    return head + struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes()


def decode(data: bytes, solution: type, layouts: Sequence[Layout], instances: int) -> Answer | Failure:
    """Read an answer; every array is copied out of the message.

    Raises
    ------
    BadAnswer
        If the message is not exactly ``instances`` solutions of the given layouts, or a failure.
    """
    reader = _Reader(data)
    kind = reader.take(1)
    if kind == b"F":
        return _decode_failure(reader)
    if kind != b"S":
        raise BadAnswer("it is neither solutions nor a failure")
    count, sealed_at_s, compile_s, run_s, fingerprint, compiler = reader.unpack(_HEADER)
    if count != instances:
        raise BadAnswer(f"{count} solutions for {instances} instances")
    if not all(math.isfinite(s) and s >= 0 for s in (sealed_at_s, compile_s, run_s)):
        raise BadAnswer("times are not finite and non-negative")
    if compiler >= len(_COMPILERS):
        raise BadAnswer("it names no known compiler")
    solutions, nanoseconds = [], []
    for _ in range(instances):
        nanoseconds.append(reader.unpack(struct.Struct("<Q"))[0])
        solutions.append(solution(*(_decode_array(reader, layout) for layout in layouts)))
    if reader.left:
        raise BadAnswer(f"{reader.left} bytes follow the last solution")
    digest = fingerprint.hex() if any(fingerprint) else ""
    return Answer(solutions, nanoseconds, digest, sealed_at_s, compile_s, run_s, _COMPILERS[compiler])


def _decode_failure(reader: _Reader) -> Failure:
    kind, stage = reader.take(2)
    if kind >= len(_KINDS) or stage >= len(_STAGES) or reader.left > _MAX_REASON_BYTES:
        raise BadAnswer("it is a failure of no known kind")
    text = reader.take(reader.left).decode("utf-8", "replace")
    # Control characters could redraw a terminal.
    reason = "".join(c if c.isprintable() else " " for c in text)
    return FAILURES[_KINDS[kind]](_STAGES[stage], reason)


def _decode_array(reader: _Reader, layout: Layout) -> np.ndarray:
    tag, dimensions = reader.unpack(_ARRAY)
    logical = np.dtype(layout.dtype)
    stored = np.dtype(np.uint8) if logical == np.bool_ else logical
    if tag >= len(_DTYPES) or _DTYPES[tag] != stored.str or dimensions != layout.dimensions:
        raise BadAnswer(f"an array is not {logical} with {layout.dimensions} dimensions")
    shape = reader.unpack(struct.Struct(f"<{dimensions}q"))
    size = math.prod(shape)
    if min(shape, default=0) < 0 or size * stored.itemsize > reader.left:
        raise BadAnswer(f"an array of shape {shape} does not fit the message")
    values = np.frombuffer(reader.take(size * stored.itemsize), stored).reshape(shape)
    return values.astype(logical)


class _Reader:
    """A message, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise BadAnswer("it ends too early")
        taken, self._data = self._data[:size], self._data[size:]
        return bytes(taken)

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))
