"""Single operations as LLVM functions, exactly as numba emits them.

Nothing here says what ``//`` or ``math.log`` compute: numba's own typing picks the signature, and
its own code generators write the instructions, under the error model of all hooks (1/0 is
infinite). So an operation means the same in a lowered hook and in one that numba compiled.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import callconv, types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.core.typing import signature
from numba.cpython.builtins import do_minmax

from evaluators.compiler import whole

# An operator or function of Python; what numba calls a function is found through it.
Operation = Callable[..., Any]

_CALL = re.compile(r'call [^@]*@"?([^"(]+)')
_PROFILE = re.compile(r", !prof !\d+")


class Primitive(NamedTuple):
    """One operation on arguments of given types."""

    name: str  # of the LLVM function
    returns: Any  # numba type
    parts: Mapping[str, str]  # that function and all it needs, name -> definition or declaration
    body: Body | None  # if it has no branches


class Body(NamedTuple):
    """Instructions of a function without branches, to be written where it is called."""

    arguments: Sequence[str]  # their names in the instructions
    instructions: Sequence[str]
    result: str  # a name or a number


def _body(function: ir.Function) -> Body | None:
    """What a function does, if it is plain enough to be written out where it is called."""
    if len(function.blocks) != 1:
        return None
    *instructions, last = (str(instruction).strip() for instruction in function.blocks[0].instructions)
    returned = function.blocks[0].instructions[-1].return_value.get_reference()
    plain = last.startswith("ret ") and all(line.startswith("%") for line in instructions)
    return Body([a.get_reference() for a in function.args], instructions, returned) if plain else None


@cache
def primitive(operation: Operation, arguments: tuple[Any, ...]) -> Primitive | None:
    """The operation on scalars of these numba types; None if numba does not make one function of it."""
    try:
        returns, module, name = _generate(operation, arguments)
    except (NumbaError, NotImplementedError, TypeError, IndexError):
        return None  # not typed, or it may raise, for which there is no caller here
    except (ImportError, OSError):
        return None  # it needs a module that a sealed worker cannot load any more
    parts = {function.name: _PROFILE.sub("", str(function)) for function in module.functions}
    called = {found for text in parts.values() for found in _CALL.findall(text)}
    known = all(c in parts and (_is_defined(parts[c]) or _is_linked(c)) for c in called)
    if not known or returns not in (types.float64, types.int64, types.boolean):
        return None
    return Primitive(name, returns, parts, _body(module.get_global(name)))


def _is_defined(text: str) -> bool:
    return not text.lstrip().startswith("declare")


def _is_linked(name: str) -> bool:
    """Whether the process has it; workers cannot load anything."""
    return name.startswith("llvm.") or llvm.address_of_symbol(name) is not None


@cache
def _context() -> Any:
    """Numba's context for code of this machine, with the error model of hooks."""
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    context = cpu_target.target_context.subtarget()
    context.error_model = callconv.create_error_model("numpy", context)
    return context


@cache
def value_type(type_: Any) -> str:
    """How numba holds a value of its type, in LLVM's words."""
    return str(_context().get_value_type(type_))


def field_position(type_: Any, field: str) -> int:
    """Where a field stands in the structure that holds a value of a numba type."""
    return int(_context().data_model_manager[type_].get_field_position(field))


def _generate(operation: Operation, arguments: tuple[Any, ...]) -> tuple[Any, ir.Module, str]:
    context, module = _context(), ir.Module()
    found, implement = _implementation(context, operation, arguments)
    kind = ir.FunctionType(context.get_value_type(found.return_type), [context.get_value_type(a) for a in arguments])
    name = ".".join([operation.__module__ or "", operation.__name__, *map(str, arguments)])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    converted = zip(function.args, arguments, found.args, strict=True)
    given = [context.cast(builder, value, given, wanted) for value, given, wanted in converted]
    with context.push_code_library(context.codegen().create_library("primitive")):
        builder.ret(implement(builder, given))
    return found.return_type, module, name


def _implementation(context: Any, operation: Operation, arguments: tuple[Any, ...]) -> tuple[Any, Callable[..., Any]]:
    """Numba's signature and code generator.

    A few operations are small functions of their own in numba, compiled and linked by name; below
    is what stands inside of them.
    """
    if operation in (max, min) and len(arguments) > 1:
        unified = context.typing_context.unify_types(*arguments)
        compare = operator.gt if operation is max else operator.lt
        return signature(unified, *arguments), lambda builder, v: do_minmax(context, builder, arguments, v, compare)
    if operation in whole.OPERATIONS and arguments == (types.float64,):
        return signature(types.int64, *arguments), lambda builder, v: whole.convert(operation, builder, *v)
    if operation is int and arguments == (types.int64,):
        return signature(types.int64, *arguments), lambda builder, v: v[0]
    if operation is operator.truediv and {*arguments} <= {types.float64, types.int64}:
        # Numba adds a branch that does nothing under this error model.
        return signature(*[types.float64] * 3), lambda builder, v: builder.fdiv(*v)
    if operation is math.hypot and len(arguments) == 2 and {*arguments} <= {types.float64, types.int64}:
        return signature(*[types.float64] * 3), lambda builder, v: _call_double(builder, "hypot", v)
    function = context.typing_context.resolve_value_type(operation)
    found = context.typing_context.resolve_function_type(function, arguments, {})
    if found is None:
        raise TypeError(f"{operation} does not take {arguments}")
    return found, context.get_function(function, found)


def _call_double(builder: ir.IRBuilder, name: str, values: Sequence[ir.Value]) -> ir.Value:
    double = ir.DoubleType()
    return builder.call(ir.Function(builder.module, ir.FunctionType(double, [double] * len(values)), name), values)
