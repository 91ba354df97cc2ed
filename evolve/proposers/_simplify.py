"""Algebra on rules: equal for finite values up to rounding, and shorter."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

from evolve.proposers._terms import binary, call, called, literal, number

_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.Pow: lambda x, y: x**y,
}
_FOLDED_CALLS = ("sqrt", "exp", "log", "log1p", "tanh", "floor", "ceil", "fabs")


def simplify(function: ast.FunctionDef) -> None:
    """Fold constants and neutral elements of all expressions, in place; drop branches never taken."""
    _Simplifier().visit(function)


class _Simplifier(ast.NodeTransformer):
    """Applies the rule of each node's type, parts before wholes."""

    def visit(self, node: ast.AST) -> Any:
        self.generic_visit(node)
        rule = _RULES.get(type(node))
        return rule(node) if rule else node


def _same(a: ast.AST, b: ast.AST) -> bool:
    return type(a) is type(b) and ast.dump(a) == ast.dump(b)


def _rounded(value: float) -> ast.expr:
    return literal(value if isinstance(value, int) else float(f"{value:.4g}"))


def _negated(node: ast.expr) -> ast.expr | None:
    """The operand of -x; None for other expressions and for literals."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and number(node) is None:
        return node.operand
    return None


def _minus(node: ast.expr) -> ast.expr:
    value = number(node)
    return literal(-value) if value is not None else _negated(node) or ast.UnaryOp(ast.USub(), node)


def _binary(node: ast.BinOp) -> ast.expr:
    x, y = number(node.left), number(node.right)
    if x is not None and y is not None:
        return _folded(x, node.op, y) or node
    match node.op:
        case ast.Add() | ast.Sub():
            return _sum(node, x, y)
        case ast.Mult():
            return _product(node, x, y)
        case ast.Div():
            return _quotient(node, x, y)
        case ast.Pow() if y == 0:
            return literal(1.0)
        case ast.Pow() if y == 1:
            return node.left
    return node


def _folded(x: float, operator: ast.operator, y: float) -> ast.expr | None:
    try:
        value = _OPERATIONS[type(operator)](x, y)
    except (KeyError, ArithmeticError):
        return None
    return _rounded(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _sum(node: ast.BinOp, x: float | None, y: float | None) -> ast.expr:
    left, right, is_sum = node.left, node.right, isinstance(node.op, ast.Add)
    if y == 0:
        return left
    if x == 0:
        return right if is_sum else _minus(right)
    if _same(left, right):
        return binary(literal(2.0), ast.Mult, left) if is_sum else literal(0.0)
    flipped = _negated(right)
    if flipped is not None or (y is not None and y < 0):  # a + -b is a - b
        return _sum(binary(left, ast.Sub if is_sum else ast.Add, _minus(right)), x, None if y is None else -y)
    positive = _negated(left)
    if positive is not None and is_sum:  # -a + b is b - a
        return binary(right, ast.Sub, positive)
    if y is not None and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add | ast.Sub):
        inner = number(left.right)  # (a + 1) + 2 is a + 3
        if inner is not None:
            total = (inner if isinstance(left.op, ast.Add) else -inner) + (y if is_sum else -y)
            return _sum(binary(left.left, ast.Add, _rounded(total)), None, number(_rounded(total)))
    return node


def _product(node: ast.BinOp, x: float | None, y: float | None) -> ast.expr:
    left, right = node.left, node.right
    if x is None and y is not None:  # constants to the front
        return _product(binary(right, ast.Mult, left), y, None)
    if x is None:
        a, b = _negated(left), _negated(right)
        if a is not None and b is not None:
            return binary(a, ast.Mult, b)
        if a is not None or b is not None:
            return _minus(_product(binary(a or left, ast.Mult, b or right), None, None))
        return node
    if x == 0 or x == 1:
        return right if x == 1 else literal(0.0)
    if x == -1:
        return _minus(right)
    inner = number(right.left) if isinstance(right, ast.BinOp) and isinstance(right.op, ast.Mult) else None
    if inner is not None and isinstance(right, ast.BinOp):  # 2 * (3 * a) is 6 * a
        return _product(binary(_rounded(x * inner), ast.Mult, right.right), number(_rounded(x * inner)), None)
    return node


def _quotient(node: ast.BinOp, x: float | None, y: float | None) -> ast.expr:
    if y == 1:
        return node.left
    if x == 0:
        return literal(0.0)
    if _same(node.left, node.right):
        return literal(1.0)
    a, b = _negated(node.left), _negated(node.right)
    if a is not None or b is not None:
        quotient = binary(a or node.left, ast.Div, b or node.right)
        return quotient if a is not None and b is not None else _minus(quotient)
    return node


def _unary(node: ast.UnaryOp) -> ast.expr:
    match node:
        case ast.UnaryOp(op=ast.UAdd()):
            return node.operand
        case ast.UnaryOp(op=ast.USub(), operand=ast.UnaryOp(op=ast.USub(), operand=inner)):
            return inner
        case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp(op=ast.Sub(), left=left, right=right)):
            return binary(right, ast.Sub, left)
        case ast.UnaryOp(op=ast.Not(), operand=ast.Constant(value=bool() as truth)):
            return ast.Constant(not truth)
        case ast.UnaryOp(op=ast.Not(), operand=ast.UnaryOp(op=ast.Not(), operand=inner)):
            return inner
    return node


def _conditional(node: ast.IfExp) -> ast.expr:
    if isinstance(node.test, ast.Constant):
        return node.body if node.test.value else node.orelse
    return node.body if _same(node.body, node.orelse) else node


def _comparison(node: ast.Compare) -> ast.expr:
    x, y = number(node.left), number(node.comparators[0])
    if len(node.ops) > 1:
        return node
    if _same(node.left, node.comparators[0]):
        x = y = 0.0
    if x is None or y is None:
        return node
    match node.ops[0]:
        case ast.Lt():
            return ast.Constant(x < y)
        case ast.LtE():
            return ast.Constant(x <= y)
        case ast.Gt():
            return ast.Constant(x > y)
        case ast.GtE():
            return ast.Constant(x >= y)
    return node


def _logical(node: ast.BoolOp) -> ast.expr:
    absorbing = isinstance(node.op, ast.Or)
    kept: list[ast.expr] = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            if value.value is absorbing:
                return ast.Constant(absorbing)
        elif not any(_same(value, other) for other in kept):
            kept.append(value)
    if len(kept) < 2:
        return kept[0] if kept else ast.Constant(not absorbing)
    return ast.BoolOp(node.op, kept)


def _call(node: ast.Call) -> ast.expr:
    name = called(node)
    values = [number(argument) for argument in node.args]
    if name in ("min", "max") and isinstance(node.func, ast.Name) and len(values) > 1:
        return _extremum(name, node)
    if name == "abs" and called(node.args[0]) in ("abs", "sqrt", "exp"):
        return node.args[0]
    if name == "abs" and values[0] is not None:
        return literal(abs(values[0]))
    if name in _FOLDED_CALLS and isinstance(node.func, ast.Attribute) and values and values[0] is not None:
        try:
            return _rounded(float(getattr(math, name)(values[0])))
        except (ValueError, OverflowError):
            return node
    return node


def _extremum(name: str, node: ast.Call) -> ast.expr:
    """Flatten, drop repetitions, and fold the constants among the arguments into one."""
    flat: list[ast.expr] = []
    for argument in node.args:
        flat.extend(argument.args if isinstance(argument, ast.Call) and called(argument) == name else [argument])
    kept: list[ast.expr] = []
    for argument in flat:
        if number(argument) is None and not any(_same(argument, other) for other in kept):
            kept.append(argument)
    constants = [value for value in map(number, flat) if value is not None]
    if constants:
        kept.append(literal(min(constants) if name == "min" else max(constants)))
    return kept[0] if len(kept) == 1 else call(name, *kept)


def _branch(node: ast.If) -> ast.stmt | list[ast.stmt]:
    if isinstance(node.test, ast.Constant):
        return (node.body if node.test.value else node.orelse) or ast.Pass()
    return node


_RULES: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.IfExp: _conditional,
    ast.Compare: _comparison,
    ast.BoolOp: _logical,
    ast.Call: _call,
    ast.If: _branch,
}
