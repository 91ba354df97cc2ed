"""Values, types and operations of lowered functions, and how their instructions are written down."""

from __future__ import annotations

import ast
import math
import operator
import re
import struct
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from evaluators.admission.language import MATH, NUMPY
from evaluators.compiler.primitives import Body, Operation, value_type

FLOAT, INTEGER, BOOLEAN = types.float64, types.int64, types.boolean

BINARY: dict[type[ast.operator], Operation] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARE: dict[type[ast.cmpop], Operation] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
UNARY: dict[type[ast.unaryop], Operation] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
BUILTINS: dict[str, Operation] = {f.__name__: f for f in (abs, bool, float, int, max, min, round)}
MODULES: dict[str, tuple[ModuleType, Collection[str]]] = {"math": (math, MATH), "np": (np, NUMPY)}
LARGEST_POWER = 0x10000  # beyond it, numba calls pow
POWERS: tuple[Operation, ...] = (pow, math.pow, np.power)
# The sign of a NaN is whatever the order of instructions makes it.
LEFT_TO_NUMBA: tuple[Operation, ...] = (math.copysign, np.copysign)
# If an argument is unknown when compiling, so is the result: even x * 0.0 may be NaN.
_ARITHMETIC: tuple[Operation, ...] = (operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, abs)
_OF_FLOATS: tuple[Operation, ...] = tuple(getattr(math, n) for n in MATH - {"pow", "floor", "ceil", "trunc"})
KEEP_VARYING = frozenset((*_ARITHMETIC, *_OF_FLOATS, *COMPARE.values()))


_LOCAL = re.compile(r'%"[^"]*"')  # a name in the instructions of a primitive


class NotLowered(Exception):
    """The program says something that is left to numba."""


class Value(NamedTuple):
    """A value in LLVM: its text, its numba type, and whether it is certainly unknown when compiling."""

    text: str
    type: Any
    varying: bool = False


def constant(value: object) -> Value:
    """A number that is written in the program."""
    if isinstance(value, float):
        bits = struct.unpack("<Q", struct.pack("<d", value))[0]
        return Value(f"0x{bits:016x}", FLOAT)
    # True is an int to Python, and of a type of its own to numba.
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise NotLowered(f"the constant {value!r}")
    return Value(str(value), INTEGER)


def literal(node: ast.expr) -> int | float | None:
    """What Python's compiler makes of an expression of literals alone; None for any other."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            inner = literal(operand)
            return inner if inner is None or isinstance(node.op, ast.UAdd) else -inner
        case ast.BinOp(left=left, right=right):
            a, b = literal(left), literal(right)
            if a is not None and b is not None:
                return _folded(node.op, a, b)
    return None


def _folded(op: ast.operator, a: float, b: float) -> int | float | None:
    if b == 0 and isinstance(op, ast.Div | ast.FloorDiv | ast.Mod):
        return None  # left for the running program
    if type(op) not in BINARY:
        raise NotLowered("an expression of literals")  # a power may take for ever
    try:
        folded: int | float = BINARY[type(op)](a, b)
    except ArithmeticError:  # an integer too large for a float
        raise NotLowered("an expression of literals") from None
    return folded


class Emitter:
    """Instructions of one function, in order; variables live on the stack until LLVM moves them to registers."""

    def __init__(self) -> None:
        self._count = 0
        self.entry: list[str] = []  # stack slots: only those in the entry block become registers
        self.lines: list[str] = []

    def fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def emit(self, instruction: str, type_: Any, varying: bool = False) -> Value:
        name = self.fresh("%v")
        self.lines.append(f"  {name} = {instruction}")
        return Value(name, type_, varying)

    def write_out(self, body: Body, arguments: Sequence[str]) -> str:
        """Write a function's instructions in place of a call; returns the name of its result."""
        names = dict(zip(body.arguments, arguments, strict=True))

        def rename(match: re.Match[str]) -> str:
            if match[0] not in names:
                names[match[0]] = self.fresh("%v")
            return names[match[0]]

        self.lines += [f"  {_LOCAL.sub(rename, instruction)}" for instruction in body.instructions]
        return _LOCAL.sub(rename, body.result)

    def slot(self, type_: Any) -> Value:
        """An address for a variable; zero until it is assigned."""
        name, llvm = self.fresh("%s"), value_type(type_)
        self.entry += [f"  {name} = alloca {llvm}", f"  store {llvm} zeroinitializer, ptr {name}"]
        return Value(name, type_)

    def store(self, value: Value, slot: Value) -> None:
        self.lines.append(f"  store {value_type(slot.type)} {value.text}, ptr {slot.text}")

    def load(self, slot: Value) -> Value:
        return self.emit(f"load {value_type(slot.type)}, ptr {slot.text}", slot.type, slot.varying)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def branch(self, condition: Value, then: str, otherwise: str) -> None:
        self.lines.append(f"  br i1 {condition.text}, label %{then}, label %{otherwise}")

    def jump(self, label: str) -> None:
        self.lines.append(f"  br label %{label}")
