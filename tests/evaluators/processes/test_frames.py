"""Frames hold plain values and nothing else, and reading one never trusts its sizes."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.processes import frames

_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=20,
)


def read(frame: bytes):
    assert frames.length(frame[:4]) == len(frame) - 4
    return frames.unpack(frame[4:])


@given(_VALUES.filter(lambda v: "\ud800" not in repr(v)))
def test_plain_values_come_back_as_they_were(value):
    if "\\ud" in repr(value):  # lone surrogates are no text
        return
    kind, found = read(frames.pack(b"A", value))
    assert kind == b"A"
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "i8", "f4", "f8", ">i8", "c16"])
def test_arrays_keep_type_and_shape_and_are_writable(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    _, found = read(frames.pack(b"A", array))
    assert found.shape == (2, 3)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert (found == array).all()
    found[0, 0] = 1


def test_numpy_scalars_stay_numpy_scalars():
    _, found = read(frames.pack(b"A", np.float64(2.5)))
    assert isinstance(found, np.float64)
    assert found == 2.5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "64 bits"),
        (object(), "object is no plain value"),
        (print, "builtin_function_or_method is no plain value"),
        (np.array([None]), "not admitted"),
        ({1, 2}, "set is no plain value"),
        (b"x", "bytes is no plain value"),
    ],
)
def test_what_is_not_plain_is_refused_by_name(value, message):
    with pytest.raises(frames.BadFrame, match=message):
        frames.pack(b"A", value)


def test_a_value_that_contains_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(frames.BadFrame, match="nested"):
        frames.pack(b"A", loop)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_plain_value_or_a_bad_frame(data):
    with contextlib.suppress(frames.BadFrame):
        frames.unpack(data)


@pytest.mark.parametrize(
    "body",
    [
        b"Al\xff\xff\xff\xff",  # four thousand million items
        b"As\xff\xff\xff\xff",
        b"Aa\x08\x01" + (2**40).to_bytes(8, "little"),  # an array of a terabyte
        b"Aa\x08\x02" + (2**33).to_bytes(8, "little") * 2,  # whose size wraps in 64 bits
        b"Aa\x08\x01" + (-1).to_bytes(8, "little", signed=True),
        b"Az\x08\x01" + (0).to_bytes(8, "little"),
        b"A" + b"l\x01\x00\x00\x00" * 40 + b"N",  # too deep
        b"Ad\x01\x00\x00\x00l\x00\x00\x00\x00N",  # a list as a key
        b"ANN",
        b"",
    ],
)
def test_forged_sizes_are_refused(body):
    with pytest.raises(frames.BadFrame):
        frames.unpack(body)
