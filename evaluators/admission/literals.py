"""Make the numbers of a program tunable: float literals become parameters.

A rule that was written by a person or grown by genetic operators holds its constants in the
middle of its terms. ``with_parameters`` names each of them and sets bounds around its value, so
that tuning can reach them; as written, the program decides as before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from evaluators.admission.language import parse
from evaluators.admission.parameters import is_parameter

# A literal may become this much larger or smaller. Its sign stays: it is an operator of the term.
SPAN = 10.0


def with_parameters(source: str) -> str:
    """The program with its float literals as parameters.

    Left as they are: integers (they may be indices, ranges or counts), zero and what is not
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
    found = sorted(_literals(tree), key=lambda node: (node.lineno, node.col_offset))
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
        definitions = [f"{name} = {_call(node)}".encode() for node, name in new]
        lines[first.lineno - 1 : first.lineno - 1] = [*definitions, b"", b""]
    return b"\n".join(lines).decode()


def _literals(tree: ast.Module) -> Iterator[ast.Constant]:
    """Float literals of functions that may be any number."""
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        fixed = {id(node) for exponent in _exponents(function) for node in ast.walk(exponent)}
        for statement in function.body:
            for node in ast.walk(statement):
                if not isinstance(node, ast.Constant) or not _is_tunable(node.value):
                    continue
                if id(node) not in fixed or not isinstance(node.value, float) or not node.value.is_integer():
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


def _call(node: ast.expr) -> str:
    """``param(...)`` with bounds on both sides of a number's magnitude."""
    value = float(ast.literal_eval(node))
    low, high = sorted((value / SPAN, value * SPAN))
    return f"param({value!r}, low={low!r}, high={high!r}{', log=True' if low > 0.0 else ''})"
