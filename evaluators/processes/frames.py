"""Plain values between a sealed process and the trusted one: typed, bounded, and never code.

A frame is its length in four bytes, one byte that says what it is, and one value: None, booleans,
64-bit integers, floats, text, lists, tuples, dictionaries and numeric numpy arrays, nested to a
bounded depth. Reading builds these and nothing else, and believes no count or size that the bytes
at hand do not bear out.
"""

from __future__ import annotations

import math
import os
import struct
from collections import deque
from typing import Any

import numpy as np

MAX_DEPTH = 16
_LENGTH = struct.Struct("<I")
_COUNT = struct.Struct("<I")
_INTEGER = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_ARRAY = struct.Struct("<BB")  # dtype, dimensions
_DTYPES = tuple(np.dtype(t).str for t in ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c16"))
_MAX_DIMENSIONS = 8


class BadFrame(ValueError):
    """Bytes that are no frame, or a value that no frame can hold; the message says what is wrong."""


def pack(kind: bytes, value: Any) -> bytes:
    """A whole frame.

    Raises
    ------
    BadFrame
        If the value is none of the admitted types, nested too deeply, or larger than 4 GiB.
    """
    body = bytearray(kind)
    _write(body, value, 0)
    if len(body) >= 2**32:
        raise BadFrame("the value is larger than 4 GiB")
    return _LENGTH.pack(len(body)) + bytes(body)


def unpack(body: bytes) -> tuple[bytes, Any]:
    """Kind and value of a frame without its length; arrays are copied and writable.

    Raises
    ------
    BadFrame
        If the bytes are not exactly one kind and one value.
    """
    reader = _Reader(body)
    kind = reader.take(1)
    value = _read(reader, 0)
    if reader.left:
        raise BadFrame(f"{reader.left} bytes follow the value")
    return kind, value


def length(head: bytes) -> int:
    """Number of bytes that follow a frame's first four."""
    return int(_LENGTH.unpack(head)[0])


def receive(descriptor: int) -> bytes | None:
    """Read one frame without its length from a blocking socket; None where no more come."""
    head = _read_exactly(descriptor, _LENGTH.size)
    return None if head is None else _read_exactly(descriptor, length(head))


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, min(size - len(data), 2**20))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def send(descriptor: int, frame: bytes) -> None:
    """Write a whole frame to a blocking socket."""
    view = memoryview(frame)
    while view:
        view = view[os.write(descriptor, view) :]


def _write(out: bytearray, value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadFrame(f"the value is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, np.ndarray | np.generic):
        _write_array(out, value)
    elif value is None or isinstance(value, bool):
        out += {None: b"N", True: b"T", False: b"F"}[value]
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise BadFrame("an integer does not fit in 64 bits")
        out += b"i" + _INTEGER.pack(value)
    elif isinstance(value, float):
        out += b"f" + _FLOAT.pack(value)
    elif isinstance(value, str):
        text = value.encode("utf-8", "replace")
        out += b"s" + _COUNT.pack(len(text)) + text
    elif isinstance(value, list | tuple | range | deque):
        out += (b"t" if isinstance(value, tuple) else b"l") + _COUNT.pack(len(value))
        for item in value:
            _write(out, item, depth + 1)
    elif isinstance(value, dict):
        out += b"d" + _COUNT.pack(len(value))
        for key, item in value.items():
            _write(out, key, depth + 1)
            _write(out, item, depth + 1)
    else:
        raise BadFrame(f"a {type(value).__name__} is no plain value: use numbers, text, lists, dicts or numpy arrays")


def _write_array(out: bytearray, value: Any) -> None:
    """An array; a numpy scalar differs from one of no dimensions by its tag."""
    array = np.asarray(value)
    name = array.dtype.newbyteorder("<").str.replace("<", np.dtype("i8").str[0])
    if name not in _DTYPES or array.ndim > _MAX_DIMENSIONS:
        raise BadFrame(f"an array of {array.dtype} with {array.ndim} dimensions is not admitted: use numbers")
    array = array.astype(name, copy=False)
    out += b"z" if isinstance(value, np.generic) else b"a"
    out += _ARRAY.pack(_DTYPES.index(name), array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
    out += array.tobytes()


def _read(reader: _Reader, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadFrame(f"a value is nested more than {MAX_DEPTH} levels deep")
    tag = reader.take(1)
    if tag in (b"N", b"T", b"F"):
        return {b"N": None, b"T": True, b"F": False}[tag]
    if tag == b"i":
        return reader.unpack(_INTEGER)[0]
    if tag == b"f":
        return reader.unpack(_FLOAT)[0]
    if tag == b"s":
        return reader.take(reader.unpack(_COUNT)[0]).decode("utf-8", "replace")
    if tag in (b"l", b"t"):
        items = [_read(reader, depth + 1) for _ in range(_count(reader))]
        return items if tag == b"l" else tuple(items)
    if tag == b"d":
        return dict(_read_item(reader, depth + 1) for _ in range(_count(reader)))
    if tag in (b"a", b"z"):
        return _read_array(reader, scalar=tag == b"z")
    raise BadFrame(f"{tag!r} is the tag of no value")


def _count(reader: _Reader) -> int:
    """Number of items, of which each takes a byte at least."""
    found: int = reader.unpack(_COUNT)[0]
    if found > reader.left:
        raise BadFrame(f"{found} items in {reader.left} bytes")
    return found


def _read_item(reader: _Reader, depth: int) -> tuple[Any, Any]:
    key = _read(reader, depth)
    if not isinstance(key, str | int | float | bool | None):
        raise BadFrame(f"a {type(key).__name__} is no key of a dictionary")
    return key, _read(reader, depth)


def _read_array(reader: _Reader, *, scalar: bool) -> Any:
    tag, dimensions = reader.unpack(_ARRAY)
    if tag >= len(_DTYPES) or dimensions > (0 if scalar else _MAX_DIMENSIONS):
        raise BadFrame("an array of no known type")
    dtype = np.dtype(_DTYPES[tag])
    shape = reader.unpack(struct.Struct(f"<{dimensions}q"))
    size = math.prod(shape)
    if min(shape, default=0) < 0 or size * dtype.itemsize > reader.left:
        raise BadFrame(f"an array of shape {shape} does not fit the frame")
    data = reader.take(size * dtype.itemsize)
    # a byte that is neither 0 nor 1 is no boolean, whatever it is read as
    array = np.frombuffer(data, np.uint8) != 0 if dtype == np.bool_ else np.frombuffer(data, dtype)
    found = array.reshape(shape).copy()
    return found[()] if scalar else found


class _Reader:
    """A frame, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise BadFrame("it ends too early")
        taken, self._data = self._data[:size], self._data[size:]
        return bytes(taken)

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))
