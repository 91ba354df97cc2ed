"""Canonical form: what is left of a program when names, layout and dead code are taken away.

Programs with equal forms make equal decisions and, once they compile, end alike. The form is
therefore conservative: floating-point terms keep their order, ``1`` is not ``1.0``, and a
statement counts as dead only if it can neither raise nor loop. Dead code may still keep a program
from being admitted or compiled, so equal forms say nothing about those two outcomes.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from evaluators.admission import parameters
from evaluators.admission.deadcode import makes_arrays, names, reachable, without_unread
from evaluators.admission.language import Rejection, is_docstring, parse

_IMPORTS = {("math", None): "math", ("numpy", "np"): "np"}
_ANNOTATIONS = ("float", "int", "bool")


class _Beyond(Exception):
    """The program holds something that the analysis does not know."""


@lru_cache(maxsize=256)  # the loop asks several times for each program
def canonical_hash(source: str, hooks: tuple[str, ...] = ()) -> str:
    """Hash of the canonical form: 32 hexadecimal digits, the same on every machine.

    Parameters
    ----------
    source : str
        Any text.
    hooks : tuple of str
        Functions that the problem calls and that are compiled: they keep their names, and what they
        do not reach is dead. Without them the source is plain Python, where nearly anything may
        raise: only comments and layout do not count.
    """
    form = canonical_form(source, hooks)
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def canonical_form(source: str, hooks: Collection[str] = ()) -> str:
    """The form itself, for reading and tests.

    Where the analysis does not apply it is the syntax tree, so that comments and layout still do
    not count; where the text does not parse, or exceeds the limits of programs, it is the text.
    """
    try:
        tree = parse(source)
    except Rejection:
        return f"text\n{source}"
    try:
        return _Module(tree, hooks).form()
    except _Beyond:
        return f"tree\n{ast.dump(parse(source))}"  # anew: the analysis may have cut the first


class _Module:
    """The definitions of a program, numbered in the order in which its hooks reach them."""

    def __init__(self, tree: ast.Module, hooks: Collection[str]) -> None:
        self.functions: dict[str, ast.FunctionDef] = {}
        self.constants: dict[str, ast.expr] = {}
        imports: list[str] = []
        for position, statement in enumerate(tree.body):
            match statement:
                case ast.FunctionDef(name=name):
                    self._define(name, self.functions, statement)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._define(name, self.constants, value)
                case ast.Import(names=[alias]) if (alias.name, alias.asname) in _IMPORTS:
                    imports.append(_IMPORTS[alias.name, alias.asname])
                case _ if position == 0 and is_docstring(statement):
                    pass
                case _:
                    raise _Beyond
        if not self.functions.keys().isdisjoint(imports) or not self.constants.keys().isdisjoint(imports):
            raise _Beyond
        self.imports = frozenset(imports)
        self.roots = sorted(hooks)
        if not self.roots or not self.functions.keys() >= set(self.roots):
            raise _Beyond
        self.numbers: dict[str, str] = {name: f"@{name}" for name in self.roots}
        self.used: list[str] = []  # constants and modules, as they are reached
        self._arrays = makes_arrays(tree)

    def _define(self, name: str, kind: dict[str, Any], node: ast.AST) -> None:
        if name in self.functions or name in self.constants:
            raise _Beyond
        kind[name] = node

    def form(self) -> str:
        """The text of everything that the roots reach."""
        parts = ["program"]
        queue = self.reached = list(self.roots)
        for name in queue:  # grows while functions are written
            function = _Function(self.functions[name], self)
            parts.append(f"{self.numbers[name]}{function.form(prune_unread=not self._arrays)}")
        parts += [f"{self.numbers[name]}={_constant(self.constants[name])}" for name in self.used]
        return "\n".join(parts)

    def global_name(self, name: str) -> str:
        """A name that is not local: numbered where the program defines it."""
        if name in self.numbers:
            return self.numbers[name]
        if name in self.functions:
            self.numbers[name] = f"@{len(self.reached)}"
            self.reached.append(name)
        elif name in self.constants:
            self.numbers[name] = f"${len(self.used)}"
            self.used.append(name)
        elif name in _IMPORTS.values() and name not in self.imports:
            return f"missing {name}"
        else:
            return name
        return self.numbers[name]


def _is_plain(note: ast.expr | None) -> bool:
    """Whether an annotation means nothing where programs are compiled."""
    return note is None or (isinstance(note, ast.Name) and note.id in _ANNOTATIONS)


def _constant(node: ast.expr) -> str:
    """A number, a tuple of numbers, or a parameter with its bounds."""
    match node:
        case ast.Tuple(elts=elements):
            return f"({','.join(_constant(element) for element in elements)},)"
        case ast.Call(func=ast.Name(id="param"), args=[value], keywords=keywords):
            settings = sorted(f"{keyword.arg}={_constant(keyword.value)}" for keyword in keywords)
            return f"param({','.join([_constant(value), *settings])})"
    found = parameters.number(node)
    if found is None:
        raise _Beyond
    return repr(found)


class _Function:
    """Writes one function, its locals numbered as they come."""

    def __init__(self, function: ast.FunctionDef, module: _Module) -> None:
        args = function.args
        found = [argument.arg for argument in args.args]
        notes = [function.returns, *(argument.annotation for argument in args.args)]
        unusual = (args.posonlyargs, args.kwonlyargs, args.vararg, args.kwarg, args.defaults, function.decorator_list)
        if any(unusual) or getattr(function, "type_params", None) or len(set(found)) < len(found):
            raise _Beyond
        if not all(map(_is_plain, notes)):
            raise _Beyond
        self._module = module
        self._arguments = found
        self._body = function.body[1:] if is_docstring(function.body[0]) else function.body
        self._bound = {*found, *names(self._body, ast.Store)}
        self._numbers: dict[str, str] = {}

    def form(self, *, prune_unread: bool) -> str:
        body = reachable(self._body)
        if prune_unread:
            body = without_unread(body)
        arguments = ",".join(self._name(name) for name in self._arguments)
        return f"({arguments}){self._block(body)}"

    def _block(self, statements: Iterable[ast.stmt]) -> str:
        return "{" + ";".join([self._write(statement) for statement in statements]) + "}"

    def _name(self, name: str) -> str:
        if name not in self._bound:
            return self._module.global_name(name)
        return self._numbers.setdefault(name, f"%{len(self._numbers)}")

    def _write(self, node: ast.AST) -> str:
        write = _WRITERS.get(type(node))
        if write is None:
            raise _Beyond
        return write(self, node)

    def _all(self, nodes: Iterable[ast.AST]) -> str:
        return ",".join([self._write(node) for node in nodes])

    def constant(self, node: ast.Constant) -> str:
        if not isinstance(node.value, bool | int | float):
            raise _Beyond
        return repr(node.value)

    def name(self, node: ast.Name) -> str:
        return self._name(node.id)

    def attribute(self, node: ast.Attribute) -> str:
        return f"{self._write(node.value)}.{node.attr}"

    def call(self, node: ast.Call) -> str:
        if node.keywords:
            raise _Beyond
        return f"{self._write(node.func)}({self._all(node.args)})"

    def binary(self, node: ast.BinOp) -> str:
        return f"({self._write(node.left)} {type(node.op).__name__} {self._write(node.right)})"

    def unary(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.UAdd) and type(getattr(node.operand, "value", None)) in (int, float):
            return self._write(node.operand)
        return f"({type(node.op).__name__} {self._write(node.operand)})"

    def boolean(self, node: ast.BoolOp) -> str:
        return f"{type(node.op).__name__}({self._all(node.values)})"

    def compare(self, node: ast.Compare) -> str:
        pairs = zip(node.ops, node.comparators, strict=True)
        return f"({self._write(node.left)}{''.join(f' {type(o).__name__} {self._write(c)}' for o, c in pairs)})"

    def conditional(self, node: ast.IfExp) -> str:
        return f"if({self._all((node.test, node.body, node.orelse))})"

    def subscript(self, node: ast.Subscript) -> str:
        return f"{self._write(node.value)}[{self._write(node.slice)}]"

    def tuple_(self, node: ast.Tuple) -> str:
        return f"({self._all(node.elts)},)"

    def return_(self, node: ast.Return) -> str:
        return f"return {self._write(node.value)}" if node.value else "return"

    def assign(self, node: ast.Assign) -> str:
        return f"{self._write(node.value)} -> {self._all(node.targets)}"

    def annotated(self, node: ast.AnnAssign) -> str:
        if node.value is None or not _is_plain(node.annotation):
            raise _Beyond
        return f"{self._write(node.value)} -> {self._write(node.target)}"

    def augmented(self, node: ast.AugAssign) -> str:
        return f"{self._write(node.target)} {type(node.op).__name__}= {self._write(node.value)}"

    def if_(self, node: ast.If) -> str:
        return f"if {self._write(node.test)}{self._block(node.body)}{self._block(node.orelse)}"

    def while_(self, node: ast.While) -> str:
        return f"while {self._write(node.test)}{self._block(node.body)}{self._block(node.orelse)}"

    def for_(self, node: ast.For) -> str:
        head = f"for {self._write(node.target)} in {self._write(node.iter)}"
        return f"{head}{self._block(node.body)}{self._block(node.orelse)}"


_WRITERS: Mapping[type[ast.AST], Callable[[Any, Any], str]] = {
    ast.Constant: _Function.constant,
    ast.Name: _Function.name,
    ast.Attribute: _Function.attribute,
    ast.Call: _Function.call,
    ast.BinOp: _Function.binary,
    ast.UnaryOp: _Function.unary,
    ast.BoolOp: _Function.boolean,
    ast.Compare: _Function.compare,
    ast.IfExp: _Function.conditional,
    ast.Subscript: _Function.subscript,
    ast.Tuple: _Function.tuple_,
    ast.Return: _Function.return_,
    ast.Assign: _Function.assign,
    ast.AnnAssign: _Function.annotated,
    ast.AugAssign: _Function.augmented,
    ast.If: _Function.if_,
    ast.While: _Function.while_,
    ast.For: _Function.for_,
    ast.Break: lambda *_: "break",
    ast.Continue: lambda *_: "continue",
}
