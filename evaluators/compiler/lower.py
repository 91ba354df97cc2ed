"""From an admitted program's syntax tree straight to LLVM, for hooks made of scalars.

Numba takes ten times as long for the same machine code. Here every name has one type, and whatever
is not plain is left to numba: arrays, a name that is an integer here and a float there, a power
whose numbers the optimiser might or might not know. What is lowered gives the same bits (operations:
see primitives.py), so nobody needs to know which way a program went.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from typing import Any

from evaluators.admission import parameters
from evaluators.compiler._lower_expressions import Expressions
from evaluators.compiler._lower_values import BOOLEAN, FLOAT, INTEGER, NotLowered, Value, literal
from evaluators.compiler.primitives import Operation, Primitive, field_position, primitive, value_type
from problems.problem import Problem

__all__ = ["NotLowered", "lower"]

# A function of eight arguments could be called with 256 combinations of types, by others like it.
_MOST_FUNCTIONS, _MOST_CHARACTERS = 64, 500_000


def lower(tree: ast.Module, problem: Problem, signatures: Sequence[Any]) -> str:
    """LLVM text of a module that defines each hook under its name, in the C calling convention.

    Parameters
    ----------
    tree : ast.Module
        The program, parameters not lifted.
    problem : Problem
        Whose hooks are lowered.
    signatures : sequence
        Numba signature of each hook: its NamedTuples, then theta, to float64.

    Raises
    ------
    NotLowered
        If the program needs numba; it need not be an error.
    """
    program = _Program(tree)
    for hook, signature in zip(problem.hooks, signatures, strict=True):
        program.add_hook(hook.name, list(hook.arguments), signature)
    return program.text()


class _Program:
    """The functions of a module, each lowered once per types of its arguments."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: dict[str, ast.FunctionDef] = {}
        self.constants: dict[str, Any] = {}
        self.indices = {p.name: i for i, p in enumerate(parameters.parameters(tree))}
        self._lowered: dict[tuple[str, tuple[Any, ...]], tuple[str, Any] | None] = {}
        self._primitives: dict[str, str] = {}
        self._texts: list[str] = []
        for statement in tree.body:
            self._define(statement)

    def _define(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Import() | ast.Expr(value=ast.Constant(value=str())):
                pass  # admission knows which imports; names other than math and np are not looked up
            case ast.FunctionDef(name=name, decorator_list=[]) if name not in self._functions:
                self._functions[name] = statement
            case ast.Assign() if parameters.is_parameter(statement):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Tuple(elts=elements)):
                self.constants[name] = tuple(literal(element) for element in elements)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in self.constants:
                self.constants[name] = literal(value)
            case _:
                raise NotLowered("module level")

    @property
    def taken(self) -> set[str]:
        """Names that no local variable may have."""
        return {*self._functions, *self.constants, *self.indices, "math", "np"}

    def add_hook(self, name: str, arguments: Sequence[str], signature: Any) -> None:
        """Lower a hook, and wrap it: numba passes theta as an array, and wants a float."""
        function = self._functions.get(name)
        if function is None or [a.arg for a in function.args.args] != list(arguments):
            raise NotLowered("a hook is missing")
        *records, theta = signature.args
        key = (name, tuple(records))
        self._lowered[key] = None  # while it is written, a call of it would be recursion
        body = _Function(self, function, records)
        del self._lowered[key]
        array = value_type(theta)
        head = f'define double @"{name}"({", ".join([*body.arguments, f"{array} %array"])}) {{'
        pointer = f"  %theta = extractvalue {array} %array, {field_position(theta, 'data')}"
        self._texts.append(body.text(head, pointer, returns=FLOAT))

    def call(self, name: str, arguments: Sequence[Any]) -> tuple[str, Any]:
        """LLVM name and return type of a function for arguments of these types."""
        key = (name, tuple(arguments))
        if key not in self._lowered:
            if name not in self._functions:
                raise NotLowered(f"the function {name}")
            if len(self._lowered) >= _MOST_FUNCTIONS or sum(map(len, self._texts)) > _MOST_CHARACTERS:
                raise NotLowered("too many functions, counted once per types of arguments")
            self._lowered[key] = None
            function = _Function(self, self._functions[name], arguments)
            symbol = f"{name}.{len(self._lowered)}"
            given = ", ".join([*function.arguments, "ptr %theta"])
            self._texts.append(function.text(f'define internal {value_type(function.returns)} @"{symbol}"({given}) {{'))
            self._lowered[key] = symbol, function.returns
        found = self._lowered[key]
        if found is None:
            raise NotLowered("recursion")
        return found

    def use(self, operation: Operation, arguments: tuple[Any, ...]) -> Primitive:
        """A primitive; what its instructions call becomes part of the module."""
        found = primitive(operation, arguments)
        if found is None:
            raise NotLowered(f"{operation} of {arguments}")
        self._primitives.update((n, text) for n, text in found.parts.items() if found.body is None or n != found.name)
        return found

    def text(self) -> str:
        """The whole module."""
        return "\n\n".join([*self._primitives.values(), *self._texts])


