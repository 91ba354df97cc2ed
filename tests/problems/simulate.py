"""Run Python rules in a problem's compiled simulator, without the evaluator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from problems.problem import Problem

THETA = types.Array(types.float64, 1, "C", readonly=True)


def simulate(
    problem: Problem,
    functions: Sequence[Callable[..., float]],
    data: Any,
    decoder: str | None = None,
    *,
    theta: Sequence[float] = (),
) -> Any:
    """Solve data with one function per hook; a function may take theta as one more argument."""
    kernel = problem.simulators[decoder or problem.default_decoder]
    signatures = tuple(_signature(tuple(hook.arguments.values())) for hook in problem.hooks)
    entry = _entry_point(kernel, numba.typeof(data), signatures)
    hooks = [_compiled(function, signature) for function, signature in zip(functions, signatures, strict=True)]
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    return entry(data, *hooks, values)


@cache
def _signature(arguments: tuple[type, ...]) -> Any:
    tuples = [types.NamedUniTuple(types.float64, len(c.__annotations__), c) for c in arguments]
    return types.float64(*tuples, THETA)


@cache
def _entry_point(kernel: Any, data: Any, signatures: tuple[Any, ...]) -> Any:
    """Native code for any hooks of these signatures: calling the kernel itself would compile it for each."""
    signature = (data, *map(types.FunctionType, signatures), THETA)
    kernel.compile(signature)
    return kernel.overloads[signature].entry_point


@cache
def _compiled(function: Callable[..., float], signature: Any) -> Any:
    options = {"error_model": "numpy", "boundscheck": True}
    if len(inspect.signature(function).parameters) == len(signature.args):
        return numba.njit(signature, **options)(function)
    inner = numba.njit(**options)(function)

    def one(a, theta):
        return inner(a)

    def two(a, b, theta):
        return inner(a, b)

    def three(a, b, c, theta):
        return inner(a, b, c)

    return numba.njit(signature, **options)((one, two, three)[len(signature.args) - 2])
