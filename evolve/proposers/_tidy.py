"""Keep programs short, finite and readable: folding, guards against division by zero, layout."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from evolve.proposers._simplify import simplify
from evolve.proposers._terms import (
    ANY,
    NONNEGATIVE,
    POSITIVE,
    Fact,
    binary,
    call,
    called,
    literal,
    number,
    sign_of,
    unit_of,
)
from evolve.proposers._trees import Tree

_LARGEST_EXPONENT = 20.0  # exp(20) is 5e8: far from overflow even after a few products


def size(tree: Tree) -> int:
    """Number of names, constants and operations in all functions."""
    functions = [f for f in tree.module.body if isinstance(f, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function)]
    # op.duration is one name, not two.
    return sum(isinstance(node, ast.expr) - isinstance(node, ast.Attribute) for node in nodes)


def depth(node: ast.AST) -> int:
    """Longest chain of nested expressions below a node."""
    below = max((depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return below + isinstance(node, ast.expr)


def tidy(tree: Tree) -> None:
    """Fold constants, drop dead wood and texts that no longer describe the program; sites are not renewed."""
    for function in tree.functions.values():
        simplify(function)
        _drop_docstring(function)
        _drop_unused_locals(function)
    _drop_docstring(tree.module)
    _drop_unused_globals(tree)


def render(module: ast.Module) -> str:
    """Source text with the usual blank lines."""
    text = ""
    previous: ast.stmt | None = None
    for statement in module.body:
        if previous is not None:
            apart = isinstance(statement, ast.FunctionDef) or isinstance(previous, ast.FunctionDef)
            same = isinstance(statement, ast.Import) == isinstance(previous, ast.Import)
            text += "\n\n" if apart else "" if same else "\n"
        text += ast.unparse(ast.fix_missing_locations(statement)) + "\n"
        previous = statement
    return text


def hazards(tree: Tree) -> set[str]:
    """Operations that are not provably finite; those of a parent are its author's business."""
    return {ast.dump(node) for node, scope in tree.partial if not _is_safe(node, scope.facts)}


def guard(tree: Tree, accepted: set[str]) -> None:
    """Mend every hazard that is not accepted: divisors become positive, roots those of absolute values.

    Sites are not renewed.
    """
    for node, scope in tree.partial:
        if not _is_safe(node, scope.facts) and ast.dump(node) not in accepted:
            _mend(node, scope.facts)


def _is_safe(node: ast.expr, facts: Mapping[str, Fact]) -> bool:
    match node:
        case ast.BinOp(op=ast.Pow()):
            power = number(node.right)
            if power is None:  # x ** y overflows too easily, unless y is known to be small
                return called(node.right) == "tanh" and sign_of(node.left, facts) == POSITIVE
            needed = ANY if power >= 0 and power == int(power) else NONNEGATIVE if power > 0 else POSITIVE
            return sign_of(node.left, facts) >= needed
        case ast.BinOp():
            return bool(number(node.right)) or sign_of(node.right, facts) == POSITIVE
        case ast.Call(args=[argument, *_]):
            if called(node) in ("log", "log2", "log10"):
                return sign_of(argument, facts) == POSITIVE
            if called(node) in ("sqrt", "log1p"):
                return sign_of(argument, facts) >= NONNEGATIVE
            return called(node) not in ("exp", "expm1", "sinh", "cosh") or _is_bounded(argument, facts)
    return True


def _is_bounded(node: ast.expr, facts: Mapping[str, Fact]) -> bool:
    """Whether a value is provably below a moderate bound."""
    value = number(node)
    if value is not None:
        return value <= _LARGEST_EXPONENT
    match node:
        case ast.UnaryOp(op=ast.USub()):
            return sign_of(node.operand, facts) >= NONNEGATIVE
        case ast.Call() if called(node) == "min":
            return any(_is_bounded(argument, facts) for argument in node.args)
        case ast.Call():
            return called(node) in ("tanh", "sin", "cos", "atan")
    return False


def _mend(node: ast.expr, facts: Mapping[str, Fact]) -> None:
    match node:
        case ast.BinOp(op=ast.Pow()):
            if number(node.right) is None:
                node.right = call("math.tanh", node.right)
            if not _is_safe(node, facts):
                node.left = _positive(node.left, facts)
        case ast.BinOp():
            node.right = _positive(node.right, facts)
        case ast.Call() if called(node) in ("log", "log2", "log10"):
            node.args[0] = _positive(node.args[0], facts)
        case ast.Call() if called(node) in ("sqrt", "log1p"):
            node.args[0] = call("abs", node.args[0])
        case ast.Call():
            node.args[0] = call("min", node.args[0], literal(_LARGEST_EXPONENT))


def _positive(node: ast.expr, facts: Mapping[str, Fact]) -> ast.expr:
    """The value, moved away from zero by little on the scale of its unit."""
    base = node if sign_of(node, facts) >= NONNEGATIVE else call("abs", node)
    return binary(base, ast.Add, literal(0.1 if unit_of(node, facts) == () else 1.0))


def _drop_docstring(node: ast.Module | ast.FunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def _drop_unused_locals(function: ast.FunctionDef) -> None:
    """Delete assignments to names that are never read, and what only they needed."""
    while True:
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        used = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        used |= {
            n.target.id for n in ast.walk(function) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)
        }
        if not _drop(function, used):
            return


def _drop(block: ast.stmt, used: set[str]) -> bool:
    """Delete unused plain assignments, and what follows a return, in all blocks of a statement."""
    dropped = False
    for field in ("body", "orelse"):
        statements: list[ast.stmt] = getattr(block, field, [])
        kept = []
        for statement in statements:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)]) if name not in used:
                    dropped = True
                    continue
                case ast.Pass():
                    continue
                case ast.If() | ast.For():
                    dropped |= _drop(statement, used)
            kept.append(statement)
            if isinstance(statement, ast.Return):
                break
        if statements:
            setattr(block, field, kept or ([ast.Pass()] if field == "body" else []))
    return dropped


def _drop_unused_globals(tree: Tree) -> None:
    """Delete helpers, constants and imports that no hook needs; import math where one does."""
    named: dict[str, ast.stmt] = {f.name: f for f in tree.functions.values()}
    for statement in tree.module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            named[statement.targets[0].id] = statement
    needed, reached = set(tree.hooks), list(tree.hooks)
    while reached:
        name = reached.pop()
        names = {n.id for n in ast.walk(named[name]) if isinstance(n, ast.Name)} if name in named else set()
        reached.extend(names - needed)
        needed |= names
    unused = [statement for name, statement in named.items() if name not in needed]
    body = [s for s in tree.module.body if s not in unused and not _is_idle_import(s, needed)]
    if "math" in needed and not any(isinstance(s, ast.Import) and s.names[0].name == "math" for s in body):
        body.insert(0, ast.Import([ast.alias("math")]))
    tree.module.body = body


def _is_idle_import(statement: ast.stmt, needed: set[str]) -> bool:
    return isinstance(statement, ast.Import) and not any((a.asname or a.name) in needed for a in statement.names)
