"""What the functions of a program may say: statements, expressions, calls."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from typing import NamedTuple, NoReturn

from evaluators.admission import parameters
from evaluators.admission.language import (
    BUILTINS,
    CONSTANTS,
    FUNCTIONS,
    IMPORTS,
    INSTEAD,
    check_name,
    check_number,
    check_power,
    is_docstring,
    refuse,
)
from problems.registry import suggest


class Scope(NamedTuple):
    """What a module defines."""

    functions: Mapping[str, ast.FunctionDef]
    constants: frozenset[str]
    modules: frozenset[str]  # math, np: those imported
    fields: Mapping[str, Mapping[str, Collection[str]]]  # hook -> argument -> fields

    every_field: frozenset[str]  # of all arguments of all hooks: what a helper may read of what it is given
    parameters: frozenset[str]  # constants that may be tuned, which makes them floats


def check_annotation(note: ast.expr | None) -> None:
    """Refuse what would be evaluated where a program is imported as plain Python."""
    if note is not None and not (isinstance(note, ast.Name) and note.id in ("float", "int", "bool")):
        refuse("annotations may be float, int or bool, nothing else", note)


class Body:
    """Walks the statements and expressions of one function; what no case admits is refused."""

    def __init__(self, function: ast.FunctionDef, scope: Scope) -> None:
        self._function = function
        self._scope = scope
        self._arguments = {argument.arg for argument in function.args.args}
        stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self._locals = self._arguments | stored

        self._loops = 0  # around the statement that is looked at

    def block(self, statements: list[ast.stmt]) -> None:
        """Check statements in order; a docstring may come first in the function."""
        for position, statement in enumerate(statements):
            if position == 0 and statements is self._function.body and is_docstring(statement):
                continue
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass():
                pass
            case ast.Break() | ast.Continue():
                if not self._loops:
                    refuse(f"{type(node).__name__.lower()} stands in a loop only", node)
            case ast.Return(value=None):
                refuse("return needs a number", node)
            case ast.Return(value=ast.expr() as value):
                self._expression(value)
            case ast.Assign():
                self._expression(node.value)
                for target in node.targets:
                    self._target(target)
            case ast.AugAssign():
                self._operator(node.op, node)
                self._expression(node.value)
                self._target(node.target)
            case ast.AnnAssign(value=ast.expr() as value):
                check_annotation(node.annotation)
                self._expression(value)
                self._target(node.target)
            case ast.If():
                self._expression(node.test)
                self.block(node.body)
                self.block(node.orelse)
            case ast.While():
                self._expression(node.test)
                self._loop(node)
            case ast.For(iter=ast.Call(func=ast.Name(id="range")) as bounds, target=ast.Name()):
                self._target(node.target)
                if not 1 <= len(bounds.args) <= 3:
                    refuse(f"range takes 1 to 3 arguments, got {len(bounds.args)}", node)
                self._all(*self._positional(bounds))
                for bound in bounds.args:
                    self._check_whole(bound)
                self._loop(node)
            case ast.For():
                refuse("for loops are written `for NAME in range(...)`", node)
            case ast.Expr():
                refuse("the value of this expression is not used: assign or return it", node)
            case _:
                self._refuse(node, node)

    def _check_whole(self, node: ast.expr) -> None:
        """Refuse a parameter in the bounds of a range: compiled code would cut it off, Python would not run."""
        if isinstance(node, ast.Name) and node.id in self._scope.parameters:
            refuse(f"the parameter {node.id} is a float and range takes whole numbers: write int({node.id})", node)
        if not isinstance(node, ast.Call):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self._check_whole(child)

    def _loop(self, node: ast.For | ast.While) -> None:
        self._loops += 1
        self.block(node.body)
        self._loops -= 1
        self.block(node.orelse)

    def _target(self, node: ast.expr) -> None:
        match node:
            case ast.Name():
                check_name(node.id, node)
                if node.id in self._scope.functions or node.id in self._scope.constants:
                    refuse(f"{node.id!r} is defined at module level and cannot be assigned: choose another name", node)
            case ast.Tuple():
                for element in node.elts:
                    self._target(element)
            case ast.Subscript(value=ast.Name(id=name)):
                if name in self._arguments or name not in self._locals:
                    refuse(f"only arrays made in the same function may be written, not {name!r}", node)
                self._expression(node.slice)
            case ast.Attribute():
                refuse("fields of arguments are read-only", node)
            case _:
                self._refuse(node, node)

    def _expression(self, node: ast.expr) -> None:
        match node:
            case ast.Constant():
                check_number(node.value, node)
            case ast.Name():
                self._name(node)
            case ast.Attribute():
                self._attribute(node)
            case ast.Call():
                self._call(node)
            case ast.BinOp():
                self._operator(node.op, node)
                check_power(node)
                self._all(node.left, node.right)
            case ast.UnaryOp():
                self._expression(node.operand)
            case ast.BoolOp():
                self._all(*node.values)
            case ast.Compare():
                for operator in node.ops:
                    self._operator(operator, node)
                self._all(node.left, *node.comparators)
            case ast.IfExp():
                self._all(node.test, node.body, node.orelse)
            case ast.Subscript():
                self._all(node.value, node.slice)
            case ast.Tuple():
                self._all(*node.elts)
            case _:
                self._refuse(node, node)

    def _all(self, *nodes: ast.expr) -> None:
        for node in nodes:
            self._expression(node)

    def _operator(self, operator: ast.AST, node: ast.AST) -> None:
        if type(operator) in INSTEAD:
            self._refuse(operator, node)

    def _refuse(self, what: ast.AST, where: ast.AST) -> NoReturn:
        refuse(INSTEAD.get(type(what), f"{type(what).__name__.lower()} is not admitted"), where)

    def _name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._locals or name in self._scope.constants:
            return
        if name in self._scope.functions or name in BUILTINS:
            refuse(f"{name!r} is a function: call it", node)
        if name in IMPORTS:
            refuse(f"{name!r} is a module: read {name}.something", node)
        known = self._locals | self._scope.constants
        refuse(f"unknown name {name!r}{suggest(name, known)}", node)

    def _attribute(self, node: ast.Attribute) -> None:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner in IMPORTS and owner not in self._locals:
            self._module_member(node, owner, CONSTANTS[owner], "constant")
        elif owner in self._arguments:
            fields = self._scope.fields.get(self._function.name, {}).get(owner, self._scope.every_field)
            if node.attr not in fields:
                hint = suggest(node.attr, fields) or f"; its fields are {', '.join(sorted(fields))}"
                refuse(f"{owner} has no field {node.attr!r}{hint}", node)
        else:
            refuse(f"`.{node.attr}`: only the fields of arguments, math and np may be read with a dot", node)

    def _module_member(self, node: ast.Attribute, module: str, admitted: Collection[str], kind: str) -> None:
        if module not in self._scope.modules:
            refuse(f"{module} is not imported: begin with `{IMPORTS[module]}`", node)
        if node.attr not in admitted:
            if kind == "constant" and node.attr in FUNCTIONS[module]:
                refuse(f"{module}.{node.attr} is a function: call it", node)
            hint = suggest(node.attr, admitted) or f"; admitted are {', '.join(sorted(admitted))}"
            refuse(f"{module}.{node.attr} is not an admitted {kind}{hint}", node)

    def _call(self, node: ast.Call) -> None:
        arguments = self._positional(node)
        match node.func:
            case ast.Name(id=name) if name in self._scope.functions and name not in self._locals:
                wanted = len(self._scope.functions[name].args.args)
                if len(arguments) != wanted:
                    refuse(f"{name} takes {wanted} arguments, got {len(arguments)}", node)
            case ast.Name(id="range"):
                refuse("range(...) stands in a for loop only", node)
            case ast.Name(id=name) if name in BUILTINS:
                pass
            case ast.Name(id="param"):
                refuse(f"a parameter is defined at module level: {parameters.FORM}", node)
            case ast.Name(id=name):
                known = BUILTINS | self._scope.functions.keys()
                hint = suggest(name, known) or f"; admitted are {', '.join(sorted(known))}"
                refuse(f"the function {name!r} is not admitted{hint}", node)
            case ast.Attribute(value=ast.Name(id=owner)) if owner in IMPORTS and owner not in self._locals:
                self._module_member(node.func, owner, FUNCTIONS[owner], "function")
            case _:
                refuse("only functions of this program, of math and of np, and a few built-ins may be called", node)
        self._all(*arguments)

    def _positional(self, node: ast.Call) -> list[ast.expr]:
        if node.keywords:
            refuse("arguments are given by position, without keywords", node)
        return node.args
