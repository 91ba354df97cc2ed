"""Admission of whole programs in Python mode: ordinary Python and numpy, without a way to look around.

The sandbox is what keeps a program from doing harm; what is refused here would only fail later, or
is meant for something other than solving an instance. Each refusal says so before anything is paid
for. Nothing here evaluates any part of a program.
"""

from __future__ import annotations

import ast

from evaluators.admission.language import parse, refuse
from problems.problem import Problem
from problems.registry import suggest

# Everything that computes and nothing that reads clocks, files or the interpreter. All of it is
# imported before a worker is sealed, since a sealed worker can read no file.
MODULES = (
    "__future__", "array", "bisect", "cmath", "collections", "collections.abc", "copy", "dataclasses", "decimal",
    "enum", "fractions", "functools", "heapq", "itertools", "math", "numbers", "numpy", "numpy.fft", "numpy.linalg",
    "numpy.random", "operator", "random", "statistics", "string", "typing",
)  # fmt: skip

_NO_CALL = {
    "breakpoint": "there is nobody to debug",
    "compile": "a program does not write programs",
    "delattr": "write the attribute's name in the program",
    "eval": "a program does not write programs",
    "exec": "a program does not write programs",
    "exit": "return a solution",
    "getattr": "write the attribute's name in the program",
    "globals": "a program does not look into the interpreter",
    "help": "there is nobody to read it",
    "input": "there is nobody to answer",
    "locals": "a program does not look into the interpreter",
    "open": "there are no files: all there is to know is in the instance",
    "quit": "return a solution",
    "setattr": "write the attribute's name in the program",
    "vars": "a program does not look into the interpreter",
}
_NO_ATTRIBUTE = {
    **dict.fromkeys(
        ("f_back", "f_builtins", "f_code", "f_globals", "f_locals", "gi_frame", "gi_code", "cr_frame", "ag_frame",
         "tb_frame", "tb_next", "mro", "modules"),
        "a program does not look into the interpreter",
    ),
    **dict.fromkeys(
        ("ctypeslib", "ctypes", "f2py", "fromfile", "genfromtxt", "load", "loadtxt", "memmap", "open_memmap", "save",
         "savetxt", "savez", "savez_compressed", "tofile"),
        "there are no files or libraries: all there is to know is in the instance",
    ),
    "SystemRandom": "randomness is seeded by the instance, so that the same program gives the same answer",
}  # fmt: skip
_DUNDERS = frozenset(
    f"__{name}__"
    for name in (
        "init", "repr", "str", "eq", "ne", "lt", "le", "gt", "ge", "hash", "len", "iter", "next", "bool", "getitem",
        "setitem", "delitem", "contains", "call", "add", "sub", "mul", "neg", "enter", "exit", "post_init", "slots",
        "name",
    )
)  # fmt: skip


def admit_program(source: str, problem: Problem) -> None:
    """Refuse a program that is not Python, lacks ``solve(instance)``, or imports what it cannot have.

    Raises
    ------
    Rejection
        With the first rule that is broken.
    """
    tree = parse(source)
    assert problem.solver is not None, f"{problem.name} is not in Python mode"
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    solve = defined.get("solve")
    if solve is None:
        refuse(f"the program must define {problem.solver.signature}" + suggest("solve", defined))
    wanted = solve.args.posonlyargs + solve.args.args
    if len(wanted) - len(solve.args.defaults) > 1 or not (wanted or solve.args.vararg):
        refuse("solve must be callable with one argument, the instance", solve)
    for node in ast.walk(tree):
        _check(node)


def _check(node: ast.AST) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            _check_module(alias.name, node)
    elif isinstance(node, ast.ImportFrom):
        _check_module("." * node.level + (node.module or ""), node)
        for alias in node.names:
            _check_attribute(alias.name, node)
    elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        refuse("async is not admitted: a program runs alone", node)
    elif isinstance(node, ast.Attribute):
        _check_attribute(node.attr, node)
    elif isinstance(node, ast.Name):
        if node.id in _NO_CALL:
            refuse(f"{node.id} is not admitted: {_NO_CALL[node.id]}", node)
        _check_dunder(node.id, node)
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        _check_dunder(node.name, node)


def _check_module(name: str, node: ast.AST) -> None:
    if name not in MODULES:
        known = ", ".join(module for module in MODULES if not module.startswith("__"))
        refuse(f"the module {name!r} is not admitted; a program may import {known}", node)


def _check_attribute(name: str, node: ast.AST) -> None:
    if name in _NO_ATTRIBUTE:
        refuse(f"{name} is not admitted: {_NO_ATTRIBUTE[name]}", node)
    _check_dunder(name, node)


def _check_dunder(name: str, node: ast.AST) -> None:
    if name.startswith("__") and name.endswith("__") and name not in _DUNDERS:
        refuse(f"{name} is not admitted: a program does not look into the interpreter", node)
