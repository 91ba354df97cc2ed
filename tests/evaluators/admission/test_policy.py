"""What the policy admits and refuses, and that no text can hurt the process that decides."""

from __future__ import annotations

import ast
import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM

from evaluators.admission import language
from evaluators.admission.policy import Rejection, admit
from evaluators.compiler import warmup


def reason(source: str) -> str:
    with pytest.raises(Rejection) as refusal:
        admit(source, PROBLEM)
    return str(refusal.value)


def in_hook(body: str) -> str:
    before = "import math\nimport numpy as np\nA = 2.0\ndef helper(x):\n    return x\n"
    return f"{before}def priority(job, machine):\n    {body}\n"


@pytest.mark.parametrize("rule", PROBLEM.rules, ids=lambda rule: rule.name)
def test_baselines_are_admitted(rule):
    admit(rule.source, PROBLEM)


def test_the_program_that_warms_up_the_compiler_is_admitted():
    admit(warmup.source(PROBLEM), PROBLEM)


ADMITTED = {
    "docstrings": '"""Module."""\ndef priority(job, machine):\n    """Hook."""\n    return 1.0',
    "annotations": "def priority(job, machine) -> float:\n    x: float = 1.0\n    return x",
    "parameter": "A = param(-1.5, low=-2, high=+3)\ndef priority(job, machine):\n    return A",
    "constants": "A = -1\nB = (1, -2.5)\nC = True\ndef priority(job, machine):\n    return A + B[1]",
    "helper reads fields": "def f(j):\n    return j.duration\ndef priority(job, machine):\n    return f(job)",
    "loops": in_hook("x = 0.0\n    for _ in range(3):\n        x += 1\n    while x > 5:\n        x -= 1\n    return x"),
    "own array": in_hook("x = np.zeros(4)\n    x[1] = 2.0\n    x[2] += 1.0\n    return x[1]"),
    "tuple assignment": in_hook("x, y = 1.0, 2.0\n    x, y = y, x\n    return x"),
    "assigned on both branches": in_hook(
        "if job.weight > 1:\n        x = 1.0\n    else:\n        x = 2.0\n    return x"
    ),
    "non-ASCII comment": "# gemäß §3 ≤ 5 €\ndef priority(job, machine):\n    return 1.0",
    "Windows line ends": "def priority(job, machine):\r\n    return 1.0\r\n",
}


@pytest.mark.parametrize("name", ADMITTED)
def test_admitted(name: str):
    admit(ADMITTED[name], PROBLEM)


