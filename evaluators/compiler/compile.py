"""From an admitted program to native code that simulators call as first-class functions."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.np.numpy_support import as_dtype

from evaluators.admission import language, parameters
from evaluators.compiler import whole
from evaluators.compiler.lower import NotLowered, lower
from evaluators.compiler.native import NativeHook, addresses
from problems.problem import Hook, Problem

# Read-only, so that a hook that writes it does not compile.
THETA = types.Array(types.float64, 1, "C", readonly=True)

# What LLVM text from here begins with; no source does, since Python takes none with this character.
DRAFTED = "\0"

_FILE = "<program>"
_OPTIONS: dict[str, Any] = {"boundscheck": True, "error_model": "numpy"}  # 1/0 is infinite, as in numpy
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class CompileFailure(ValueError):
    """A hook does not compile to its signature; the message names line, hook and rule."""


class CompiledProgram(NamedTuple):
    """What a simulator needs of a program: ``kernel(data, *hooks, theta)``."""

    hooks: tuple[Any, ...]  # numba dispatchers or NativeHooks, in the order of problem.hooks
    theta: np.ndarray  # (number of parameters,) float64, read-only
    compiler: str = "numba"  # or "lowered": which way it went


def hook_signature(hook: Hook) -> Any:
    """Numba signature of a hook: its NamedTuples, then theta, to float64."""
    return _signature(tuple(hook.arguments.values()))


@cache
def _signature(arguments: tuple[type, ...]) -> Any:
    records = [types.NamedUniTuple(types.float64, len(vars(t)["_fields"]), t) for t in arguments]
    return types.float64(*records, THETA)


def _kernel_signature(problem: Problem, data: Any) -> tuple[Any, ...]:
    hooks = (types.FunctionType(hook_signature(hook)) for hook in problem.hooks)
    return (numba.typeof(data), *hooks, THETA)


def simulator(problem: Problem, decoder: str, data: Any) -> Callable[..., Any]:
    """The compiled kernel for data of this type, to be called with (data, *hooks, theta).

    Compiled once for all programs, because hooks enter as first-class functions. What is returned
    is the entry point itself: numba's dispatch would type every new hook again.
    """
    kernel: Any = problem.simulators[decoder]
    signature = _kernel_signature(problem, data)
    kernel.compile(signature)
    entry: Callable[..., Any] = kernel.overloads[signature].entry_point
    return entry


def solution_layout(problem: Problem, decoder: str, data: Any) -> list[tuple[str, int]]:
    """Dtype and dimensions of each array that the simulator returns, from its compiled signature."""
    simulator(problem, decoder, data)
    kernel: Any = problem.simulators[decoder]
    returned = list(kernel.overloads[_kernel_signature(problem, data)].signature.return_type)
    return [(str(as_dtype(getattr(t, "dtype", t))), getattr(t, "ndim", 0)) for t in returned]


def simulate(problem: Problem, decoder: str, data: Any, program: CompiledProgram) -> Any:
    """Run one simulation; the solution is a NamedTuple of arrays."""
    return simulator(problem, decoder, data)(data, *program.hooks, program.theta)


def draft(source: str, problem: Problem) -> str:
    """What a worker needs of an admitted program: LLVM text if it is made of scalars, else its source.

    Written where numba and its operations are at hand: in a worker that was just forked it takes ten times
    as long, and the text is data there like any other.
    """
    try:
        tree = language.parse(source)
        text = lower(tree, problem, _signatures(problem))
    except (NotLowered, ValueError, RecursionError):  # numba says what is wrong with it, if anything is
        return source
    loops = any(isinstance(node, ast.For | ast.While) for node in ast.walk(tree))
    theta = [parameter.value for parameter in parameters.parameters(tree)]
    return f"{DRAFTED}{json.dumps([loops, theta])}\n{text}"


def compile_draft(drafted: str, problem: Problem) -> CompiledProgram:
    """Compile what ``draft`` made of a program; same bits either way.

    Errors are those of compile_hooks, which the source of a program goes to.
    """
    if not drafted.startswith(DRAFTED):
        return compile_hooks(drafted, problem)
    head, _, text = drafted[len(DRAFTED) :].partition("\n")
    loops, theta = json.loads(head)
    found = addresses(text, [hook.name for hook in problem.hooks], loops=loops)
    hooks = tuple(NativeHook(address, s) for address, s in zip(found, _signatures(problem), strict=True))
    return CompiledProgram(hooks, _read_only(theta), "lowered")


def _signatures(problem: Problem) -> list[Any]:
    return [hook_signature(hook) for hook in problem.hooks]


def compile_hooks(source: str, problem: Problem, *, wrappers: bool = False) -> CompiledProgram:
    """Compile a program's hooks to their exact signatures, through numba.

    Parameters
    ----------
    source : str
        An admitted program, or any source inside a sealed worker: module level is executed.
    problem : Problem
        Whose hooks are compiled.
    wrappers : bool
        Make the hooks callable from Python as well, at twice the time.

    Raises
    ------
    CompileFailure
        If a hook is missing or does not compile.
    Rejection
        If source is not Python.
    """
    tree = language.parse(source)
    theta = _theta(tree)
    namespace = _define(whole.redirect(parameters.lift(tree)), wrappers)
    hooks = []
    for hook in problem.hooks:
        dispatcher = namespace.get(hook.name)
        if not hasattr(dispatcher, "compile"):
            raise CompileFailure(f"the program must define {hook.signature}")
        _compile(dispatcher, hook, source)
        hooks.append(dispatcher)
    return CompiledProgram(tuple(hooks), theta)


def _theta(tree: ast.Module) -> np.ndarray:
    return _read_only([parameter.value for parameter in parameters.parameters(tree)])


def _read_only(values: Sequence[float]) -> np.ndarray:
    if not values:
        return _NO_THETA
    theta = np.array(values, dtype=np.float64)
    theta.setflags(write=False)
    return theta


_NO_THETA = np.empty(0)
_NO_THETA.setflags(write=False)


def _define(tree: ast.Module, wrappers: bool) -> Mapping[str, Any]:
    """Execute the module; each of its functions becomes a dispatcher that the others find by its name."""
    namespace: dict[str, Any] = {"__name__": "program", **whole.FUNCTIONS}
    exec(compile(tree, _FILE, "exec", dont_inherit=True), namespace)
    options = _OPTIONS if wrappers else _OPTIONS | _NO_WRAPPERS
    for name, value in namespace.items():
        if isinstance(value, FunctionType):
            namespace[name] = numba.njit(**options)(value)
    return namespace


def _compile(dispatcher: Any, hook: Hook, source: str) -> None:
    """Compile one hook and tell numba where its native code is.

    Numba makes a first-class function of a dispatcher from two addresses, that of a C wrapper and
    that of the native code, and calls the first only where there is no second. Building wrappers
    takes as long as the rest, so there are none, and the native address stands in for both.
    Exceptions then pass from hooks through simulators, which no C wrapper lets them do.
    """
    signature = hook_signature(hook)
    try:
        dispatcher.compile(signature)
    except (NumbaError, NotImplementedError) as error:
        _explain(str(error), hook, source)
    dispatcher.disable_compile()
    result = dispatcher.overloads[signature.args]
    if result.signature.return_type != types.float64:
        raise CompileFailure(f"{hook.name} never returns")
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    dispatcher.__wrapper_address__ = lambda: address


# What numba says, and what to say instead.
_PLAIN: tuple[tuple[str, str], ...] = (
    (r"No conversion from (?P<a>.+) to float64 for '.*return", "{hook} must return a number on every path, got {a}"),
    (r"Cannot unify (?P<a>.+) and (?P<b>.+) for '(?P<name>\w+)", "{name!r} is {a} in one place and {b} in another"),
    (r"No implementation of function .* found for signature:\s*>>> (?P<call>[^\n]+)", "there is no {call}"),
    (r"Invalid use of (?P<a>.+) with parameters", "{a} cannot be called"),
    (r"(?s)No definition for lowering (?P<a>\S+)\.", "fields of arguments are read-only"),
    (r"Unknown attribute '(?P<name>\w+)' of type (?P<a>.+)", "{a} has no {name!r}"),
)
_TYPES: tuple[tuple[str, str], ...] = (
    (r"Literal\[str\]\([^)]*\)|\bunicode_type\b", "a string"),
    (r"Literal\[int\]\([^)]*\)", "an integer"),
    (r"(readonly )?array\([^)]*\)", "an array"),
    (r"(Uni)?Tuple\([^)]*\)", "a tuple"),
    (r"(\w+)\(float64 x \d+\)", r"\1"),
    (r"float64", "a float"),
    (r"int64", "an integer"),
    (r"\bbool(ean)?\b", "a boolean"),
    (r"\bnone\b", "None"),
)


def _explain(message: str, hook: Hook, source: str) -> NoReturn:
    """Raise the one line of a numba error that matters, with the program's line it is about."""
    message = re.sub(r"Failed in \w+ mode pipeline \(step: [^)]*\)\n", "", message)
    rule = message.strip().split("\n")[0].strip()
    for pattern, text in _PLAIN:
        if match := re.search(pattern, message):
            rule = text.format(hook=hook.name, **{k: _readable(v) for k, v in match.groupdict().items()})
            break
    place = re.search(rf'File "{_FILE}", line (\d+)|{_FILE} \((\d+)\)', message)
    if place is None:
        raise CompileFailure(f"{hook.name}: {rule}")
    number = int(place[1] or place[2])
    lines = source.split("\n")
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    raise CompileFailure(f"line {number}: {rule}: `{text}`")


def _readable(text: str) -> str:
    for pattern, plain in _TYPES:
        text = re.sub(pattern, plain, text)
    return text
