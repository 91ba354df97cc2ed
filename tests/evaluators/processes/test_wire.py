"""The form of answers: round trips, and nothing else gets through."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from evaluators.outcome import Failure
from evaluators.processes import wire


class Solution(NamedTuple):
    first: Any
    second: Any


DTYPES = [np.dtype(t) for t in ("?", "u1", "i4", "i8", "f4", "f8")]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def message(*solutions: Solution) -> bytes:
    return wire.encode_answer(wire.Answer(list(solutions), [7] * len(solutions), "", 1.0, 2.0, 3.0), b"\x01" * 32)


@settings(deadline=None)
@given(ARRAYS, ARRAYS)
def test_arrays_come_back_as_they_were(first, second):
    layouts = [wire.Layout(str(a.dtype), a.ndim) for a in (first, second)]
    answer = wire.decode(message(Solution(first, second)), Solution, layouts, 1)
    assert isinstance(answer, wire.Answer)
    for sent, got in zip((first, second), answer.solutions[0], strict=True):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape
        assert got.tobytes() == sent.tobytes()
        assert got.flags.writeable
    assert (answer.nanoseconds, answer.fingerprint) == ([7], "01" * 32)
    assert (answer.sealed_at_s, answer.compile_s, answer.run_s) == (1.0, 2.0, 3.0)


WHOLE = message(Solution(np.arange(6).reshape(2, 3), np.array([True, False])))
LAYOUTS = [wire.Layout("int64", 2), wire.Layout("bool", 1)]


def test_no_proper_prefix_is_an_answer():
    for end in range(len(WHOLE)):
        with pytest.raises(wire.BadAnswer):
            wire.decode(WHOLE[:end], Solution, LAYOUTS, 1)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_a_bad_answer_or_a_failure(noise: bytes):
    with contextlib.suppress(wire.BadAnswer):
        assert isinstance(wire.decode(noise, Solution, LAYOUTS, 1), Failure)


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_never_yields_another_layout(position: int, value: int):
    changed = bytearray(WHOLE)
    changed[position] = value
    try:
        answer = wire.decode(bytes(changed), Solution, LAYOUTS, 1)
    except wire.BadAnswer:
        return
    if isinstance(answer, wire.Answer):
        first, second = answer.solutions[0]
        assert (first.dtype, first.ndim, second.dtype, second.ndim) == (np.int64, 2, np.bool_, 1)


@pytest.mark.parametrize("kind", ["compile_error", "crashed", "non_finite", "out_of_memory"])
def test_a_failure_comes_back_with_its_reason(kind: str):
    failure = wire.decode(wire.encode_failure(kind, "run", "größer\n\x1b[2J"), Solution, LAYOUTS, 1)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.stage, failure.reason) == (kind, "run", "größer  [2J")


@pytest.mark.parametrize("kind", ["ok", "rejected", "infeasible", "timed_out"])
def test_a_worker_cannot_claim_what_others_decide(kind: str):
    with pytest.raises(ValueError, match="not in tuple"):
        wire.encode_failure(kind, "run", "")
