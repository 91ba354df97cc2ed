"""Lowered hooks compute what numba's do, and what the written-out arithmetic says, to the last bit."""

from __future__ import annotations

import ast
import itertools
import os

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numba import types
from one_machine import PROBLEM, Job, Machine
from plain import plain
from scalar_programs import programs

from evaluators.admission.policy import admit
from evaluators.compiler.compile import (
    THETA,
    CompileFailure,
    compile_draft,
    compile_hooks,
    draft,
    hook_signature,
    simulate,
)
from evaluators.compiler.lower import NotLowered, lower

HOOK = PROBLEM.hooks[0]


def compile_program(source, problem):
    return compile_draft(draft(source, problem), problem)


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


@PROGRAMS
@given(programs())
def test_lowered_programs_agree_with_the_arithmetic_written_out_in_python(source: str):
    lowered = compile_program(source, PROBLEM)
    assert lowered.compiler == "lowered"
    table = ROWS[::5]
    priority = plain(source)["priority"]
    mine = run(lowered, np.ascontiguousarray(table))
    expected = np.array([float(priority(Job(*row[:2]), Machine(*row[2:]))) for row in table.tolist()])
    # the smaller of 0.0 and -0.0 is either of them: adding 0.0 leaves one zero
    for i in np.flatnonzero(bits(mine + 0.0) != bits(expected + 0.0))[:1]:
        pytest.fail(f"lowered {mine[i]!r}, plain {expected[i]!r} for {table[i]}:\n{source}")


@pytest.mark.parametrize(
    "source",
    [
        hook("return job.weight if job.duration > 2 else 0"),  # arms of two types
        hook("x = 1 if job.duration < 3 else 0.5\n    return x // job.weight + 1 / x"),
        hook("return max(job.weight, 1, machine.now) + min(2, job.duration)"),
        hook("return int(job.weight) // 0 + int(job.weight) % 0 + 5 / 0"),
        hook(
            "return math.floor(job.weight) + math.ceil(job.weight) * 0.5 + math.trunc(job.weight) + round(job.weight)"
        ),
        hook("return job.weight - int(job.weight) if int(job.duration) > job.weight else -int(machine.now)"),
        hook("return max(min(int(job.weight), 3), -3) + (1 if round(job.weight) > 1e18 else 0)"),
        hook("return 0.1 + 0.2 * 3 - (7 // 2) / 3 % 4 + T[1] - K", "K = -2\nT = (1, 0.3)"),
        hook("for i in range(int(job.weight)):\n        if i > 3:\n            return i\n    return -1"),
        hook("n = 2\n    while True:\n        n += 1\n        if n > 9 or n > job.weight:\n            return n"),
        hook("x: float = job.weight\n    a, b = x, -x\n    a, b = b, a\n    return a - 2 * b"),
        hook("return job.weight ** 9 + (3 * int(job.weight)) ** 5 + pow(job.weight, 2)"),
        hook("return job.weight ** A + 2.0 ** job.weight + job.weight ** 0.5", "A = param(2.0, low=0.0, high=4.0)"),
        hook(
            "return first(job, machine)",
            "def first(a, b):\n    return last(b) - a.weight\ndef last(c):\n    return c.now",
        ),
        hook("return add(1, 2) + add(job.weight, 2)", "def add(a, b):\n    a += b\n    return a"),
        hook("return np.maximum(job.weight, np.e) + math.tau - (job.weight or 2.0) + (not job.weight < 1 < 2)"),
    ],
)
def test_what_people_write_is_lowered_and_agrees_with_numba(source: str):
    admit(source, PROBLEM)
    agree(source)


@pytest.mark.parametrize(
    "body",
    [
        "x = 0\n    if job.weight > 1:\n        x = 0.5\n    return x // job.duration",  # an integer or a float
        "return np.zeros(2)[0]",
        "return max(job.weight, 0.1) ** 2.0",  # one arm of max is a constant
        "e = 2.0\n    return job.weight ** e",
        "return job.weight ** -1",  # numba raises for zero
        "return 2 ** 0.5",
        "return round(job.weight, 2)",
        "return T[int(job.weight)]",
        "return job.weight > 1.0",
        "return math.copysign(1.0, job.weight)",
        "return 1 if 1 else job.weight",
        "while job.weight > 1:\n        pass\n    else:\n        return 1.0\n    return 2.0",
    ],
)
def test_what_is_not_plain_is_left_to_numba(body: str):
    source = hook(body, "T = (1.0, 2.0)")
    with pytest.raises(NotLowered):
        lower(ast.parse(source), PROBLEM, [hook_signature(HOOK)])
    assert compile_program(source, PROBLEM).compiler == "numba"


def test_a_simulator_takes_a_lowered_hook_for_numbas():
    for rule in PROBLEM.rules:
        lowered, compiled = compile_program(rule.source, PROBLEM), compile_hooks(rule.source, PROBLEM)
        assert lowered.compiler == "lowered"
        for instance in PROBLEM.splits["train"]():
            mine, numbas = (simulate(PROBLEM, "forward", instance.data, p) for p in (lowered, compiled))
            assert np.array_equal(mine.completion, numbas.completion)


def test_theta_replaces_the_values_of_a_lowered_program_without_compiling():
    program = compile_program(
        hook("return A * job.duration - B", "A = param(2, low=0, high=9)\nB = param(1.0, low=0, high=2)"), PROBLEM
    )
    theta = np.array([-1.0, 0.25])
    theta.setflags(write=False)
    table = np.array([[3.0, 1.0, 0.0, 0.0]])
    assert (run(program, table)[0], run(program._replace(theta=theta), table)[0]) == (5.0, -3.25)


def test_a_program_with_an_error_is_left_to_numba_which_names_it():
    with pytest.raises(CompileFailure, match=r"line 5: .*a tuple"):
        compile_program(hook("return job.weight, 1.0"), PROBLEM)
