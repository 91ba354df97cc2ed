"""Lowered hooks compute what numba's do, and what the written-out arithmetic says, to the last bit."""

from __future__ import annotations

import itertools
import os
import platform

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numba import types
from one_machine import PROBLEM, Job, Machine
from plain import plain
from programs import programs

from evaluators.compile import THETA, compile_hooks, compile_program, hook_signature
from evaluators.policy import admit

HOOK = PROBLEM.hooks[0]
SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -7.5, 1e-310, 1e300, -1e300, 1e19, np.inf, -np.inf, np.nan)


def rows() -> np.ndarray:
    """Special values against each other, and random ones of all sizes."""
    rng = np.random.default_rng(7)
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL)))
    mixed = np.hstack([pairs, rng.permutation(pairs)])
    plain_sizes = rng.integers(1, 100, (120, 4)).astype(float)
    wide = rng.normal(size=(120, 4)) * 10.0 ** rng.integers(-8, 9, (120, 4))
    return np.vstack([mixed, plain_sizes, wide])


ROWS = rows()


@numba.njit(types.float64[::1](types.float64[:, ::1], types.FunctionType(hook_signature(HOOK)), THETA))
def scores(table, priority, theta):
    found = np.empty(len(table))
    for i in range(len(table)):
        row = table[i]
        found[i] = priority(Job(row[0], row[1]), Machine(row[2], row[3]), theta)
    return found


def bits(values: np.ndarray) -> np.ndarray:
    """Bit patterns, with one for all NaN."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(values), np.float64(np.nan), values).view(np.uint64)


def run(program, table: np.ndarray = ROWS) -> np.ndarray:
    return scores(table, program.hooks[0], program.theta)


def agree(source: str) -> None:
    lowered, compiled = compile_program(source, PROBLEM), compile_hooks(source, PROBLEM)
    assert lowered.compiler == "lowered", source
    mine, numbas = run(lowered), run(compiled)
    for i in np.flatnonzero(bits(mine) != bits(numbas))[:1]:
        pytest.fail(f"lowered {mine[i]!r}, numba {numbas[i]!r} for {ROWS[i]}:\n{source}")


def hook(body: str, before: str = "") -> str:
    return f"import math\nimport numpy as np\n{before}\ndef priority(job, machine):\n    {body}\n"


# Without shrinking, which compiles for minutes: a failure names the row and prints the program.
PROGRAMS = settings(
    max_examples=int(os.environ.get("EVOLVE_PROGRAMS", "50")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@PROGRAMS
@given(programs())
def test_lowered_programs_agree_with_numba_to_the_last_bit(source: str):
    admit(source, PROBLEM)
    agree(source)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="integers of what does not fit differ by processor")
@PROGRAMS
@given(programs())
def test_lowered_programs_agree_with_the_arithmetic_written_out_in_python(source: str):
    lowered = compile_program(source, PROBLEM)
    assert lowered.compiler == "lowered"
    table = ROWS[::5]
    priority = plain(source)["priority"]
    mine = run(lowered, np.ascontiguousarray(table))
    expected = np.array([float(priority(Job(*row[:2]), Machine(*row[2:]))) for row in table.tolist()])
    for i in np.flatnonzero(bits(mine) != bits(expected))[:1]:
        pytest.fail(f"lowered {mine[i]!r}, plain {expected[i]!r} for {table[i]}:\n{source}")
