"""Programs as plain Python with the arithmetic of compiled ones: the reference that both are compared with.

Plain Python raises where compiled code returns an infinity or NaN, and its integers never
overflow. So each operation of a program becomes a call of a function below, and nothing else
changes. Where a name or a conditional expression is an integer on one path and a float on the
other, compiled code makes it a float on both, which no such function can see.
"""

from __future__ import annotations

import ast
import ctypes
import math
from collections.abc import Callable

import numpy as np

from evaluators.admission import parameters

_LIBM = ctypes.CDLL(None)


def _libm(name: str, arguments: int = 1) -> Callable[..., float]:
    function = getattr(_LIBM, name)
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * arguments
    return lambda *values: function(*map(float, values))


_pow, _fmod, _exp2 = _libm("pow", 2), _libm("fmod", 2), _libm("exp2")


def _wrap(value: int) -> int:
    """64 bits, two's complement."""
    return (value + 2**63) % 2**64 - 2**63


def _arithmetic(integers: Callable, floats: Callable) -> Callable:
    def apply(a, b):
        if isinstance(a, int) and isinstance(b, int):
            return _wrap(integers(a, b))
        with np.errstate(all="ignore"):
            return float(floats(np.float64(a), np.float64(b)))

    return apply


def divide(a, b) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(a) / np.float64(b))


def floor_divide(a, b):
    if isinstance(a, int) and isinstance(b, int):
        return 0 if b == 0 or (a == -(2**63) and b == -1) else a // b
    a, b = float(a), float(b)
    return divide(a, b) if b == 0 else _divmod(a, b)[0]


def modulo(a, b):
    if isinstance(a, int) and isinstance(b, int):
        return 0 if b == 0 or (a == -(2**63) and b == -1) else a % b
    a, b = float(a), float(b)
    return math.nan if b == 0 else _divmod(a, b)[1]


def _divmod(a: float, b: float) -> tuple[float, float]:
    """Python's own, from libm's remainder, without its exceptions."""
    remainder = _fmod(a, b)
    quotient = divide(a - remainder, b)
    if remainder != 0.0:
        if (b < 0.0) != (remainder < 0.0):
            quotient, remainder = quotient - 1.0, remainder + b
    else:
        remainder = -0.0 if b < 0.0 else 0.0
    if quotient < 0.0 or quotient > 0.0:  # false for NaN
        floored = float(np.floor(quotient))
        return (floored + 1.0 if quotient - floored > 0.5 else floored), remainder
    return divide(quotient * quotient * a, b), remainder


def power(base, exponent):
    """A whole exponent that is written out multiplies; other powers are those of floats."""
    if isinstance(exponent, int):
        result = type(base)(1)
        while exponent:
            result = multiply(result, base) if exponent & 1 else result
            base, exponent = multiply(base, base), exponent >> 1
        return result
    if exponent in (2.0, 1.0, 0.0, -1.0):
        return {2.0: multiply(base, base), 1.0: base, 0.0: 1.0, -1.0: divide(1.0, base)}[exponent]
    if exponent == 0.5:
        return math.inf if base == -math.inf else abs(float(np.sqrt(base))) if base >= 0 else math.nan
    return _exp2(exponent) if base == 2.0 else _pow(base, exponent)


def integer(value) -> int:
    """Towards zero; NaN becomes 0, what does not fit the nearest integer that does."""
    return 0 if math.isnan(value) else int(min(max(value, -(2**63)), 2**63 - 1))


def largest(*values):
    values = _alike(values)
    best = values[0]
    for value in values[1:]:
        best = value if value > best else best
    return best


def smallest(*values):
    values = _alike(values)
    best = values[0]
    for value in values[1:]:
        best = value if value < best else best
    return best


def _alike(values):
    return tuple(map(float, values)) if any(isinstance(v, float) for v in values) else values


def negate(value):
    return _wrap(-value) if isinstance(value, int) else -value


