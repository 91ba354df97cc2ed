"""The integer of a float, the same however a program is compiled.

What LLVM makes of a plain conversion is defined for floats that fit only, and its optimiser may keep the
float instead, signed zero and all. So all that turn a float into an integer are written here, for lowered hooks
and for numba's, with the conversion that is defined for every float: it cuts off, NaN becomes 0, and what does not
fit 64 bits the largest or the smallest integer.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_DOUBLE, _INTEGER = ir.DoubleType(), ir.IntType(64)
# What is done before the conversion, in LLVM's words.
_ROUNDINGS: dict[Callable[..., Any], str] = {
    int: "",
    math.trunc: "",
    math.floor: "floor",
    math.ceil: "ceil",
    round: "rint",
}
OPERATIONS = frozenset(_ROUNDINGS)


def convert(operation: Callable[..., Any], builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Write the instructions of one of OPERATIONS on a float64."""
    if rounding := _ROUNDINGS[operation]:
        value = _call(builder, f"llvm.{rounding}.f64", _DOUBLE, value)
    return _call(builder, "llvm.fptosi.sat.i64.f64", _INTEGER, value)


def _call(builder: ir.IRBuilder, name: str, returns: ir.Type, value: ir.Value) -> ir.Value:
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(returns, [_DOUBLE]), name)
    return builder.call(function, [value])


def _for_numba(operation: Callable[..., Any]) -> Any:
    """The operation as numba takes it: of a float as above, of an integer or boolean that number."""

    def typed(context: Any, x: Any) -> Any:
        if x == types.float64:
            return types.int64(x), lambda context, builder, signature, values: convert(operation, builder, values[0])
        if isinstance(x, types.Integer | types.Boolean):
            return types.int64(x), lambda context, builder, signature, values: context.cast(
                builder, values[0], x, types.int64
            )
        return None

    typed.__name__ = operation.__name__
    return intrinsic(typed)


# Under names that no program can have.
FUNCTIONS = {f"_{operation.__name__}": _for_numba(operation) for operation in _ROUNDINGS}


def redirect(tree: ast.Module) -> ast.Module:
    """Have calls of these operations lead to FUNCTIONS; the tree is changed."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="int" | "round" as name), args=[_], keywords=[]):
                node.func = ast.copy_location(ast.Name(f"_{name}", ast.Load()), node.func)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="math"), attr="floor" | "ceil" | "trunc" as name), args=[_]
            ):
                node.func = ast.copy_location(ast.Name(f"_{name}", ast.Load()), node.func)
    return tree
