"""Make the numbers of a program tunable: float literals become parameters.

A rule that was written by a person or grown by genetic operators holds its constants in the
middle of its terms. ``with_parameters`` names each of them and sets bounds around its value, so
that tuning can reach them; as written, the program decides as before.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from evaluators.admission.language import parse
from evaluators.admission.parameters import is_parameter, parameter, parameters

# A literal may become this much larger or smaller. Its sign stays: it is an operator of the term.
SPAN = 10.0
# A weight may become so much larger or smaller, whatever its sign.
REACH = 1.0


def with_parameters(source: str) -> str:
    """The program with its float literals as parameters.

    An exponent, and what stands within tanh, may change its sign: such numbers are weights, and 0
    is the neutral one. Left as they are: integers (they may be indices, ranges or counts), zero and what is not
    finite, tuples, and exponents that are whole numbers (a square of a negative number exists, its
    power of 2.1 does not).

    Parameters
    ----------
    source : str
        An admitted program.
    """
    tree = parse(source)
    lines = source.encode().split(b"\n")  # offsets in the tree count bytes
    taken = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    taken |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    taken |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names = (name for i in range(1, len(taken) + 10_000) if (name := f"C{i}") not in taken)
    weights = {id(node) for node in _weights(tree)}
    found = sorted(_literals(tree, weights), key=lambda node: (node.lineno, node.col_offset))
    new = [(node, name) for node, name in zip(found, names, strict=False)]
    edits: list[tuple[ast.expr, bytes]] = [(node, name.encode()) for node, name in new]
    edits += [(node, _call(node).encode()) for node in _constants(tree)]
    for node, text in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        line = lines[node.lineno - 1]
        rest = line[node.end_col_offset :]
        gap = b" " if rest[:1].isalpha() else b""  # `1.0if` is a number and a word
        lines[node.lineno - 1] = line[: node.col_offset] + text + gap + rest
    first = next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
    if first is not None and new:
        definitions = [f"{name} = {_call(node, id(node) in weights)}".encode() for node, name in new]
        lines[first.lineno - 1 : first.lineno - 1] = [*definitions, b"", b""]
    return b"\n".join(lines).decode()


def without_parameters(source: str, names: Collection[str]) -> str:
    """The inverse of with_parameters: some parameters as literals again, with three significant digits.

    Parameters
    ----------
    source : str
        An admitted program.
    names : collection of str
        Of the parameters; others stay.
    """
    tree = parse(source)
    lines = source.encode().split(b"\n")
    places = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    found = {p.name: p.value for p in parameters(tree) if p.name in names}
    for node in sorted(places, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        if node.id in found:
            value = float(f"{found[node.id]:.3g}")
            line = lines[node.lineno - 1]
            before, after = line[: node.col_offset], line[node.end_col_offset :]
            bare = value >= 0 or (before.endswith(b"(") and after.startswith(b")"))
            lines[node.lineno - 1] = before + (repr(value) if bare else f"({value!r})").encode() + after
    for statement in reversed(tree.body):
        if is_parameter(statement) and parameter(statement).name in found:
            del lines[statement.lineno - 1]
            while lines[statement.lineno - 1] == b"" and lines[statement.lineno - 2 : statement.lineno - 1] in (
                [],
                [b""],
            ):
                del lines[statement.lineno - 1]  # the gap that set the definitions apart
    return b"\n".join(lines).decode()


def _literals(tree: ast.Module, weights: set[int]) -> Iterator[ast.expr]:
    """Float literals of functions that may be any number, weights with their sign."""
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        fixed = {id(node) for exponent in _exponents(function) for node in ast.walk(exponent)}
        for statement in function.body:
            signed: set[int] = set()
            for node in ast.walk(statement):
                if id(node) in weights and isinstance(node, ast.expr):
                    signed.update(id(part) for part in ast.walk(node))
                    yield node
                if id(node) in signed or not isinstance(node, ast.Constant) or not _is_tunable(node.value):
                    continue
                if id(node) not in fixed or not isinstance(node.value, float) or not node.value.is_integer():
                    yield node


def _weights(tree: ast.Module) -> Iterator[ast.expr]:
    """Literals, with their sign, that are an exponent or stand within tanh; whole numbers are none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            parts: list[ast.AST] = [node.right]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "tanh":
            parts = list(_summands(node.args[0])) if node.args else []
        else:
            continue
        for part in parts:
            inner = part.operand if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub) else part
            value = inner.value if isinstance(inner, ast.Constant) else None
            if isinstance(part, ast.expr) and isinstance(value, float) and _is_tunable(value) and value % 1.0:
                yield part


def _summands(node: ast.expr) -> Iterator[ast.expr]:
    """The terms of a sum, and the factors of each."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        yield from _summands(node.left)
        yield from _summands(node.right)
    else:
        yield node


def _exponents(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            yield node.right
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("pow", "power"):
            yield from node.args[1:]


def _constants(tree: ast.Module) -> Iterator[ast.expr]:
    """Values of module-level constants that are one float."""
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or is_parameter(statement):
            continue
        value = statement.value
        inner = value.operand if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) else value
        if isinstance(inner, ast.Constant) and _is_tunable(inner.value):
            yield value


def _is_tunable(value: object) -> bool:
    return isinstance(value, float) and value != 0.0 and 1e-300 < abs(value) < 1e300


def _call(node: ast.expr, weight: bool = False) -> str:
    """``param(...)`` with bounds on both sides of a number's magnitude, of a weight around its value."""
    value = float(ast.literal_eval(node))
    if weight:
        return f"param({value!r}, low={value - REACH!r}, high={value + REACH!r})"
    low, high = sorted((value / SPAN, value * SPAN))
    return f"param({value!r}, low={low!r}, high={high!r}{', log=True' if low > 0.0 else ''})"
