"""Dead code: statements that a function never reaches, and assignments that nothing reads.

What is left decides and ends as before. Trees are changed in place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from evaluators.admission.language import MATH

# Built-in functions that raise nothing on numbers.
_PURE = frozenset({"abs", "bool", "float", "int", "len", "max", "min", "round"})
# Integer powers and shifts are left out: some of them raise, or mean nothing.
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_ARRAYS = frozenset({"zeros", "ones"})


def names(nodes: Iterable[ast.AST], context: type[ast.expr_context]) -> set[str]:
    """Names that are read (ast.Load) or assigned (ast.Store) anywhere in the nodes."""
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def makes_arrays(tree: ast.AST) -> bool:
    """Whether values may be arrays, on which arithmetic can raise."""
    return any(isinstance(node, ast.Attribute) and node.attr in _ARRAYS for node in ast.walk(tree))


def reachable(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements that control can get to, without ``pass`` and without branches on literals.

    After a branch that returns, breaks or continues, ``else`` says nothing, and is left out.
    """
    kept: list[ast.stmt] = []
    pending = list(statements[::-1])
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Pass):
            continue
        if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Constant):
            if isinstance(node, ast.If) or not node.test.value:
                taken = node.body if node.test.value else node.orelse
                pending += taken[::-1]
                continue
            node.orelse = []
        if isinstance(node, ast.If | ast.While | ast.For):
            node.body = reachable(node.body)
            if isinstance(node, ast.If) and _ends(node.body):
                pending += node.orelse[::-1]
                node.orelse = []
            node.orelse = reachable(node.orelse)
        kept.append(node)
        if _ends(kept):
            break
    return kept


def _ends(statements: Sequence[ast.stmt]) -> bool:
    """Whether control never gets past the statements."""
    match statements[-1] if statements else None:
        case ast.Return() | ast.Break() | ast.Continue():
            return True
        case ast.If() as node:
            return _ends(node.body) and _ends(node.orelse)
        case ast.While(test=ast.Constant(value=value)) as node:
            return bool(value) and not _breaks(node.body)
    return False


def _breaks(statements: Iterable[ast.stmt]) -> bool:
    """Whether a ``break`` leaves the loop that the statements are the body of."""
    for node in statements:
        if isinstance(node, ast.Break):
            return True
        inner = [] if isinstance(node, ast.While | ast.For) else getattr(node, "body", [])
        if _breaks(inner) or _breaks(getattr(node, "orelse", [])):
            return True
    return False


def without_unread(statements: list[ast.stmt]) -> list[ast.stmt]:
    """A function's statements without assignments that no returned value, loop or call depends on."""
    sources: dict[str, set[str]] = {}
    needed = _needed(statements, frozenset(), sources)
    pending = list(needed)
    while pending:
        found = sources.pop(pending.pop(), set()) - needed
        needed |= found
        pending += found
    return _drop(statements, needed)


def _needed(statements: Iterable[ast.stmt], tests: frozenset[str], sources: dict[str, set[str]]) -> set[str]:
    """Names that statements read whatever becomes of the variables they assign.

    Parameters
    ----------
    statements
        Of a function.
    tests
        Names in the tests of branches around them that do nothing but assign.
    sources
        Filled in: by variable, what its value depends on.
    """
    needed: set[str] = set()
    for node in statements:
        if targets := _assigned(node):
            for name in targets:
                sources.setdefault(name, set()).update(tests, names([node], ast.Load))
        elif isinstance(node, ast.If | ast.While | ast.For):
            head = names([node.iter if isinstance(node, ast.For) else node.test], ast.Load)
            inside = frozenset(tests | head) if _only_assigns(node) else frozenset[str]()
            needed |= head - inside
            for block in (node.body, node.orelse):
                needed |= _needed(block, inside, sources)
        else:
            needed |= names([node], ast.Load)
    return needed


def _only_assigns(node: ast.stmt) -> bool:
    """Whether a branch does nothing but assign values that raise nothing."""
    if not isinstance(node, ast.If) or not _is_pure(node.test):
        return False
    return all(_assigned(inside) or _only_assigns(inside) for inside in (*node.body, *node.orelse))


def _assigned(node: ast.stmt) -> set[str]:
    """Variables of an assignment whose value raises nothing; empty for anything else."""
    match node:
        case ast.Assign(targets=targets, value=value) if _is_pure(value):
            found = [_variables(target, value) for target in targets]
            return set().union(*found) if all(found) else set()
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if _is_pure(value):
            return {name}
        case ast.AugAssign(target=ast.Name(id=name), op=operator, value=value):
            return {name} if isinstance(operator, _ARITHMETIC) and _is_pure(value) else set()
    return set()


def _variables(target: ast.expr, value: ast.expr) -> set[str]:
    """Variables of one target; empty if assigning to it could raise."""
    if isinstance(target, ast.Name):
        return {target.id}
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        found = {element.id for element in target.elts if isinstance(element, ast.Name)}
        return found if all(isinstance(element, ast.Name) for element in target.elts) else set()
    return set()


def _drop(statements: Iterable[ast.stmt], needed: set[str]) -> list[ast.stmt]:
    kept = []
    for node in statements:
        if isinstance(node, ast.If | ast.While | ast.For):
            node.body, node.orelse = _drop(node.body, needed), _drop(node.orelse, needed)
        targets = _assigned(node)
        empty = isinstance(node, ast.If) and not node.body and not node.orelse and _is_pure(node.test)
        if not empty and (not targets or targets & needed):
            kept.append(node)
    return kept


def _is_pure(node: ast.expr) -> bool:
    """Whether a value on numbers and tuples of them neither raises nor takes long; when in doubt not."""
    match node:
        case ast.Constant() | ast.Name():
            return True
        case ast.Attribute(value=value):
            return _is_pure(value)
        case ast.BinOp(left=left, op=operator, right=right):
            return isinstance(operator, _ARITHMETIC) and _is_pure(left) and _is_pure(right)
        case ast.UnaryOp(operand=operand):
            return _is_pure(operand)
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts):
            return all(map(_is_pure, parts))
        case ast.Compare(left=left, comparators=others):
            return all(map(_is_pure, (left, *others)))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return all(map(_is_pure, (test, body, orelse)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name in _PURE and all(map(_is_pure, arguments))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name), args=arguments, keywords=[]):
            return name in MATH and all(map(_is_pure, arguments))
    return False
