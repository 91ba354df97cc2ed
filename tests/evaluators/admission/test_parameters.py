"""Parameters: their form, lifting them, and writing values back."""

import ast
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_machine import PROBLEM

from evaluators.admission import parameters
from evaluators.admission.literals import with_parameters, without_parameters
from evaluators.admission.policy import Rejection, admit
from evaluators.compiler.compile import compile_hooks

TWO = """import math

A = param(1.5, low=0.1, high=10.0, log=True)  # Größe
B = param(-2, low=-4, high=4); C = 3.0


def helper(x):
    return x * A


def priority(job, machine):
    return helper(job.duration) + B
"""


def test_the_scale_of_a_parameter_is_read():
    assert [p.log for p in parameters.parameters(ast.parse(TWO))] == [True, False]


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ("param(1.0, low=0.0, high=2.0, log=True)", "low must be above 0"),
        ("param(1.0, low=0.5, high=2.0, log=1)", "True or False"),
        ("param(1.0, low=0.5, high=2.0, scale=True)", "a parameter is written"),
        ("param(3.0, low=0.5, high=2.0)", "within its bounds"),
    ],
)
def test_a_wrong_form_is_refused_in_one_sentence(call, rule):
    with pytest.raises(Rejection, match=rule):
        admit(f"A = {call}\ndef priority(job, machine):\n    return A\n", PROBLEM)


@pytest.mark.parametrize(
    ("bound", "admitted"), [("K", False), ("K + 1", False), ("1, K", False), ("int(K)", True), ("int(K) + 1", True)]
)
def test_a_range_takes_no_parameter_unless_it_is_made_whole(bound, admitted):
    source = "K = param(3, low=1, high=9)\n\n\ndef priority(job, machine):\n    total = 0.0\n"
    source += f"    for i in range({bound}):\n        total += job.weight\n    return total\n"
    if admitted:
        admit(source, PROBLEM)
    else:
        with pytest.raises(Rejection, match=r"write int\(K\)"):
            admit(source, PROBLEM)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.floats(0.1, 10.0), st.floats(-4, 4))
def test_values_written_in_read_back_to_the_last_bit(a, b):
    source = parameters.with_values(TWO, [a, b])
    found = [p.value for p in parameters.parameters(ast.parse(source))]
    assert [struct.pack("d", v) for v in found] == [struct.pack("d", v) for v in (a, b)]
    assert "# Größe" in source
    assert "; C = 3.0" in source


@given(finite, finite)
def test_values_beyond_a_bound_are_put_on_it(a, b):
    found = parameters.parameters(ast.parse(parameters.with_values(TWO, [a, b])))
    assert all(p.low <= p.value <= p.high for p in found)


def test_writing_the_written_values_changes_floats_to_no_other_number():
    written = parameters.with_values(TWO, [1.5, -2.0])
    assert written == TWO.replace("param(-2,", "param(-2.0,")


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [float("nan"), 0.0], [1.0, float("inf")]])
def test_wrong_values_are_refused(values):
    with pytest.raises(ValueError, match=r"finite|argument"):
        parameters.with_values(TWO, values)


def test_helpers_read_parameters_and_new_values_take_effect():
    job, machine = PROBLEM.hooks[0].arguments.values()
    arguments = (job(2.0, 3.0), machine(0.0, 1.0))
    program = compile_hooks(TWO, PROBLEM, wrappers=True)
    assert program.hooks[0](*arguments, program.theta) == 2 * 1.5 - 2
    other = np.array([10.0, 1.0])
    other.setflags(write=False)
    assert program.hooks[0](*arguments, other) == 2 * 10 + 1
    again = compile_hooks(parameters.with_values(TWO, [10.0, 1.0]), PROBLEM)
    assert again.theta.tolist() == [10.0, 1.0]


RULE = """import math

HALF = -0.5
TABLE = (1.5, 2.5)


def priority(job, machine):
    total = 0.0
    for i in range(2):
        total += TABLE[i] * job.weight ** 2.0 + job.duration ** 0.3
    C1 = 3
    return total * 1.25 if job.duration > 2.0 else -0.75 * C1 * HALF
"""


def test_float_literals_become_parameters_and_integers_stay():
    lifted = with_parameters(RULE)
    admit(lifted, PROBLEM)
    values = [p.value for p in parameters.parameters(ast.parse(lifted))]
    assert sorted(values) == [-0.5, 0.3, 0.75, 1.25, 2.0]  # not 0.0, the tuple, the square, the integers
    assert "range(2)" in lifted
    assert "job.weight ** 2.0" in lifted


@given(st.floats(0.5, 20), st.floats(0.5, 10))
def test_a_lifted_rule_decides_as_before(duration, weight):
    job, machine = PROBLEM.hooks[0].arguments.values()
    arguments = (job(duration, weight), machine(0.0, 1.0))

    def value(source: str) -> float:
        space = {"param": lambda value, low, high, log=False: value}
        exec(source, space)
        return space["priority"](*arguments)

    assert value(with_parameters(RULE)) == value(RULE)


def test_a_program_without_floats_is_left_alone():
    source = "def priority(job, machine):\n    return job.duration * 2\n"
    assert with_parameters(source) == source


def test_a_number_that_a_word_follows_at_once_is_kept_apart():
    lifted = with_parameters("def priority(job, machine):\n    return 2.5if job.weight > 3.5 else 1\n")
    assert "return C1 if job.weight > C2 else 1" in lifted


def test_lifting_twice_changes_nothing_more():
    once = with_parameters(RULE)
    assert with_parameters(once) == once


WEIGHTED = """import math


def priority(job, machine):
    late = (job.weight + 1.5) ** math.tanh(0.1 - 0.4 * job.duration)
    return 2.5 * (job.duration + 0.3) ** (-0.2) * late + job.weight ** 2.0
"""


def test_exponents_and_weights_within_tanh_may_change_their_sign():
    found = {p.value: p for p in parameters.parameters(ast.parse(with_parameters(WEIGHTED)))}
    assert set(found) == {2.5, 0.3, -0.2, 1.5, 0.1, 0.4}
    assert all(found[v].low < 0 < found[v].high for v in (-0.2, 0.1, 0.4))
    assert all(found[v].log and found[v].low > 0 for v in (2.5, 0.3, 1.5))


def test_lifted_literals_become_literals_of_three_digits_again():
    lifted = with_parameters(WEIGHTED)
    names = {p.name for p in parameters.parameters(ast.parse(lifted))}
    assert without_parameters(lifted, names) == WEIGHTED
    values = [p.value * 1.00049 for p in parameters.parameters(ast.parse(lifted))]
    assert without_parameters(parameters.with_values(lifted, values), names) == WEIGHTED
    negative = without_parameters(parameters.with_values(lifted, [-abs(v) / 3 for v in values]), {"C6"})
    assert "** (-0.0667)" in negative


def test_parameters_that_were_written_stay():
    lifted = with_parameters(TWO)
    assert without_parameters(lifted, set()) == lifted
