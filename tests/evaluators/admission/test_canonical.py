"""Canonical forms: equal for programs in other words, and never for programs that decide otherwise."""

from __future__ import annotations

import math
import random
import time
from typing import Any

import numba
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM, Job, Machine
from programs import changed, disguised, programs, reformatted, renamed, with_dead_code

from evaluators.admission.canonical import canonical_form, canonical_hash
from evaluators.admission.language import MATH, Rejection
from evaluators.admission.policy import admit
from evaluators.compiler import warmup
from evaluators.compiler.compile import CompileFailure, compile_hooks, simulate
from problems import registry
from problems.problem import NonFiniteScore

HOOKS = ("priority",)
seeds = st.integers(0, 2**32)


def key(source: str) -> str:
    return canonical_hash(source, HOOKS)


def hook(body: str, before: str = "") -> str:
    return f"import math\n{before}\ndef priority(job, machine):\n    " + body.replace("\n", "\n    ") + "\n"


SAME = {
    "names": ("x = job.weight\nreturn x * 2.0", "weight = job.weight\nreturn weight * 2.0"),
    "literals": ("return job.weight * 1.50 + 0x10", "return (job.weight * (1.5)) + +16"),
    "unreachable": ("return job.weight", "return job.weight\nreturn 2.0"),
    "unreachable after both branches": (
        "if job.weight > 1:\n    return 1.0\nreturn 2.0",
        "if job.weight > 1:\n    return 1.0\nelse:\n    return 2.0\nx = 3.0\nreturn x",
    ),
    "unreachable after an endless loop": (
        "x = 0.0\nwhile True:\n    x += 1\n    if x > job.weight:\n        return x",
        "x = 0.0\nwhile True:\n    x += 1\n    if x > job.weight:\n        return x\nreturn 3.0",
    ),
    "if False": ("return 1.0", "if False:\n    return job.weight\nreturn 1.0"),
    "if 1": ("return 1.0", "if 1:\n    return 1.0\nelse:\n    return 2.0"),
    "pass": ("return 1.0", "pass\nif job.weight > 1:\n    pass\nreturn 1.0"),
    "unread": ("return job.weight", "x = job.weight\ny = x * 2\ny += math.log(x)\nreturn job.weight"),
    "unread in a branch": ("return 1.0", "x = 1\nif job.weight > 1:\n    y = x\nreturn 1.0"),
    "unread and fed by itself": (
        "for i in range(3):\n    pass\nreturn 1.0",
        "x = 0.0\nfor i in range(3):\n    x = x + 1.0\nreturn 1.0",
    ),
    "unread pair": ("return 1.0", "x, y = 1, 2.0\nreturn 1.0"),
    "annotation": ("x = 1.0\nreturn x", "x: float = 1.0\nreturn x"),
    "docstring": ("return 1.0", '"""Why."""\nreturn 1.0'),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_in_other_words(name: str) -> None:
    one, other = (hook(body) for body in SAME[name])
    assert canonical_form(one, HOOKS) == canonical_form(other, HOOKS)


DIFFERENT = {
    "order of a sum": ("return job.weight + 0.1 + 0.2", "return job.weight + (0.1 + 0.2)"),
    "terms of a sum": ("return job.weight + 0.1 + 0.2", "return job.weight + 0.2 + 0.1"),
    "integer and float": ("return 1 // 2 * job.weight", "return 1.0 // 2 * job.weight"),
    "truth and one": ("return True * job.weight", "return 1 * job.weight"),
    "signed zero": ("return job.weight * -0.0", "return job.weight * 0.0"),
    "fields": ("return job.weight", "return job.duration"),
    "arguments": ("return max(job.weight, 1.0)", "return max(1.0, job.weight)"),
    "swapped variables": ("x = 1.0\ny = 2.0\nreturn x - y", "x = 1.0\ny = 2.0\nreturn y - x"),
    "read after the loop": (
        "x = 0\nfor x in range(3):\n    pass\nreturn x",
        "x = 0\nfor y in range(3):\n    pass\nreturn x",
    ),
    "an index that may be out of bounds": ("t = (1.0, 2.0)\nx = t[3]\nreturn 1.0", "t = (1.0, 2.0)\nreturn 1.0"),
    "a loop that may not end": ("while job.weight > 0:\n    x = 1\nreturn 1.0", "return 1.0"),
    "a power that may raise": ("x = 0 ** -int(job.weight)\nreturn 1.0", "return 1.0"),
    "break": ("while True:\n    break\nreturn 1.0", "while True:\n    pass\nreturn 1.0"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_programs_differ(name: str) -> None:
    one, other = (hook(body) for body in DIFFERENT[name])
    assert key(one) != key(other)


HELPER = """\
def helper(x):
    {}


def priority(job, machine):
    return helper(job.weight) // 2 + (2 ** 62 + helper(job.weight)) * 2
"""
RETURNS_THREE = (
    "return 3",
    "return 3\n    return 1.0",
    "if False:\n        return 1.0\n    return 3",
    "if 0.0:\n        return 1.5\n    return 3",
    "if True:\n        return 3\n    else:\n        return 1.0",
    "while False:\n        return 1.0\n    else:\n        return 3\n    return 2.5",
    "y = 2.5\n    y += x\n    if x > 2:\n        y = 1\n    return 3",
)


@pytest.mark.parametrize("body", RETURNS_THREE)
def test_dead_code_does_not_make_integers_floats(body: str):
    # as floats the sum would not wrap, and 3 // 2 would be 1.5 rounded down as a float
    source = HELPER.format(body)
    assert key(source) == key(HELPER.format("return 3"))
    program = compile_hooks(source, PROBLEM, wrappers=True)
    assert program.hooks[0](Job(3.0, 2.0), Machine(0.0, 1.0), program.theta) == float(-(2**63) + 7)


def test_helpers_and_constants_count_by_what_reaches_them_not_by_name_or_order():
    one = hook("return f(job.weight) * A + g(B)", "A = 1.5\nB = 2.5\ndef f(x):\n    return x\ndef g(x):\n    return -x")
    other = hook(
        "return h(job.weight) * D + f(E)",
        "def idle(x):\n    return D\nE = 2.5\nD = 1.50\nF = 7\ndef f(y):\n    return -y\ndef h(g):\n    return g",
    )
    assert canonical_form(one, HOOKS) == canonical_form(other, HOOKS)
    assert key(one) != key(one.replace("A = 1.5", "A = 1.25"))
    assert key(one) != key(one.replace("return -x", "return x"))


def test_bounds_of_parameters_are_part_of_the_form():
    one = hook("return A * job.weight", "A = param(1.5, low=0.5, high=3.0)")
    assert key(one) == key(one.replace("low=0.5, high=3.0", "high=3.0, low=0.50"))
    assert (
        len({key(one), *(key(one.replace(a, b)) for a, b in (("0.5,", "0.25,"), ("3.0", "4.0"), ("1.5", "1.25")))}) == 4
    )
    assert key(one) != key(one.replace("param(1.5, low=0.5, high=3.0)", "1.5"))


def test_what_calls_array_functions_keeps_its_unread_sums():
    before = "import numpy as np"
    body = "a = np.zeros(2)\nb = np.zeros(3)\nc = a + b\nreturn 1.0"
    assert key(hook(body, before)) != key(hook(body.replace("c = a + b\n", ""), before))


@pytest.mark.parametrize("text", ["x = (", "\x00", "\udc80", "9" * 50_000, "(" * 500])
def test_what_is_no_program_is_its_text(text: str):
    assert key(text) == key(text)
    assert key(text) != key(text + " #")


def test_comments_and_layout_of_other_python_do_not_count():
    one = "class A:\n    def f(self):\n        return [x for x in self]\n"
    assert key(one) == key(one.replace("\n        return", "  # why\n\n        return"))
    assert key(one) != key(one.replace("self", "this"))


def test_without_hooks_only_comments_and_layout_do_not_count():
    one = "def f(x):\n    y = 1 / x\n    return x\n"
    assert canonical_hash(one) == canonical_hash(one.replace("1 / x", "(1 / x)  # raises at 0"))
    assert canonical_hash(one) != canonical_hash(one.replace("    y = 1 / x\n", ""))
    assert canonical_hash(one, ("f",)) == canonical_hash(one.replace("    y = 1 / x\n", ""), ("f",))


def test_what_no_hook_reaches_does_not_count():
    one = "def f(x):\n    return x\ndef g(x):\n    return 2 * x\n"
    assert canonical_hash(one, ("f",)) == canonical_hash(one.replace("2 * x", "3 * x"), ("f",))
    assert canonical_hash(one, ("f", "g")) != canonical_hash(one.replace("2 * x", "3 * x"), ("f", "g"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds)
def test_the_hash_is_blind_to_disguises(source, seed):
    admit(source, PROBLEM)
    rng = random.Random(seed)
    for disguise in (renamed, with_dead_code, reformatted, disguised):
        other = disguise(source, rng)
        admit(other, PROBLEM)
        assert canonical_form(source, HOOKS) == canonical_form(other, HOOKS), other


def behaviour(source: str) -> Any:
    """Decisions on the probes, or the kind of error; None if it is not admitted or does not compile."""
    try:
        admit(source, PROBLEM)
        program = compile_hooks(source, PROBLEM)
    except (CompileFailure, Rejection):
        return None
    try:
        return [simulate(PROBLEM, "forward", p.data, program).completion.tolist() for p in PROBLEM.probes()]
    except (NonFiniteScore, ZeroDivisionError, IndexError, OverflowError) as error:
        return type(error)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds, st.booleans())
def test_equal_hashes_mean_equal_decisions(source, seed, alter):
    rng = random.Random(seed)
    other = disguised(changed(source, rng) if alter else source, rng)
    if key(source) == key(other):
        one, two = behaviour(source), behaviour(other)
        assert one is None or two is None or one == two


def test_functions_that_count_as_harmless_raise_nothing_when_compiled():
    values = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e308, -1e308, 5e-324, 171.0, -171.0, math.inf, -math.inf, math.nan)
    two = {"atan2", "copysign", "hypot", "pow"}
    lines = ["def run(x, y):", "    total = 0.0"]
    lines += [f"    total += math.{name}({'x, y' if name in two else 'x'})" for name in sorted(MATH)]
    lines += [f"    total += {name}(x)" for name in ("abs", "float", "int", "round")]
    lines += [f"    total += {name}(x, y)" for name in ("max", "min")] + ["    total += x // y + x % y + x / y"]
    lines += ["    a, b = int(x), int(y)", "    return total + a // b + a % b + a / b"]
    space: dict[str, Any] = {"math": math}
    exec("\n".join(lines), space)
    run = numba.njit("float64(float64, float64)", error_model="numpy", boundscheck=True)(space["run"])
    assert all(isinstance(run(x, y), float) for x in values for y in values)


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.load(name).hooks])
def test_baselines_have_forms_of_their_own(name: str):
    problem = registry.load(name)
    hooks = tuple(hook.name for hook in problem.hooks)
    forms = {canonical_form(rule.source, hooks) for rule in problem.rules}
    assert len(forms) == len(problem.rules)
    assert all(form.startswith("program\n") for form in forms)


QUADRATIC = {
    "chain": " x0 = 1.0\n" + "".join(f" x{i + 1} = x{i}\n" for i in range(1300)),
    "branches": " x0 = 1.0\n" + "".join(f" if x{i} > 1:\n  x{i + 1} = 1\n" for i in range(700)),
    "else": " if job.weight > 1:\n  return 1\n else:\n  pass\n" * 700,
    "nested": "".join(" " * (i + 1) + f"if job.weight > {i}:\n" for i in range(40)) + " " * 42 + "x = 1\n",
}


@pytest.mark.parametrize("name", QUADRATIC)
def test_long_programs_take_no_longer_than_they_are(name: str):
    source = f"def priority(job, machine):\n{QUADRATIC[name]} return 1.0\n"
    started = time.process_time()
    assert canonical_form(source, HOOKS).startswith("program\n")
    assert time.process_time() - started < 2.0


def test_the_program_that_says_everything_has_a_form():
    assert canonical_form(warmup.source(PROBLEM), HOOKS).startswith("program\n")