REFUSED = {
    # the hook
    "": "the program must define priority(job, machine) -> float",
    "def priority(machine, job):\n    return 1.0": "must be defined as priority(job, machine) -> float, got",
    "def priority(job):\n    return 1.0": "must be defined as priority(job, machine)",
    "def priority(job, machine, x=1):\n    return 1.0": "must be defined as",
    "def priority(job, machine, *, x=1):\n    return 1.0": "plain positional arguments only",
    "def priority(*job):\n    return 1.0": "must be defined as",
    "async def priority(job, machine):\n    return 1.0": "async is not admitted: write a plain function",
    "async def f():\n    return 1.0\ndef priority(job, machine):\n    return 1.0": "async is not admitted",
    "def f(x, x):\n    return x\ndef priority(job, machine):\n    return 1.0": "line 1: 'x' is defined twice",
    "type X = int\ndef priority(job, machine):\n    return 1.0": "line 1: ",  # a syntax error before Python 3.12
    "priority = 3": "the program must define",
    "import math\n@math.sin\ndef priority(job, machine):\n    return 1.0": "decorators are not admitted",
    "def priority(job, machine: list):\n    return 1.0": "annotations may be float, int or bool",
    "def priority(job, machine):\n    return 1.0\n" * 2: "line 3: 'priority' is defined twice",
    # module level
    "import os": "line 1: only `import math` and `import numpy as np` are admitted",
    "import math, os": "only `import math`",
    "import math as m": "only `import math`",
    "import numpy": "only `import math`",
    "from os import system": "only `import math`",
    "print(1)": "module level admits",
    "class A: pass": "classes are not admitted: write functions",
    "if True: pass": "module level admits",
    "A = 2 * 3": "the constant A must be a number",
    "A = 'text'": "the constant A must be a number",
    "A = [1, 2]": "the constant A must be a number",
    "A = B = 1": "a constant is written NAME = number",
    "A = 10**10**8": "the constant A must be a number",
    "A = 9" + "9" * 30: "integers must fit in 64 bits",
    "A = " + "9" * 10_000: "line 1: integers must fit in 64 bits",
    "A = 1e999": "the number is too large",
    "__all__ = 1": "names must not begin with an underscore",
    "abs = 1": "the name 'abs' is taken",
    "math = 1": "the name 'math' is taken",
    "def helper(x=3):\n    return x": "the program must define",
    # parameters
    "A = param(1)": "a parameter is written NAME = param(value, low=..., high=...)",
    "A = param(1, 0, 2)": "a parameter is written",
    "A = param(3, low=0, high=2)": "must lie within its bounds, got 3 for [0, 2]",
    "A = param(x, low=0, high=2)": "must be finite numbers, written out",
    "A = param(1, low=0, high=1e999)": "must be finite numbers",
    "A = param(1,\n    low=0, high=2)": "stands on one line",
    in_hook("return param(1.0, low=0, high=1)"): "arguments are given by position",
    in_hook("return param(1.0)"): "a parameter is defined at module level",
    # names and fields
    in_hook("return job.durration"): "job has no field 'durration'; did you mean 'duration'?",
    in_hook("return job.secret"): "job has no field 'secret'; its fields are duration, weight",
    in_hook("return machine.weight"): "machine has no field 'weight'",
    in_hook("return wieght"): "unknown name 'wieght'",
    in_hook("return job.__class__"): "job has no field '__class__'",
    in_hook("return job._replace"): "job has no field '_replace'",
    in_hook("return math.__loader__"): "math.__loader__ is not an admitted constant",
    in_hook("return np.os"): "np.os is not an admitted constant",
    in_hook("return math.sin"): "math.sin is a function: call it",
    in_hook("return (1.0).real"): "only the fields of arguments",
    in_hook("return job.duration.real"): "only the fields of arguments",
    in_hook("job.duration = 1.0\n    return 1.0"): "fields of arguments are read-only",
    in_hook("job[0] = 1.0\n    return 1.0"): "only arrays made in the same function may be written",
    in_hook("A = 3.0\n    return A"): "'A' is defined at module level and cannot be assigned",
    in_hook("math = 3.0\n    return math"): "the name 'math' is taken",
    in_hook("_x = 3.0\n    return _x"): "must not begin with an underscore",
    in_hook("x = _theta[0]\n    return x"): "unknown name '_theta'",
    in_hook("return helper"): "'helper' is a function: call it",
    in_hook("return math"): "'math' is a module",
    "def priority(job, machine):\n    return math.sqrt(1.0)": "math is not imported: begin with `import math`",
    # calls
    in_hook("return eval('1')"): "'eval' is not admitted",
    in_hook("return exec('1')"): "'exec' is not admitted",
    in_hook("return open('x')"): "'open' is not admitted",
    in_hook("return getattr(job, 'x')"): "'getattr' is not admitted",
    in_hook("return __import__('os')"): "'__import__' is not admitted",
    in_hook("return print(1)"): "'print' is not admitted",
    in_hook("return breakpoint()"): "'breakpoint' is not admitted",
    in_hook("return np.load('x')"): "np.load is not an admitted function",
    in_hook("return np.random.rand()"): "only functions of this program",
    in_hook("return np.empty(3)[0]"): "np.empty is not an admitted function",
    in_hook("return math.sqr(2.0)"): "math.sqr is not an admitted function; did you mean 'sqrt'?",
    in_hook("return helper(1, 2)"): "helper takes 1 arguments, got 2",
    in_hook("return helper(x=1)"): "arguments are given by position",
    in_hook("return max(*(1, 2))"): "star arguments are not admitted",
    in_hook("return (lambda: 1)()"): "only functions of this program",
    in_hook("return range(3)"): "range(...) stands in a for loop only",
    in_hook("return job(1)"): "'job' is not admitted",
    # statements and expressions
    in_hook("import os\n    return 1.0"): "only `import math`",
    in_hook("global A\n    return 1.0"): "global is not admitted",
    in_hook("try:\n        return 1.0\n    finally:\n        pass"): "try is not admitted",
    in_hook("raise ValueError"): "raise is not admitted",
    in_hook("assert True\n    return 1.0"): "assert is not admitted",
    in_hook("with job:\n        return 1.0"): "with is not admitted",
    in_hook("del job\n    return 1.0"): "del is not admitted: leave the variable",
    in_hook("x: float\n    return 1.0"): "write NAME: float = value",
    in_hook("break"): "break stands in a loop only",
    in_hook(
        "while job.weight > 1:\n        pass\n    else:\n        continue\n    return 1.0"
    ): "continue stands in a loop only",
    in_hook("for i in range():\n        pass\n    return 1.0"): "range takes 1 to 3 arguments, got 0",
    in_hook("return 10 ** 10 ** 10"): "the integer does not fit in 64 bits: write a float such as 1e30",
    in_hook("return 2 ** (8 * 8)"): "the integer does not fit in 64 bits",
    in_hook("return -(1 << 1000000000000)"): "the integer does not fit in 64 bits",
    in_hook("return await job"): "await is not admitted",
    in_hook("nonlocal x\n    return 1.0"): "nonlocal is not admitted",
    in_hook("x" * 101 + " = 1.0\n    return 1.0"): "names have at most 100 characters, got 101",
    in_hook("yield 1.0"): "the value of this expression is not used",
    in_hook("return (yield 1.0)"): "yield is not admitted",
    in_hook("def f():\n        return 1.0\n    return f()"): "functions are defined at module level only",
    in_hook("class C:\n        pass\n    return 1.0"): "classes are not admitted: write functions",
    in_hook("match job:\n        case _:\n            return 1.0"): "match is not admitted: use if and elif",
    in_hook("return [1][0]"): "lists are not admitted",
    in_hook("return {1: 2}[1]"): "dictionaries are not admitted",
    in_hook("return sum(x for x in (1, 2))"): "'sum' is not admitted",
    in_hook("return max([x for x in (1, 2)])"): "comprehensions are not admitted",
    in_hook("return 'a'"): "strings are not admitted",
    in_hook("return b'a'"): "strings are not admitted",
    in_hook("return f'{job}'"): "strings are not admitted",
    in_hook("return 1j"): "is no number",
    in_hook("return None"): "is no number",
    in_hook("return ..."): "is no number",
    in_hook("return"): "return needs a number",
    in_hook("return (x := 1.0)"): "`:=` is not admitted",
    in_hook("return (1, 2)[0:1]"): "slices are not admitted",
    in_hook("return 1 in (1, 2)"): "`in` is not admitted",
    in_hook("return 1.0 if job is machine else 2.0"): "`is` is not admitted",
    in_hook("return job @ machine"): "@ is not admitted",
    in_hook("for x in (1, 2):\n        pass\n    return 1.0"): "for loops are written `for NAME in range(...)`",
    in_hook("job.weight\n    return 1.0"): "the value of this expression is not used",
    in_hook("if job.weight > 1:\n        x = 1.0\n    return x"): "'x' may be read before it is assigned",
    in_hook("for i in range(3):\n        x = 1.0\n    return x"): "'x' may be read before it is assigned",
    in_hook("x += 1.0\n    return x"): "'x' may be read before it is assigned",
    in_hook("return priority(job, machine)"): "recursion is not admitted: priority -> priority",
    "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\ndef priority(job, machine):\n    return f(1.0)": (
        "recursion is not admitted: f -> g -> f"
    ),
    # text
    "def priority(job, machine):\n    return 1.0 +": "line 2: not Python",
    "def priority(job, machine):\n\treturn 1.0\n        return 2.0": "not Python",
    "# -*- coding: utf-7 -*-\n": "line 1: an encoding declaration is not admitted",
    "\n#!vim: set fileencoding=latin-1\n": "line 2: an encoding declaration is not admitted",
    "x = 1 # \u202e": "line 1: the invisible character U+202E is not admitted",
    "a\u200db = 1": "the invisible character U+200D",
    "x = 1\x00": "the invisible character U+0000",
    "x = '\udc80'": "the invisible character U+DC80",
    "x = 1\u2028y = 2": "the invisible character U+2028",
    in_hook("x\u0435 = 1.0\n    return 1.0"): "names must be ASCII",
    # full-width letters, which Python reads as ASCII
    in_hook("return \uff45\uff56\uff41\uff4c('1')"): "line 7: names must be ASCII, got '\uff45",
    in_hook("return job.\uff57eight"): "names must be ASCII",
    "\uff21 = 1.0\ndef priority(job, machine):\n    return A": "line 1: names must be ASCII",
}


