"""What can be changed in a program, where, and what may be read there.

A program is walked once, from its hooks into the helpers they call. Every expression whose type
is known to be float or bool becomes a Site; the rest (indices, ranges, loops that might not end)
is left as it is, so programs written by people and language models can be varied as well.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from evolve.proposers._terms import ANY, POSITIVE, Fact, called, fact_of, name_of, number, sign_of, unit_of
from problems.problem import Problem, quantities

Kind = Literal["float", "bool", "opaque"]
Binding = Mapping[str, Fact] | Kind  # an argument: fields of a record, or a value

FLOAT_CALLS = {
    *("abs", "min", "max", "float", "sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "tanh", "sinh", "cosh"),
    *("sin", "cos", "tan", "atan", "atan2", "asinh", "floor", "ceil", "fabs", "hypot", "pow", "copysign", "erf"),
}
BOOL_CALLS = {"isnan", "isinf", "isfinite"}
# Never offered to new terms: on the instances searched, lucky noise looks like skill.
_NOISE = "noise"
_MATH_CONSTANTS = {"math.pi", "math.e", "math.tau"}


def _is_constant(node: ast.expr) -> bool:
    """Whether an expression is a number, or a choice between numbers."""
    if isinstance(node, ast.IfExp):
        return _is_constant(node.body) and _is_constant(node.orelse)
    return number(node) is not None


@dataclass
class Scope:
    """One function: what its names are, and what is known of them."""

    function: str
    facts: dict[str, Fact] = field(default_factory=dict)  # every float that can be read: op.duration, locals
    features: list[str] = field(default_factory=list)  # fields of its arguments that new terms may read
    kinds: dict[str, Kind] = field(default_factory=dict)  # of locals, plain arguments and constants
    records: dict[str, Mapping[str, Fact]] = field(default_factory=dict)  # argument -> its fields
    values: dict[str, ast.expr | None] = field(default_factory=dict)  # local -> its value, if it has only one
    returned: set[Kind] = field(default_factory=set)

    def bind(self, argument: str, binding: Binding) -> None:
        """Note what an argument is: a record, or a value."""
        if isinstance(binding, str):
            self.kinds[argument], self.facts[argument] = binding, Fact(None, ANY)
            return
        self.records[argument] = binding
        for name, fact in binding.items():
            if name != _NOISE:
                self.features.append(f"{argument}.{name}")
            self.facts[f"{argument}.{name}"] = fact


class Site(NamedTuple):
    """One expression, and how to replace it."""

    owner: ast.AST
    field: str
    position: int | None
    kind: Kind
    scope: Scope
    readable: tuple[str, ...] = ()  # locals and constants that surely have a value here
    is_root: bool = False  # a whole right-hand side, condition or returned value
    is_result: bool = False  # a whole returned value of a hook

    @property
    def node(self) -> ast.expr:
        """The expression."""
        slot = getattr(self.owner, self.field)
        return slot if self.position is None else slot[self.position]

    def put(self, node: ast.expr) -> None:
        """Replace the expression."""
        if self.position is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.position] = node

    @property
    def facts(self) -> dict[str, Fact]:
        """Names that may be read here, with what is known of them."""
        scope = self.scope
        return {name: scope.facts[name] for name in (*scope.features, *self.readable) if name in scope.facts}


class Tree:
    """A parsed program with its sites; changed in place, and walked again by ``refresh``."""

    def __init__(self, source: str, problem: Problem) -> None:
        self.module = ast.parse(source)
        self._hooks = {hook.name: [_fields(t) for t in hook.arguments.values()] for hook in problem.hooks}
        self.refresh()

    def refresh(self) -> None:
        """Walk the program again after a change."""
        self.sites: list[Site] = []
        self.numbers: list[Site] = []  # literals, also those that may only become other literals
        self.partial: list[tuple[ast.expr, Scope]] = []  # operations that are not finite everywhere
        self.scopes: dict[str, Scope] = {}
        self.functions = {f.name: f for f in self.module.body if isinstance(f, ast.FunctionDef)}
        self.constants: dict[str, float] = {}
        for statement in self.module.body:
            self._constant(statement)
        for hook, bindings in self._hooks.items():
            if hook in self.functions:
                self.walk(self.functions[hook], bindings)

    def results(self, hook: str) -> list[Site]:
        """The values that a hook returns."""
        return [s for s in self.sites if s.is_result and s.scope.function == hook]

    def verdicts(self, hook: str) -> bool:
        """Whether all that a hook returns are constants: it only says yes or no, and its comparisons decide."""
        results = self.results(hook)
        return bool(results) and all(_is_constant(site.node) for site in results)

    @property
    def hooks(self) -> list[str]:
        """Names of the hooks that the program defines."""
        return [hook for hook in self._hooks if hook in self.functions]

    def walk(self, node: ast.FunctionDef, bindings: Sequence[Binding]) -> Kind:
        """Walk a function at its first call, which decides what its arguments are; type its result."""
        if node.name not in self.scopes:
            scope = self.scopes[node.name] = Scope(node.name)
            for name, value in self.constants.items():
                scope.kinds[name], scope.facts[name] = "float", Fact((), POSITIVE if value > 0 else ANY)
            for argument, binding in zip(node.args.args, bindings, strict=False):
                scope.bind(argument.arg, binding)
            _Walker(self, scope).block(node.body)
        returned = self.scopes[node.name].returned
        return next(iter(returned)) if len(returned) == 1 else "opaque"

    def _constant(self, statement: ast.stmt) -> None:
        """Note ``NAME = 1.5`` and ``NAME = param(1.5, low=0.1, high=10)``."""
        match statement:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="param"), args=[first]) as value
            ):
                place = Site(value, "args", 0, "float", Scope(""))
            case ast.Assign(targets=[ast.Name(id=name)], value=first):
                place = Site(statement, "value", None, "float", Scope(""))
            case _:
                return
        found = number(first)
        if found is not None:
            self.constants[name] = found
            self.numbers.append(place)


@lru_cache
def _fields(argument: type) -> Mapping[str, Fact]:
    return {quantity.name: fact_of(quantity) for quantity in quantities(argument)}


class _Walker:
    """Goes through one function in the order it runs."""

    def __init__(self, tree: Tree, scope: Scope) -> None:
        self._tree = tree
        self._scope = scope
        self._known = [name for name, kind in scope.kinds.items() if kind == "float"]  # surely have a value here
        self._depth = 0

    def block(self, statements: list[ast.stmt]) -> None:
        """Walk statements; a while loop is left alone, for it might not end once it is changed."""
        for statement in statements:
            match statement:
                case ast.Return(value=ast.expr()):
                    self._scope.returned.add(self._root(statement, "value"))
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    self._assign(name, self._root(statement, "value"), value)
                case ast.AugAssign(target=ast.Name(id=name)):
                    self._root(statement, "value")
                    self._scope.values[name], self._scope.facts[name] = None, Fact(None, ANY)
                case ast.If():
                    self._root(statement, "test")
                    before = self._known
                    after_body, after_else = self._branch(statement.body), self._branch(statement.orelse)
                    self._known = before + [n for n in after_body if n in after_else and n not in before]
                case ast.For(target=ast.Name(id=name)):
                    self._scope.kinds[name], self._scope.values[name] = "opaque", None
                    self._branch(statement.body)
                case _:
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                            self._scope.kinds[node.id], self._scope.values[node.id] = "opaque", None

    def _branch(self, statements: list[ast.stmt]) -> list[str]:
        """Walk statements that may be skipped or repeated; locals that have a value at their end."""
        before, self._known = self._known, list(self._known)
        self._depth += 1
        self.block(statements)
        self._depth -= 1
        after, self._known = self._known, before
        return after

    def _assign(self, name: str, kind: Kind, value: ast.expr) -> None:
        scope = self._scope
        fact = Fact(unit_of(value, scope.facts), sign_of(value, scope.facts))
        again = name in scope.values
        if again:
            old = scope.facts.get(name, fact)
            fact = Fact(fact.unit if fact.unit == old.unit else None, min(fact.sign, old.sign))
            kind = kind if scope.kinds.get(name) == kind else "opaque"
        scope.values[name] = None if again or self._depth else value
        scope.kinds[name], scope.facts[name] = kind, fact
        if kind == "float" and name not in self._known:
            self._known.append(name)

    def _root(self, owner: ast.AST, field: str) -> Kind:
        is_result = isinstance(owner, ast.Return) and self._scope.function in self._tree.hooks
        return self._expression(Site(owner, field, None, "opaque", self._scope, is_root=True, is_result=is_result))

    def _child(self, owner: ast.AST, field: str, index: int | None = None) -> Kind:
        return self._expression(Site(owner, field, index, "opaque", self._scope))

    def _expression(self, place: Site) -> Kind:
        """Type an expression, and note it and its parts as sites."""
        node = place.node
        kind = self._kind(node)
        if kind != "opaque":
            site = place._replace(kind=kind, readable=tuple(self._known))
            self._tree.sites.append(site)
            if number(node) is not None:
                self._tree.numbers.append(site)
        return kind

    def _kind(self, node: ast.expr) -> Kind:
        if number(node) is not None:
            return "float"
        match node:
            case ast.Constant(value=bool()):
                return "bool"
            case ast.Name(id=name):
                return self._scope.kinds.get(name, "opaque")
            case ast.Attribute():
                return "float" if name_of(node) in self._scope.facts or name_of(node) in _MATH_CONSTANTS else "opaque"
            case ast.UnaryOp():
                return self._same([self._child(node, "operand")], "bool" if isinstance(node.op, ast.Not) else "float")
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                kinds = [self._child(node, "left"), *self._children(node, "comparators")]
                return "bool" if self._same(kinds, "float") == "float" else "opaque"
            case ast.BoolOp():
                return self._same(self._children(node, "values"), "bool")
            case ast.IfExp():
                self._child(node, "test")
                body = self._child(node, "body")
                return self._same([body, self._child(node, "orelse")], body)
            case ast.Call(keywords=[]):
                return self._call(node)
        return "opaque"

    def _same(self, kinds: list[Kind], wanted: Kind) -> Kind:
        return wanted if all(kind == wanted for kind in kinds) else "opaque"

    def _children(self, owner: ast.AST, field: str) -> list[Kind]:
        return [self._child(owner, field, k) for k in range(len(getattr(owner, field)))]

    def _binary(self, node: ast.BinOp) -> Kind:
        if isinstance(node.op, ast.Pow | ast.Div | ast.FloorDiv | ast.Mod):
            self._tree.partial.append((node, self._scope))
        left = self._child(node, "left")
        if isinstance(node.op, ast.Pow) and number(node.right) is not None:
            # An exponent may only become another number: x ** y overflows too easily.
            self._tree.numbers.append(Site(node, "right", None, "float", self._scope))
            return self._same([left], "float")
        return self._same([left, self._child(node, "right")], "float")

    def _call(self, node: ast.Call) -> Kind:
        name = called(node)
        if isinstance(node.func, ast.Name) and name in self._tree.functions:
            kinds = self._children(node, "args")
            records = self._scope.records
            bindings: list[Binding] = [records.get(name_of(a), kind) for a, kind in zip(node.args, kinds, strict=True)]
            return self._tree.walk(self._tree.functions[name], bindings)
        if name in FLOAT_CALLS or name in BOOL_CALLS:
            self._tree.partial.append((node, self._scope))
            kinds = self._children(node, "args")
            return self._same(kinds, "float") if name in FLOAT_CALLS else "bool"
        return "opaque"