def absolute(value):
    return _wrap(abs(value)) if isinstance(value, int) else abs(value)


def _numpy(function: Callable) -> Callable:
    def apply(*values):
        with np.errstate(all="ignore"):
            return float(function(*map(np.float64, values)))

    return apply


add, subtract = _arithmetic(lambda a, b: a + b, np.add), _arithmetic(lambda a, b: a - b, np.subtract)
multiply = _arithmetic(lambda a, b: a * b, np.multiply)
_BINARY = {
    ast.Add: add,
    ast.Sub: subtract,
    ast.Mult: multiply,
    ast.Div: divide,
    ast.FloorDiv: floor_divide,
    ast.Mod: modulo,
    ast.Pow: power,
}
_UNARY = {ast.USub: negate}
_BUILTINS = {"abs": absolute, "int": integer, "max": largest, "min": smallest, "pow": power}
_BUILTINS["round"] = lambda value: integer(float(np.rint(value)))
_LIBM_NAMES = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]
MATH = {name: _libm(name) for name in _LIBM_NAMES}
MATH |= {"atan2": _libm("atan2", 2), "hypot": _libm("hypot", 2), "fabs": _libm("fabs"), "pow": power}
MATH |= {name: lambda value, name=name: integer(_libm(name)(value)) for name in ("floor", "ceil", "trunc")}
MATH |= {"degrees": lambda x: multiply(x, 180.0 / math.pi), "radians": lambda x: multiply(x, math.pi / 180.0)}
MATH |= {"isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite}
NUMPY = {f"arc{name}": _libm(f"a{name}") for name in ("cos", "sin", "tan")}
NUMPY |= {
    name: _libm(name)
    for name in ["cos", "cosh", "exp", "expm1", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh"]
}
NUMPY |= {
    name: _numpy(getattr(np, name))
    for name in ["ceil", "floor", "maximum", "minimum", "rint", "sign", "square", "trunc"]
}
NUMPY |= {"arctan2": _libm("atan2", 2), "hypot": _libm("hypot", 2), "power": power, "abs": absolute}
NUMPY |= {"isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite}


class _Spell(ast.NodeTransformer):
    """Every operation becomes a call."""

    def __init__(self) -> None:
        self.namespace: dict[str, object] = {}

    def _call(self, function: Callable, name: str, *values: ast.expr) -> ast.Call:
        self.namespace[f"__{name}"] = function
        return ast.Call(ast.Name(f"__{name}", ast.Load()), list(values), [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        kind = type(node.op)
        return self._call(_BINARY[kind], kind.__name__, self.visit(node.left), self.visit(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.op, ast.USub):
            return self.generic_visit(node)
        return self._call(negate, "neg", self.visit(node.operand))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        target = ast.Name(node.target.id, ast.Load())
        return ast.Assign([node.target], self.visit(ast.BinOp(target, node.op, node.value)))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        values = [self.visit(argument) for argument in node.args]
        match node.func:
            case ast.Name(id=name) if name in _BUILTINS:
                return self._call(_BUILTINS[name], name, *values)
            case ast.Attribute(value=ast.Name(id="math"), attr=name):
                return self._call(MATH[name], f"math_{name}", *values)
            case ast.Attribute(value=ast.Name(id="np"), attr=name):
                return self._call(NUMPY[name], f"np_{name}", *values)
        return ast.Call(node.func, values, [])


def plain(source: str) -> dict:
    """The namespace of a program, its parameters at the values that are written."""
    tree = ast.parse(source)
    values = {p.name: p.value for p in parameters.parameters(tree)}
    tree.body = [s for s in tree.body if not parameters.is_parameter(s)]
    spell = _Spell()
    tree = ast.fix_missing_locations(spell.visit(tree))
    namespace = {**spell.namespace, **values}
    exec(compile(tree, "<program>", "exec"), namespace)
    return namespace