@pytest.mark.parametrize("source", REFUSED)
def test_refused_in_one_sentence(source: str):
    text = reason(source)
    assert REFUSED[source] in text
    assert "\n" not in text


def test_default_values_are_refused():
    source = "def helper(x=3):\n    return x\ndef priority(job, machine):\n    return helper(1)"
    assert reason(source) == "line 1: helper may not have default values: pass every argument"


HUGE = {
    "long": "#" * 100_000,
    "signs": "x = " + "-" * 30_000 + "1",
    "attributes": "x = a" + ".a" * 15_000,
    "sum": "x = 1" + "+1" * 15_000,
    "parentheses": "x = " + "(" * 199 + "1" + ")" * 199,
    "powers": "x = 2" + "**9" * 9_000,
    "digits": "x = " + "9" * 30_000,
    "hexadecimal": "x = 0x" + "f" * 30_000,
    "elif": "def priority(job, machine):\n  if 1:\n    pass\n" + "  elif 1:\n    pass\n" * 1_500,
    "wide": "def priority(job, machine):\n  return max(" + "1," * 15_000 + "1)",
    "indented": "".join(" " * i + "if 1:\n" for i in range(99)) + " " * 99 + "x",
    "functions": "".join(f"def f{i}(x):\n  return x\n" for i in range(100))
    + "def priority(job, machine):\n  return 1.0",
    "constant folding": "def priority(job, machine):\n  return 10**10**8",
    "tower": "def priority(job, machine):\n  return " + "9**" * 90 + "9",
    "long name": "def priority(job, machine):\n  return " + "x" * 30_000,
    "long field": "def priority(job, machine):\n  return job." + "x" * 30_000,
    "long hook argument": "def priority(" + "x" * 30_000 + "):\n  return 1.0",
    "complex": "def priority(job, machine):\n  return 1" + "0" * 30_000 + "j",
    "float": "A = 0." + "1" * 31_000 + "\n",
    "unclosed": "f(" * 15_000,
    "lambdas": "lambda x=(" * 3_000,
    "keywords": "f(a=" * 7_500,
    "not": "not " * 7_500,
    "strings": "'" + "\\n" * 15_000 + "'",
    "f-strings": "f'{" * 10_000,
    "megabyte": "x = 1\n" * 200_000,
    "string folding": "def priority(job, machine):\n  return 'x' * 10**9",
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_and_deep_texts_are_decided_at_once(name: str):
    started = time.process_time()
    assert len(reason(HUGE[name])) < 500
    assert time.process_time() - started < 2.0


def test_limits_are_those_that_are_stated():
    assert str(language.MAX_DEPTH) in reason(HUGE["elif"])
    assert "more than the 32,000 admitted" in reason(HUGE["long"])
    assert "more than the 8,000 syntax elements" in reason(HUGE["wide"])
    assert "101 functions, more than the 32 admitted" in reason(HUGE["functions"])


ADMITTED_NODES = {
    *(ast.Assign, ast.AugAssign, ast.Break, ast.Continue, ast.Expr, ast.For, ast.If, ast.Pass, ast.Return, ast.While),
    *(ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.IfExp, ast.Name, ast.Subscript),
    *(ast.Tuple, ast.UnaryOp),
}


def test_every_other_form_of_python_has_a_sentence_with_a_way_out():
    forms = {form for base in (ast.stmt, ast.expr) for form in base.__subclasses__() if form.__module__ == "ast"}
    old = {form for form in forms if issubclass(form, ast.Constant)}
    assert forms - old - ADMITTED_NODES <= language.INSTEAD.keys()


def test_powers_of_literals_that_fit_are_admitted():
    admit(in_hook("return 10 ** 6 + 2 ** 62 + 2.0 ** 5000 + job.weight ** 99 + (-2) ** 63"), PROBLEM)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_by_a_rejection(text: str):
    with pytest.raises(Rejection):
        admit(text, PROBLEM)


WORDS = (
    "def priority ( ) job machine : return 1.0 x = + . duration if while for in range math import np param 'a' [ ] * _"
)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*WORDS.split(), "\n", "lambda", "yield"]), max_size=40))
def test_any_sequence_of_words_is_admitted_or_refused(words: list[str]):
    source = "def priority(job, machine):\n    return 1.0\n" + " ".join(words)
    with contextlib.suppress(Rejection):
        admit(source, PROBLEM)
