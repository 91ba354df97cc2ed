"""Admission: what a program may say, decided on its syntax tree before anything of it runs.

Whatever is not admitted is refused, in one sentence that a person or a language model can act on.
Nothing here evaluates any part of a program, so no program can make the trusted process compute
or allocate much.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from evaluators.admission import parameters
from evaluators.admission.bodies import Body, Scope, check_annotation
from evaluators.admission.flow import maybe_undefined
from evaluators.admission.language import (
    IMPORTS,
    INSTEAD,
    MAX_FUNCTIONS,
    Rejection,
    check_name,
    check_number,
    parse,
    refuse,
)
from problems.problem import Hook, Problem
from problems.registry import suggest

__all__ = ["Rejection", "admit"]


def admit(source: str, problem: Problem) -> None:
    """Refuse a program that says anything but what this module admits.

    Raises
    ------
    Rejection
        With the first rule that is broken.
    """
    tree = parse(source)
    scope = _scope(tree, problem)
    for hook in problem.hooks:
        _check_hook(scope.functions.get(hook.name), hook, scope)
    for function in scope.functions.values():
        _check_signature(function, scope)
        Body(function, scope).block(function.body)
        if unset := maybe_undefined(function):
            refuse(f"{unset.id!r} may be read before it is assigned: assign it before the if or loop", unset)
    _refuse_recursion(scope.functions)


def _scope(tree: ast.Module, problem: Problem) -> Scope:
    """Read what the module level defines, and refuse what does not belong there."""
    functions: dict[str, ast.FunctionDef] = {}
    constants: set[str] = set()
    modules: set[str] = set()
    for position, statement in enumerate(tree.body):
        match statement:
            case ast.Expr(value=ast.Constant(value=str())) if position == 0:
                continue  # docstring
            case ast.Import() if ast.unparse(statement) in IMPORTS.values():
                modules.add(statement.names[0].asname or statement.names[0].name)
                continue
            case ast.FunctionDef():
                check_name(statement.name, statement, functions.keys() | constants)
                functions[statement.name] = statement
            case ast.Assign():
                name = _constant(statement)
                check_name(name, statement, functions.keys() | constants)
                constants.add(name)
            case ast.Import() | ast.ImportFrom() | ast.ClassDef() | ast.AsyncFunctionDef():
                refuse(INSTEAD[type(statement)], statement)
            case _:
                refuse("module level admits imports, constants, param(...) and functions, nothing else", statement)
    if len(functions) > MAX_FUNCTIONS:
        refuse(f"the program has {len(functions)} functions, more than the {MAX_FUNCTIONS} admitted")
    fields = {h.name: {a: getattr(t, "_fields", ()) for a, t in h.arguments.items()} for h in problem.hooks}
    every = frozenset(name for arguments in fields.values() for names in arguments.values() for name in names)
    tunable = frozenset(parameters.parameter(node).name for node in tree.body if parameters.is_parameter(node))
    return Scope(functions, frozenset(constants), frozenset(modules), fields, every, tunable)


def _constant(statement: ast.Assign) -> str:
    """Name of a module-level constant or parameter, once its form is admitted."""
    if parameters.is_parameter(statement):
        try:
            return parameters.parameter(statement).name
        except ValueError as error:
            refuse(str(error), statement)
    if len(statement.targets) != 1 or not isinstance(statement.targets[0], ast.Name):
        refuse("a constant is written NAME = number", statement)
    name, value = statement.targets[0].id, statement.value
    parts = value.elts if isinstance(value, ast.Tuple) and value.elts else [value]
    for part in parts:
        found = parameters.number(part)
        if found is None:
            refuse(f"the constant {name} must be a number, or a tuple of numbers, written out", statement)
        check_number(found, part)
    return name


def _check_hook(function: ast.FunctionDef | None, hook: Hook, scope: Scope) -> None:
    if function is None:
        refuse(f"the program must define {hook.signature}" + suggest(hook.name, scope.functions))
    names = [argument.arg for argument in function.args.args]
    if names != list(hook.arguments):
        refuse(f"the hook must be defined as {hook.signature}, got {hook.name}({', '.join(names)})", function)


def _check_signature(function: ast.FunctionDef, scope: Scope) -> None:
    args = function.args
    if function.decorator_list:
        refuse("decorators are not admitted: hooks are compiled without one", function)
    if args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs:
        refuse(f"{function.name} may have plain positional arguments only", function)
    if args.defaults:
        refuse(f"{function.name} may not have default values: pass every argument", function)
    if getattr(function, "type_params", None):
        refuse("type parameters are not admitted: all values are numbers", function)
    taken = {*scope.functions, *scope.constants}
    for argument in args.args:
        check_name(argument.arg, argument, taken)
        taken.add(argument.arg)
    for note in (function.returns, *(argument.annotation for argument in args.args)):
        check_annotation(note)


def _refuse_recursion(functions: Mapping[str, ast.FunctionDef]) -> None:
    """Every chain of calls must end, also because the compiler would not."""
    calls = {name: [call for call in _called(function) if call in functions] for name, function in functions.items()}
    finished: set[str] = set()

    def follow(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            refuse(f"recursion is not admitted: {' -> '.join([*chain[chain.index(name) :], name])}", functions[name])
        if name not in finished:
            for callee in calls[name]:
                follow(callee, (*chain, name))
            finished.add(name)

    for name in functions:
        follow(name, ())


def _called(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
