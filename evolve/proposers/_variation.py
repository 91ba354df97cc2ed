"""Changes of one rule, and grafts from another: each edits a tree in place and says what it did."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from evolve.proposers._terms import Grower, binary, call, called, literal, name_of, named, number, unit_of
from evolve.proposers._trees import Scope, Site, Tree

T = TypeVar("T")
Variation = Callable[[Tree, np.random.Generator], str]  # "" if it does not apply to the tree

_PARTNERS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_FURTHER_CONDITION = 0.3  # share of insertions, where a hook only says yes or no
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def _put(site: Site, node: ast.expr) -> str:
    """Replace, and say so."""
    said = f"{ast.unparse(site.node)} -> {ast.unparse(node)}"
    site.put(node)
    return said


def _floats(tree: Tree) -> list[Site]:
    return [site for site in tree.sites if site.kind == "float"]


def perturb_constant(tree: Tree, rng: np.random.Generator) -> str:
    """Multiply a constant by a log-normal factor, small or large; rarely turn its sign."""
    if not tree.numbers:
        return ""
    site = pick(rng, tree.numbers)
    old = number(site.node)
    assert old is not None
    spread = pick(rng, (0.05, 0.3, 1.0))
    new = old * math.exp(rng.normal(0.0, spread)) if old else rng.normal()
    if rng.random() < 0.05:
        new = -new
    if isinstance(site.owner, ast.Call) and called(site.owner) == "param":
        bounds = {keyword.arg: number(keyword.value) for keyword in site.owner.keywords}
        low, high = bounds.get("low"), bounds.get("high")
        new = min(max(new, -math.inf if low is None else low), math.inf if high is None else high)
    return _put(site, literal(float(f"{new:.3g}")))


def change_point(tree: Tree, rng: np.random.Generator) -> str:
    """Change one operator, comparison or name, and nothing below it."""
    changeable = (ast.BinOp, ast.Compare, ast.BoolOp, ast.Name, ast.Attribute, ast.Call)
    sites = [site for site in tree.sites if isinstance(site.node, changeable)]
    if not sites:
        return ""
    site = pick(rng, sites)
    match site.node:
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _PARTNERS:
            other = _PARTNERS[type(operator)] if rng.random() < 0.6 else pick(rng, list(_PARTNERS))
            return _put(site, binary(left, other, right))
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _MIRRORED:
            return _put(site, ast.Compare(left, [_MIRRORED[type(operator)]()], [right]))
        case ast.BoolOp(op=operator, values=values):
            return _put(site, ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))
        case ast.Call(args=arguments) if called(site.node) in ("min", "max"):
            return _put(site, call("max" if called(site.node) == "min" else "min", *arguments))
        case ast.Name() | ast.Attribute():
            grower = Grower(rng, site.facts)
            unit = None if grower.free() else unit_of(site.node, site.facts)
            return _put(site, grower.name(unit) or grower.leaf(None))
    return ""


def replace_term(tree: Tree, rng: np.random.Generator) -> str:
    """Replace an expression by a random one of the same type, preferably of the same unit."""
    if not tree.sites:
        return ""
    site = pick(rng, tree.sites)
    grower = Grower(rng, site.facts)
    if site.kind == "bool":
        return _put(site, grower.condition())
    return _put(site, grower.term(unit_of(site.node, site.facts), int(rng.integers(3))))


def insert_term(tree: Tree, rng: np.random.Generator) -> str:
    """Let one more quantity have a say: add, scale, bound; where answers are yes or no, by a further condition."""
    tests = _tests(tree)
    if tests and rng.random() < _FURTHER_CONDITION:
        return _join_condition(pick(rng, tests), rng)
    sites = _floats(tree)
    results = [site for site in sites if site.is_result]
    if not sites:
        return ""
    site = pick(rng, results if results and rng.random() < 0.5 else sites)
    node, unit, grower = site.node, unit_of(site.node, site.facts), Grower(rng, site.facts)
    forms: tuple[Callable[[], ast.expr], ...] = (
        lambda: binary(node, ast.Add, binary(grower.constant(), ast.Mult, grower.term(unit, 1))),
        lambda: binary(node, ast.Sub, binary(grower.constant(), ast.Mult, grower.term(unit, 1))),
        lambda: binary(node, ast.Mult, binary(literal(1.0), ast.Add, grower.ratio(0))),
        lambda: binary(node, ast.Mult, binary(grower.leaf(None), ast.Pow, _power(rng))),
        lambda: binary(node, ast.Mult, binary(grower.ratio(1), ast.Pow, _power(rng))),
        lambda: call(pick(rng, ("min", "max")), node, grower.term(unit, 1)),
    )
    return _put(site, pick(rng, forms)())


def _tests(tree: Tree) -> list[Site]:
    """Conditions of hooks that only say yes or no."""
    hooks = {hook for hook in tree.hooks if tree.verdicts(hook)}
    tests = [site for site in tree.sites if site.kind == "bool" and site.field == "test"]
    return [site for site in tests if site.scope.function in hooks]


def _join_condition(site: Site, rng: np.random.Generator) -> str:
    """Another condition must hold as well, or may hold instead."""
    joint = ast.And() if rng.random() < 0.5 else ast.Or()
    return _put(site, ast.BoolOp(joint, [site.node, Grower(rng, site.facts).condition()]))


def _power(rng: np.random.Generator) -> ast.expr:
    return literal(float(f"{rng.normal(0.0, 0.6):.2g}"))


def insert_condition(tree: Tree, rng: np.random.Generator) -> str:
    """Let an expression take another value under some condition."""
    sites = _floats(tree)
    if not sites:
        return ""
    site = pick(rng, sites)
    node, grower = site.node, Grower(rng, site.facts)
    other = copy.deepcopy(node)
    if rng.random() < 0.5:
        other = binary(grower.constant(), ast.Mult, other)
    else:
        other = grower.term(unit_of(node, site.facts), 1)
    return _put(site, ast.IfExp(grower.condition(), *((node, other) if rng.random() < 0.5 else (other, node))))


def hoist(tree: Tree, rng: np.random.Generator) -> str:
    """Replace an expression by one of its own parts."""
    sites = [site for site in tree.sites if not isinstance(site.node, ast.Name | ast.Attribute | ast.Constant)]
    if not sites:
        return ""
    site = pick(rng, sites)
    below = {id(node) for node in ast.walk(site.node)} - {id(site.node)}
    parts = [part.node for part in tree.sites if part.kind == site.kind and id(part.node) in below]
    return _put(site, pick(rng, parts)) if parts else ""


def shrink(tree: Tree, rng: np.random.Generator) -> str:
    """Delete one operation: keep one of its operands."""
    sites = [site for site in tree.sites if _operands(site)]
    if not sites:
        return ""
    site = pick(rng, sites)
    return _put(site, pick(rng, _operands(site)))


def _operands(site: Site) -> list[ast.expr]:
    match site.node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand) if number(site.node) is None:
            return [operand]
        case ast.Call(args=arguments) if called(site.node) in ("min", "max", "abs", "sqrt", "log", "exp", "tanh"):
            return arguments
    return []


def swap(tree: Tree, rng: np.random.Generator) -> str:
    """Exchange the two sides of a difference, quotient or choice."""
    sites = [
        site
        for site in tree.sites
        if isinstance(site.node, ast.IfExp)
        or (isinstance(site.node, ast.BinOp) and isinstance(site.node.op, ast.Sub | ast.Div | ast.FloorDiv))
    ]
    if not sites:
        return ""
    site = pick(rng, sites)
    if isinstance(site.node, ast.IfExp):
        return _put(site, ast.IfExp(site.node.test, site.node.orelse, site.node.body))
    assert isinstance(site.node, ast.BinOp)
    return _put(site, ast.BinOp(site.node.right, site.node.op, site.node.left))


# Shares are set by judgement: additions and constants, the usual sources of gain, come first.
MUTATIONS: tuple[tuple[Variation, float], ...] = (
    (perturb_constant, 0.20),
    (insert_term, 0.25),
    (replace_term, 0.15),
    (change_point, 0.15),
    (shrink, 0.10),
    (hoist, 0.05),
    (insert_condition, 0.05),
    (swap, 0.05),
)


def cross(tree: Tree, donor: Tree, rng: np.random.Generator) -> str:
    """Graft an expression of the donor's same hook, or join the two rules into one."""
    hooks = [hook for hook in tree.hooks if hook in donor.scopes and tree.results(hook)]
    if not hooks:
        return ""
    hook = pick(rng, hooks)
    places = [site for site in tree.sites if site.scope.function == hook]
    rename = dict(zip(donor.scopes[hook].records, tree.scopes[hook].records, strict=False))
    if rng.random() < 0.25:
        return _join(pick(rng, tree.results(hook)), donor, rename, rng)
    place = _inner_first(places, rng)
    grafts = [site for site in donor.sites if site.scope.function == hook and site.kind == place.kind]
    if rng.random() < 0.7:
        unit = unit_of(place.node, place.facts)
        grafts = [site for site in grafts if unit_of(site.node, site.facts) == unit] or grafts
    if not grafts:
        return ""
    graft = _portable(_inner_first(grafts, rng), donor, rename)
    return _put(place, graft) if graft is not None else ""


