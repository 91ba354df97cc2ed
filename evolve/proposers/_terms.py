"""Expressions of a rule: their unit, their sign, and random ones that make sense."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from problems.problem import Quantity

Unit = tuple[tuple[str, int], ...]  # base unit -> exponent, sorted; () is a pure number

ANY, NONNEGATIVE, POSITIVE = 0, 1, 2  # what is known of a value's sign; more is stronger

_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_FREE = 0.25  # share of random terms that need not respect units


class Fact(NamedTuple):
    """What is known of a name: its unit (None if mixed) and sign."""

    unit: Unit | None
    sign: int


def fact_of(quantity: Quantity) -> Fact:
    """Unit and sign of a hook's quantity: >= 0 unless its doc speaks of ``negative``, > 0 where it says so."""
    if re.search(r"\b(negative|signed)\b", quantity.doc):
        return Fact(parse_unit(quantity.unit), ANY)
    above = re.search(r">=? *[1-9]|> *0(?!\.)|≥ *[1-9]", quantity.doc)
    return Fact(parse_unit(quantity.unit), POSITIVE if above else NONNEGATIVE)


def parse_unit(text: str) -> Unit:
    """``bytes/s`` becomes (("bytes", 1), ("s", -1)); ``1``, a share and the like are pure numbers."""
    over, _, under = text.partition("/")
    unit: Unit | None = ()
    for part, power in ((over, 1), (under, -1)):
        for base in re.split(r"[*·]", part):
            if base.strip() not in ("", "1", "share", "ratio", "none", "dimensionless"):
                unit = product(unit, ((base.strip(), 1),), power)
    assert unit is not None
    return unit


def product(a: Unit | None, b: Unit | None, power: int = 1) -> Unit | None:
    """Unit of a * b ** power."""
    if a is None or b is None:
        return None
    total = dict(a)
    for base, exponent in b:
        total[base] = total.get(base, 0) + power * exponent
    return tuple(sorted((base, exponent) for base, exponent in total.items() if exponent))


def literal(value: float) -> ast.expr:
    """A number as an expression; a negative one as -x, which unparses with the right brackets."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def number(node: ast.expr) -> float | None:
    """The value of a literal, of either sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    return None


def called(node: ast.expr) -> str:
    """``sqrt`` for a call of math.sqrt, ``max`` for one of max, else the empty string."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id
        if isinstance(node.func, ast.Attribute):
            return node.func.attr
    return ""


def call(function: str, *arguments: ast.expr) -> ast.Call:
    """A call of a built-in, or of ``math.`` something."""
    module, _, name = function.rpartition(".")
    head: ast.expr = ast.Name(name, ast.Load())
    if module:
        head = ast.Attribute(ast.Name(module, ast.Load()), name, ast.Load())
    return ast.Call(head, list(arguments), [])


def named(text: str) -> ast.expr:
    """``op.duration`` or a plain name, as an expression."""
    head, _, field = text.partition(".")
    name = ast.Name(head, ast.Load())
    return ast.Attribute(name, field, ast.Load()) if field else name


def binary(left: ast.expr, operator: type[ast.operator], right: ast.expr) -> ast.BinOp:
    """Left operator right."""
    return ast.BinOp(left, operator(), right)


def name_of(node: ast.AST) -> str:
    """The inverse of named; the empty string for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


def unit_of(node: ast.expr, facts: Mapping[str, Fact]) -> Unit | None:
    """Unit of an expression; None where it mixes units. A literal next to + - takes the other's."""
    match node:
        case ast.Constant():
            return ()
        case ast.Name() | ast.Attribute():
            return facts[name_of(node)].unit if name_of(node) in facts else ()
        case ast.UnaryOp():
            return unit_of(node.operand, facts)
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return _common([node.left, node.right], facts)
        case ast.BinOp(op=ast.Mult()):
            return product(unit_of(node.left, facts), unit_of(node.right, facts))
        case ast.BinOp(op=ast.Div() | ast.FloorDiv()):
            return product(unit_of(node.left, facts), unit_of(node.right, facts), -1)
        case ast.BinOp(op=ast.Pow()):
            base, power = unit_of(node.left, facts), number(node.right)
            if base == ():
                return ()
            return product((), base, int(power)) if power is not None and power == int(power) else None
        case ast.BinOp(op=ast.Mod()):
            return unit_of(node.left, facts)
        case ast.IfExp():
            return _common([node.body, node.orelse], facts)
        case ast.Call() if called(node) in ("min", "max", "abs", "float", "floor", "ceil"):
            return _common(node.args, facts)
        case ast.Call():
            return () if all(unit_of(a, facts) == () for a in node.args) else None
    return None


def _common(nodes: list[ast.expr], facts: Mapping[str, Fact]) -> Unit | None:
    units = {unit_of(node, facts) for node in nodes if number(node) is None}
    return units.pop() if len(units) == 1 else None if units else ()


