"""Programs for property tests: drawn from the language, disguised, changed, and broken byte by byte.

They are programs of ``one_machine``.
"""

from __future__ import annotations

import ast
import random
import re

from hypothesis import strategies as st

FIELDS = ("job.duration", "job.weight", "machine.now", "machine.jobs")
NUMBERS = ("0", "1", "2", "3", "0.5", "1.0", "1.5", "2.0", "10.0", "1e-3", "True")
ARITHMETIC = ("+", "-", "*", "/", "%", "//")


def expressions(names: tuple[str, ...], depth: int = 2) -> st.SearchStrategy[str]:
    """Numbers made of fields, literals and variables."""
    leaf = st.sampled_from([*FIELDS, *NUMBERS, *names])
    if depth == 0:
        return leaf
    inner = expressions(names, depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, inner, st.sampled_from(ARITHMETIC), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["max", "min", "math.hypot"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "math.sqrt", "-", "float"]), inner),
        st.builds("({} if {} < {} else {})".format, inner, inner, inner, inner),
    )


@st.composite
def blocks(draw: st.DrawFn, names: tuple[str, ...], depth: int, indent: str) -> str:
    """Statements that assign fresh variables before anything reads them, and end in a return."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 4))):
        value = draw(expressions(names))
        kind = draw(st.sampled_from(["set", "set", "again", "if", "for", "while"] if depth else ["set", "again"]))
        if kind == "set" or (kind == "again" and not names):
            name = f"x{len(names)}"
            lines.append(f"{indent}{name} = {value}")
            names = (*names, name)
        elif kind == "again":
            variables = [name for name in names if name[0] == "x"]
            operator = draw(st.sampled_from(["=", "+=", "*="]))
            lines += [f"{indent}{draw(st.sampled_from(variables))} {operator} {value}"] if variables else []
        elif kind == "for":
            lines += [f"{indent}for i in range({draw(st.integers(0, 4))}):", f"{indent}    i = i * 2"]
        elif kind == "while":
            lines += [f"{indent}while {value} < 0.0:", f"{indent}    break"]
        else:
            lines += [f"{indent}if {value} > {draw(st.sampled_from(NUMBERS))}:"]
            lines += [draw(blocks(names, depth - 1, indent + "    "))]
            if draw(st.booleans()):
                lines += [f"{indent}else:", draw(blocks(names, depth - 1, indent + "    "))]
                return "\n".join(lines)
    lines.append(f"{indent}return {draw(expressions(names))}")
    return "\n".join(lines)


@st.composite
def programs(draw: st.DrawFn) -> str:
    """An admitted program that uses a constant, a parameter, a tuple and a helper, or not."""
    names = ("A", "B", "C[1]", "helper(job.weight, 2.0)")
    head = "import math\n\nA = 2.5\nB = param(1.5, low=0.5, high=3)\nC = (1.0, 0.25)\n\n\n"
    helper = (
        f"def helper(x, y):\n{draw(blocks(('x', 'y'), 1, '    ')).replace('job.', 'A + ').replace('machine.', 'A + ')}"
    )
    helper = re.sub(r"A \+ \w+", "A", helper)
    body = draw(blocks(draw(st.sampled_from([(), names])), 2, "    "))
    return f"{head}{helper}\n\n\ndef priority(job, machine):\n{body}\n"


def _rename(tree: ast.Module, names: dict[str, str]) -> None:
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str) and not isinstance(node, ast.keyword | ast.alias):
                setattr(node, field, names.get(name, name))


def _bare(source: str) -> ast.Module:
    """The tree without docstrings."""
    tree = ast.parse(source)
    for node in (tree, *tree.body):
        body = getattr(node, "body", [])
        if body and isinstance(body[0], ast.Expr):
            del body[0]
    return tree


DEAD = (
    "pass",
    "unused = 1.0 + 2.0",
    "unused = abs(1.5); unused += 3; also = unused",
    "if 3 > 2:\n    unused = 4",
    "if False:\n    return 1.0",
    "while 0:\n    unused = 3",
    "if True:\n    unused: float = max(1.0, 2.0)\nelse:\n    return 5",
)


def renamed(source: str, rng: random.Random) -> str:
    """Every name that is the program's own is another one."""
    tree = ast.parse(source)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} - {"priority"}
    own |= {a.arg for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in own for a in n.args.args}
    fresh = rng.sample(range(10_000), len(own))
    _rename(tree, {name: f"n{k}" for name, k in zip(sorted(own), fresh, strict=True)})
    return ast.unparse(tree)


def with_dead_code(source: str, rng: random.Random) -> str:
    """Statements, functions and constants that nothing reaches or reads."""
    tree = _bare(source)
    blocks_ = [b for n in ast.walk(tree) for b in (getattr(n, "body", []), getattr(n, "orelse", []))]
    for block in blocks_:
        if not isinstance(block, list) or not block or block is tree.body:
            continue
        for _ in range(rng.randrange(3)):
            block[rng.randrange(len(block)) : 0] = ast.parse(rng.choice(DEAD)).body
        if isinstance(block[-1], ast.Return) and rng.random() < 0.5:
            block += ast.parse("unused = 7.0\nif unused > 3:\n    unused = 2").body
    place = rng.randrange(len(tree.body) + 1)
    tree.body[place:place] = ast.parse("IDLE = 3.0\nimport numpy as np\ndef idle(x):\n    return x + IDLE\n").body
    return ast.unparse(tree)


def reformatted(source: str, rng: random.Random) -> str:
    """Comments, docstrings, blank lines, indentation, parentheses, and 1.50 for 1.5."""
    tree = _bare(source)
    for function in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
        function.body.insert(0, ast.Expr(ast.Constant(f"Doc {rng.random()}.")))
    text = ast.unparse(tree)
    if rng.random() < 0.5:
        text = re.sub(r"(?<![\w.])(\d+\.\d+)(?![\w.])", r"(\g<1>0)", text)
        text = re.sub(r"param\(\((.*?)\), low=\((.*?)\)", r"param(\1, low=\2", text)
    lines = []
    for line in text.split("\n"):
        depth = (len(line) - len(line.lstrip())) // 4
        lines.append("\t" * depth + line.lstrip() + rng.choice(["", "  ", "  # note"]))
        lines += [""] * rng.randrange(2)
    return f'"""Module {rng.random()}."""\n' + "\n".join(lines)


def disguised(source: str, rng: random.Random) -> str:
    """The same program in other words."""
    for step in rng.sample([renamed, with_dead_code, reformatted], k=3):
        source = step(source, rng)
    return source


def changed(source: str, rng: random.Random) -> str:
    """One place of the program says something else, which may or may not matter."""
    tree = ast.parse(source)
    places = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp | ast.Constant | ast.IfExp | ast.If | ast.Assign)]
    node = rng.choice(places)
    match node:
        case ast.BinOp() if rng.random() < 0.5:
            node.left, node.right = node.right, node.left
        case ast.BinOp():
            node.op = rng.choice([ast.Add(), ast.Sub(), ast.Mult()])
        case ast.Constant():
            node.value = rng.choice([0, 1, 2, 1.0, 2.0, -1.0, float(node.value), 0.25])
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case ast.If():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Assign():
            node.value = ast.Constant(rng.choice([1, 2.0]))
    return ast.unparse(tree)