def _inner_first(sites: Sequence[Site], rng: np.random.Generator) -> Site:
    """A site that is an operation in nine of ten cases: leaves are many and carry little."""
    inner = [site for site in sites if not isinstance(site.node, ast.Name | ast.Attribute | ast.Constant)]
    return pick(rng, inner if inner and rng.random() < 0.9 else sites)


def _join(place: Site, donor: Tree, rename: dict[str, str], rng: np.random.Generator) -> str:
    """Weigh the results of two rules against each other, or choose between them."""
    results = donor.results(place.scope.function)
    graft = _portable(pick(rng, results), donor, rename) if results else None
    if graft is None:
        return ""
    grower, node = Grower(rng, place.facts), place.node
    forms: tuple[Callable[[], ast.expr], ...] = (
        lambda: binary(node, ast.Add, binary(grower.constant(), ast.Mult, graft)),
        lambda: binary(node, ast.Mult, graft),
        lambda: ast.IfExp(grower.condition(), node, graft),
    )
    return _put(place, pick(rng, forms)())


def _portable(site: Site, donor: Tree, rename: dict[str, str]) -> ast.expr | None:
    """A copy that reads hook arguments, constants and math only; None if there is none.

    Locals are replaced by their values, module constants by their numbers.
    """
    try:
        return _Exporter(site.scope, donor, rename).visit(copy.deepcopy(site.node))
    except _NotPortable:
        return None


class _NotPortable(Exception):
    pass


class _Exporter(ast.NodeTransformer):
    def __init__(self, scope: Scope, donor: Tree, rename: dict[str, str]) -> None:
        self._scope, self._donor, self._rename = scope, donor, rename

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        name = name_of(node)
        head, _, field = name.partition(".")
        if head in self._rename:
            return named(f"{self._rename[head]}.{field}")
        if head != "math":
            raise _NotPortable
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._scope.values.get(node.id)
        if value is not None:
            return self.visit(copy.deepcopy(value))
        if node.id in self._donor.constants and node.id not in self._scope.values:
            return literal(self._donor.constants[node.id])
        raise _NotPortable

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and (node.func.id in self._donor.functions or node.keywords):
            raise _NotPortable
        node.args = [self.visit(argument) for argument in node.args]
        return node