def sign_of(node: ast.expr, facts: Mapping[str, Fact]) -> int:
    """What is provable of an expression's sign from the facts: ANY, NONNEGATIVE or POSITIVE."""
    value = number(node)
    if value is not None:
        return POSITIVE if value > 0 else NONNEGATIVE if value == 0 else ANY
    match node:
        case ast.Name() | ast.Attribute():
            return facts[name_of(node)].sign if name_of(node) in facts else ANY
        case ast.UnaryOp(op=ast.UAdd()):
            return sign_of(node.operand, facts)
        case ast.BinOp(op=ast.Add()):
            left, right = sign_of(node.left, facts), sign_of(node.right, facts)
            return max(left, right) if min(left, right) > ANY else ANY
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            return min(sign_of(node.left, facts), sign_of(node.right, facts))
        case ast.BinOp(op=ast.Pow()):
            power = number(node.right)
            if power is not None and power % 2 == 0:
                return max(NONNEGATIVE, sign_of(node.left, facts))
            return sign_of(node.left, facts)
        case ast.IfExp():
            return min(sign_of(node.body, facts), sign_of(node.orelse, facts))
        case ast.Call(args=arguments) if arguments:
            return _sign_of_call(called(node), [sign_of(a, facts) for a in arguments])
    return ANY


def _sign_of_call(function: str, signs: list[int]) -> int:
    if function in ("abs", "fabs"):
        return max(NONNEGATIVE, signs[0])
    if function == "max":
        return max(signs)
    if function in ("min", "float", "sqrt", "tanh", "log1p", "atan", "expm1"):
        return min(signs)
    return NONNEGATIVE if function == "exp" else ANY  # exp of a very negative number is 0


class Grower:
    """Random expressions over the names that may be read at one place.

    Most respect units: they add and compare equals with equals and multiply by ratios of equals.
    """

    def __init__(self, rng: np.random.Generator, facts: Mapping[str, Fact]) -> None:
        self._rng = rng
        self._facts = facts
        self._names = list(facts)

    def free(self) -> bool:
        """Whether the next choice may ignore units."""
        return self._rng.random() < _FREE

    def constant(self) -> ast.expr:
        """A positive number around 1, log-normal."""
        return literal(float(f"{np.exp(self._rng.normal(0.0, 1.2)):.2g}"))

    def name(self, unit: Unit | None) -> ast.expr | None:
        """A name with that unit, any name if unit is None; None if there is none."""
        fitting = self._names if unit is None else [n for n in self._names if self._facts[n].unit == unit]
        return named(fitting[self._rng.integers(len(fitting))]) if fitting else None

    def leaf(self, unit: Unit | None) -> ast.expr:
        """A name, a constant, or a ratio of equals where a pure number is wanted."""
        if unit == () and self._rng.random() < 0.6:
            return self.constant() if self._rng.random() < 0.3 else self.ratio(0)
        return self.name(unit) or self.name(None) or self.constant()

    def ratio(self, depth: int) -> ast.expr:
        """A quotient of two terms with equal units."""
        below = self.name(None)
        if below is None:
            return self.constant()
        name = name_of(below)
        unit = self._facts[name].unit
        if depth > 0:
            return binary(self.term(unit, depth - 1), ast.Div, below)
        others = [n for n in self._names if n != name and self._facts[n].unit == unit]
        above = named(others[self._rng.integers(len(others))]) if others else self.constant()
        return binary(above, ast.Div, below)

    def term(self, unit: Unit | None, depth: int) -> ast.expr:
        """A term of at most that depth, with that unit if it can be had; None draws one."""
        if unit is None or self.free():
            some = self.name(None)
            unit = self._facts[name_of(some)].unit if some is not None else ()
        if depth <= 0 or self._rng.random() < 0.3:
            return self.leaf(unit)
        if unit == () and self._rng.random() < 0.5:
            return self._number(depth)
        forms: tuple[Callable[[], ast.expr], ...] = (
            lambda: binary(self.term(unit, depth - 1), ast.Add, self.term(unit, depth - 1)),
            lambda: binary(self.term(unit, depth - 1), ast.Sub, self.term(unit, depth - 1)),
            lambda: call("max", self.term(unit, depth - 1), self.term(unit, depth - 1)),
            lambda: call("min", self.term(unit, depth - 1), self.term(unit, depth - 1)),
            lambda: binary(self.constant(), ast.Mult, self.term(unit, depth - 1)),
            lambda: binary(self.term(unit, depth - 1), ast.Mult, self.ratio(depth - 1)),
            lambda: binary(self.term(None, depth - 1), _ARITHMETIC[self._rng.integers(4)], self.term(None, depth - 1)),
        )
        return forms[self._rng.integers(len(forms))]()

    def _number(self, depth: int) -> ast.expr:
        """A pure number: a ratio, or a smooth function of one."""
        forms: tuple[Callable[[], ast.expr], ...] = (
            lambda: self.ratio(depth),
            lambda: call("math.exp", ast.UnaryOp(ast.USub(), self.ratio(depth - 1))),
            lambda: call("math.sqrt", self.ratio(depth - 1)),
            lambda: call("math.tanh", self.term((), depth - 1)),
            lambda: binary(self.ratio(depth - 1), ast.Pow, literal(round(float(self._rng.normal(0.0, 1.0)), 2))),
        )
        return forms[self._rng.integers(len(forms))]()

    def condition(self, depth: int = 1) -> ast.expr:
        """A comparison of two terms, of equal units where they can be had."""
        left = self.term(None, depth)
        unit = unit_of(left, self._facts)
        right = self.constant() if unit == () and self._rng.random() < 0.5 else self.term(unit, depth)
        if number(right) is None and self._rng.random() < 0.3:
            right = binary(self.constant(), ast.Mult, right)
        operator = ast.Lt() if self._rng.random() < 0.5 else ast.Gt()
        return ast.Compare(left, [operator], [right])
