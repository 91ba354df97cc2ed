"""Hooks as native code: same numbers as plain Python, errors that reach the simulator, no wrappers."""

from __future__ import annotations

import ast
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM, Job, Machine

from evaluators.admission import parameters
from evaluators.admission.parameters import Parameter
from evaluators.compiler.compile import CompileFailure, compile_hooks, simulate, solution_layout
from problems.problem import NonFiniteScore

DATA = PROBLEM.probes()[0].data


def hook(body: str, before: str = "") -> str:
    return f"import math\nimport numpy as np\n{before}\ndef priority(job, machine):\n    {body}\n"


def run(source: str):
    return simulate(PROBLEM, "forward", DATA, compile_hooks(source, PROBLEM))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return np.zeros(3)[int(job.weight) + 3]", IndexError),
        ("return np.zeros(10**13)[0]", MemoryError),
        ("return 1.0 / (job.weight - job.weight)", NonFiniteScore),
        ("return math.log(0.0 * job.weight)", NonFiniteScore),
        ("return helper(job.weight)", IndexError),
    ],
)
def test_an_error_inside_a_hook_reaches_the_caller_of_the_simulator(body: str, error: type[Exception]):
    with pytest.raises(error):
        run(hook(body, "def helper(x):\n    return np.zeros(3)[int(x) + 3]"))


def test_the_public_way_to_call_a_kernel_gives_the_same():
    kernel = PROBLEM.simulators["forward"]
    program = compile_hooks(PROBLEM.rules[0].source, PROBLEM)
    simulated = simulate(PROBLEM, "forward", DATA, program)
    assert np.array_equal(kernel(DATA, *program.hooks, program.theta).completion, simulated.completion)


def test_smiths_rule_orders_three_jobs_by_duration_over_weight():
    program = compile_hooks(PROBLEM.rules[0].source, PROBLEM)
    data = type(DATA)(np.array([4.0, 1.0, 3.0]), np.array([1.0, 1.0, 3.0]))  # ratios 4, 1, 1: ties to the first
    for array in data:
        array.setflags(write=False)
    assert simulate(PROBLEM, "forward", data, program).completion.tolist() == [8.0, 1.0, 4.0]


def test_theta_holds_the_parameters_in_order_and_replaces_their_values_without_compiling():
    program = compile_hooks(
        hook("return A * job.duration + helper(B)", "A = param(2, low=0, high=9)\nB = param(0.5, low=0, high=1)\n")
        + "def helper(x):\n    return x * A\n",
        PROBLEM,
    )
    assert program.theta.tolist() == [2.0, 0.5]
    shortest = simulate(PROBLEM, "forward", DATA, program).completion
    theta = np.array([-2.0, 0.5])
    theta.setflags(write=False)
    longest = simulate(PROBLEM, "forward", DATA, program._replace(theta=theta)).completion
    assert np.argmin(shortest) == np.argmin(DATA.duration)
    assert np.argmin(longest) == np.argmax(DATA.duration)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=4, max_size=4))
def test_compiled_and_plain_hooks_agree_to_the_last_bit(numbers: list[float]):
    source = hook(
        "x = job.duration * A\n"
        "    for i in range(3):\n"
        "        x = max(x, job.weight) + math.sin(x) * i - abs(machine.now) / 3\n"
        "    return x if x > T[1] else -helper(x, machine)",
        "A = 1.25\nT = (1.0, 2.0)\ndef helper(x, m):\n    return math.floor(x) + m.jobs // 2 + x % 7",
    )
    plain: dict = {}
    exec(source, plain)
    job, machine = Job(*numbers[:2]), Machine(*numbers[2:])
    program = compile_with_wrappers(source)
    assert program.hooks[0](job, machine, program.theta) == plain["priority"](job, machine)


@cache
def compile_with_wrappers(source: str):
    return compile_hooks(source, PROBLEM, wrappers=True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return job.weight, 1.0", "line 5: priority must return a number on every path, got a tuple: `return job"),
        ("pass", "line 5: priority must return a number on every path, got None: `pass`"),
        ("return np.zeros(3)", "priority must return a number on every path, got an array"),
        ("return 'a'", "priority must return a number on every path, got a string"),
        ("while True:\n        pass", "priority never returns"),
        ("return job + 1.0", "there is no add(Job, a float): `return job + 1.0`"),
        ("return float(job.weight > 1)", "there is no float(a boolean)"),
        ("return math.exp(1.0, 2.0)", "there is no exp(a float, a float)"),
        ("return job.weight[1]", "there is no getitem(a float, an integer)"),
        ("return job()", "Job cannot be called"),
        ("x = 1.0\n    if job.weight > 1:\n        x = (1.0, 2.0)\n    return x", "'x' is a float in one place"),
        ("return _theta[0] + (1.0, 2.0)[3]", "tuple index out of range"),
        ("_theta[0] = 1.0\n    return 1.0", "there is no setitem(an array, an integer, a float)"),
    ],
)
def test_a_compile_error_is_one_line_about_the_program(body: str, message: str):
    with pytest.raises(CompileFailure) as failure:
        compile_hooks(hook(body), PROBLEM)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


def test_booleans_and_integers_are_numbers():
    assert run(hook("return job.weight > 3")).completion.shape == DATA.duration.shape
    assert run(hook("return int(job.weight)")).completion.shape == DATA.duration.shape


def test_a_missing_hook_is_named():
    with pytest.raises(CompileFailure, match=r"must define priority\(job, machine\) -> float"):
        compile_hooks("import math", PROBLEM)


def test_the_layout_of_solutions_comes_from_the_compiled_simulator():
    assert solution_layout(PROBLEM, "forward", DATA) == [("float64", 1)]


def test_lifting_keeps_line_numbers_and_passes_theta_to_every_function():
    tree = ast.parse(
        "A = param(1, low=0, high=2)\ndef f(x):\n    return x * A\ndef priority(job, machine):\n    return f(1.0)"
    )
    assert parameters.parameters(tree) == (Parameter("A", 1.0, 0.0, 2.0),)
    lifted = parameters.lift(tree)
    assert ast.unparse(lifted).split("\n") == [
        "def f(x, _theta):",
        "    A = _theta[0]",
        "    return x * A",
        "",
        "def priority(job, machine, _theta):",
        "    return f(1.0, _theta)",
    ]
    assert [node.lineno for node in ast.walk(lifted) if isinstance(node, ast.Return)] == [3, 5]
