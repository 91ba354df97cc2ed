"""Tunable constants: ``ALPHA = param(1.5, low=0.1, high=10)`` at module level.

Compiled, a parameter is no constant but an element of a trailing argument ``theta``, so that its
value can change without compiling anything again. The source never mentions theta: ``lift``
rewrites the syntax tree. A parameter is a float, also where it is written without a point: what
must be a whole number (a range, an index) stays a plain constant. ``log=True`` says that its
order of magnitude is what matters, and that it is to be searched on a logarithmic scale.

A program and its values are one text: ``with_values`` writes others in, to the last bit.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from typing import NamedTuple

# Programs cannot use this name, nor any other that starts with an underscore.
THETA_NAME = "_theta"
FORM = "NAME = param(value, low=..., high=...)"
_BOUNDS = {"low", "high"}


class Parameter(NamedTuple):
    """A constant that may be tuned within [low, high]."""

    name: str
    value: float
    low: float
    high: float
    log: bool = False  # searched on a logarithmic scale


def number(node: ast.expr) -> int | float | bool | None:
    """The value of a number written out, with or without a sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = number(node.operand)
        return -value if value is not None and isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    return None


def is_parameter(statement: ast.stmt) -> bool:
    """Whether the statement is an assignment of a call of ``param``."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
        return False
    function = statement.value.func
    return isinstance(function, ast.Name) and function.id == "param"


def parameter(statement: ast.stmt) -> Parameter:
    """Read one parameter from its assignment.

    Raises
    ------
    ValueError
        If it has another form, or its value lies outside its bounds.
    """
    assert isinstance(statement, ast.Assign)
    call, targets = statement.value, statement.targets
    assert isinstance(call, ast.Call)
    bounds = {keyword.arg: number(keyword.value) for keyword in call.keywords}
    log = bounds.pop("log", False)
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or len(call.args) != 1 or set(bounds) != _BOUNDS:
        raise ValueError(f"a parameter is written {FORM}")
    if not isinstance(log, bool):
        raise ValueError(f"log of {targets[0].id} is True or False")
    if call.lineno != call.end_lineno:
        raise ValueError("param(...) stands on one line")
    name, found = targets[0].id, (number(call.args[0]), bounds["low"], bounds["high"])
    if any(v is None or not math.isfinite(float(v)) for v in found):
        raise ValueError(f"value, low and high of {name} must be finite numbers, written out")
    value, low, high = (float(v) for v in found if v is not None)
    if not low <= value <= high or low == high:
        raise ValueError(f"parameter {name} must lie within its bounds, got {value:g} for [{low:g}, {high:g}]")
    if log and low <= 0.0:
        raise ValueError(f"parameter {name} has a logarithmic scale, so low must be above 0, got {low:g}")
    return Parameter(name, value, low, high, log)


def parameters(tree: ast.Module) -> tuple[Parameter, ...]:
    """All parameters of a module, in the order of theta."""
    return tuple(parameter(statement) for statement in tree.body if is_parameter(statement))


def with_values(source: str, values: Sequence[float]) -> str:
    """The program with other values of its parameters, and nothing else changed.

    Values are written so that they read back to the last bit; what lies beyond a bound is put on it.

    Parameters
    ----------
    source : str
        An admitted program.
    values : (number of parameters,) sequence of float
        In the order of theta.

    Raises
    ------
    ValueError
        If a value is not finite, or there are more or fewer than parameters.
    """
    statements = [statement for statement in ast.parse(source).body if is_parameter(statement)]
    # Offsets in the tree count bytes.
    lines = source.encode().split(b"\n")
    for statement, value in zip(statements, values, strict=True):
        assert isinstance(statement, ast.Assign)
        assert isinstance(statement.value, ast.Call)
        found, place = parameter(statement), statement.value.args[0]
        if not math.isfinite(value):
            raise ValueError(f"a value of {found.name} must be finite, got {value}")
        line = lines[place.lineno - 1]
        text = repr(float(min(max(value, found.low), found.high))).encode()
        lines[place.lineno - 1] = line[: place.col_offset] + text + line[place.end_col_offset :]
    return b"\n".join(lines).decode()


def lift(tree: ast.Module) -> ast.Module:
    """Give every function, and every call of one, the trailing argument theta; read parameters from it.

    Line numbers stay, so that errors still point into the source as written. The tree is changed.
    """
    indices = {found.name: i for i, found in enumerate(parameters(tree))}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {function.name for function in functions}
    tree.body = [statement for statement in tree.body if not is_parameter(statement)]
    for function in functions:
        read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} & indices.keys()
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                node.args.append(ast.copy_location(ast.Name(THETA_NAME, ast.Load()), node))
        function.args.args.append(ast.copy_location(ast.arg(THETA_NAME), function))
        function.body[:0] = [_read(name, indices[name], function) for name in sorted(read)]
    return ast.fix_missing_locations(tree)


def _read(name: str, index: int, function: ast.FunctionDef) -> ast.stmt:
    """``NAME = _theta[index]``, placed where the function begins."""
    element = ast.Subscript(ast.Name(THETA_NAME, ast.Load()), ast.Constant(index), ast.Load())
    return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], element), function)