class _Function(Expressions):
    """One function of a program, for arguments of given types."""

    def __init__(self, program: _Program, node: ast.FunctionDef, arguments: Sequence[Any]) -> None:
        super().__init__(program, program.constants, program.indices)
        names = [a.arg for a in node.args.args]
        stores = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        if len(names) != len(arguments) or node.args.defaults or program.taken & {*names, *stores}:
            raise NotLowered("arguments")
        self._stores = Counter(stores)
        self._loops: list[tuple[str, str]] = []  # labels: where continue and break lead
        self._live = True
        self._results: list[tuple[int, Value]] = []  # lines that return
        self.returns: Any = None
        self.arguments = [f"{value_type(t)} %a{i}" for i, t in enumerate(arguments)]
        for i, (name, type_) in enumerate(zip(names, arguments, strict=True)):
            self.names[name] = Value(f"%a{i}", type_)
            if name in self._stores:
                self._assign(name, self.names.pop(name))
        self._block(node.body)
        if self._live or self.returns is None:
            raise NotLowered("a path without return")

    def text(self, head: str, *first: str, returns: Any = None) -> str:
        """The definition, in which each result becomes of another type where that is asked for."""
        for place, value in self._results:
            lines, self.lines = self.lines, []
            result = self.convert(value, returns or self.returns)
            lines[place] = "\n".join([*self.lines, f"  ret {value_type(result.type)} {result.text}"])
            self.lines = lines
        return "\n".join([head, "entry:", *first, *self.entry, *self.lines, "}"])

    def _block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            if self._live:  # numba leaves out the rest, too
                self._statement(statement)

    def _leave(self, label: str) -> None:
        """Jump, unless control does not get here."""
        if self._live:
            self.jump(label)
        self._live = False

    def _enter(self, label: str) -> None:
        self.label(label)
        self._live = True

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.Return(value=ast.expr() as value):
                self._return(self.expression(value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._assign(name, self.expression(value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._assign(name, self.expression(value))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                self._assign_all(targets, values)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if not isinstance(op, ast.Pow):
                place = ast.Name(name, ast.Load())
                self._assign(name, self.expression(ast.BinOp(place, op, value)))
            case ast.If():
                self._if(node)
            case ast.While(orelse=[]):
                self._while(node)
            case ast.For(target=ast.Name(), iter=ast.Call(func=ast.Name(id="range")), orelse=[]):
                self._for(node)
            case ast.Break() | ast.Continue() if self._loops:
                self._leave(self._loops[-1][isinstance(node, ast.Break)])
            case _:
                raise NotLowered(type(node).__name__)

    def _return(self, value: Value) -> None:
        self.returns = self.returns or value.type
        if value.type != self.returns or value.type not in (FLOAT, INTEGER):
            raise NotLowered("returns of different types")
        self._results.append((len(self.lines), value))
        self.lines.append("")  # written once it is known what the caller wants
        self._live = False

    def _assign(self, name: str, value: Value) -> None:
        if value.type not in (FLOAT, INTEGER, BOOLEAN):
            raise NotLowered("a name for an argument")
        if name not in self.slots:
            varying = value.varying and self._stores[name] == 1
            self.slots[name] = self.slot(value.type)._replace(varying=varying)
        if self.slots[name].type != value.type:
            raise NotLowered(f"{name} has two types")
        self.store(value, self.slots[name])

    def _assign_all(self, targets: Sequence[ast.expr], values: Sequence[ast.expr]) -> None:
        found = [self.expression(value) for value in values]
        for target, value in zip(targets, found, strict=len(targets) == len(found)):
            if not isinstance(target, ast.Name) or len(targets) != len(found):
                raise NotLowered("this assignment")
            self._assign(target.id, value)

    def _if(self, node: ast.If) -> None:
        then, otherwise, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.branch(self._condition(node.test), then, otherwise)
        self._enter(then)
        self._block(node.body)
        reached = self._live
        self._leave(end)
        self._enter(otherwise)
        self._block(node.orelse)
        reached = reached or self._live
        self._leave(end)
        if reached:
            self._enter(end)

    def _condition(self, node: ast.expr) -> Value:
        if literal(node) is not None or isinstance(node, ast.Constant):
            raise NotLowered("a literal as a condition")
        return self.test(node)

    def _while(self, node: ast.While) -> None:
        head, body, end = self.fresh("head"), self.fresh("body"), self.fresh("end")
        self._leave(head)
        self._enter(head)
        for_ever = isinstance(node.test, ast.Constant) and node.test.value in (True, 1)
        if for_ever:
            self.jump(body)
        else:
            self.branch(self._condition(node.test), body, end)
        self._loop(node.body, body, head, end)
        if not for_ever or f"  br label %{end}" in self.lines:  # by a break
            self._enter(end)

    def _for(self, node: ast.For) -> None:
        """Count to the bound; only by one, so that no sum can overflow."""
        assert isinstance(node.iter, ast.Call)
        assert isinstance(node.target, ast.Name)
        start, stop, step = self._bounds(node.iter)
        counter = self.slot(INTEGER)
        self.store(start, counter)
        head, body, advance, end = (self.fresh(stem) for stem in ("head", "body", "next", "end"))
        self._leave(head)
        self._enter(head)
        now = self.load(counter)
        more = self.emit(f"icmp {'slt' if step > 0 else 'sgt'} i64 {now.text}, {stop.text}", BOOLEAN)
        self.branch(more, body, end)
        self.label(body)
        self._assign(node.target.id, now)
        inside = self.fresh("body")
        self._leave(inside)
        self._loop(node.body, inside, advance, end)
        self._enter(advance)
        self.store(self.emit(f"add i64 {self.load(counter).text}, {step}", INTEGER), counter)
        self._leave(head)
        self._enter(end)

    def _loop(self, statements: Sequence[ast.stmt], body: str, again: str, end: str) -> None:
        self._enter(body)
        self._loops.append((again, end))
        self._block(statements)
        self._loops.pop()
        self._leave(again)

    def _bounds(self, call: ast.Call) -> tuple[Value, Value, int]:
        steps = literal(call.args[2]) if len(call.args) == 3 else 1
        values = [self.expression(argument) for argument in call.args[:2]]
        if (
            call.keywords
            or not 1 <= len(call.args) <= 3
            or steps not in (1, -1)
            or any(v.type != INTEGER for v in values)
        ):
            raise NotLowered("this range")
        start = Value("0", INTEGER) if len(values) == 1 else values[0]
        return start, values[-1], int(steps)
