"""The language of programs: its limits, its words, and how a refusal reads.

Small on purpose: numbers, arithmetic, ``if``, loops, helper functions, the fields of a hook's
arguments, and the functions listed here.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import unicodedata
import warnings
from collections.abc import Collection
from typing import Any, NoReturn

MAX_CHARACTERS = 32_000
MAX_NODES = 8_000
MAX_DEPTH = 100
MAX_FUNCTIONS = 32
MAX_NAME = 100  # characters
_MAX_REASON = 400
_TOO_LONG = "integers must fit in 64 bits: write a float such as 1e30"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words("abs bool float int len max min pow range round")
MATH = _words(
    "acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh degrees erf erfc exp expm1 fabs floor gamma "
    "hypot isfinite isinf isnan lgamma log log10 log1p log2 pow radians sin sinh sqrt tan tanh trunc"
)
NUMPY = _words(
    "abs arccos arcsin arctan arctan2 ceil copysign cos cosh exp expm1 floor hypot isfinite isinf isnan log log10 "
    "log1p log2 maximum minimum power rint sign sin sinh sqrt square tan tanh trunc ones zeros"
)
CONSTANTS = {"math": frozenset({"e", "inf", "pi", "tau"}), "np": frozenset({"e", "inf", "pi"})}
FUNCTIONS = {"math": MATH, "np": NUMPY}
IMPORTS = {"math": "import math", "np": "import numpy as np"}

# What programs of other kinds contain, and what to write here; the rest gets its node's name.
INSTEAD: dict[type[ast.AST], str] = {
    ast.Import: "only `import math` and `import numpy as np` are admitted, at module level",
    ast.ImportFrom: "only `import math` and `import numpy as np` are admitted, at module level",
    ast.ClassDef: "classes are not admitted: write functions",
    ast.Lambda: "lambda is not admitted: define a function at module level",
    ast.FunctionDef: "functions are defined at module level only",
    ast.AsyncFunctionDef: "async is not admitted: write a plain function at module level",
    ast.AsyncFor: "async is not admitted: write a plain for loop",
    ast.AsyncWith: "async is not admitted: nothing needs to be awaited",
    ast.Await: "await is not admitted: nothing needs to be awaited",
    ast.Yield: "yield is not admitted: return one number",
    ast.YieldFrom: "yield is not admitted: return one number",
    ast.With: "with is not admitted: nothing needs to be opened or closed",
    ast.Delete: "del is not admitted: leave the variable",
    ast.Match: "match is not admitted: use if and elif",
    ast.Try: "try is not admitted: guard with if",
    ast.TryStar: "try is not admitted: guard with if",
    ast.Raise: "raise is not admitted: return a number",
    ast.Assert: "assert is not admitted: guard with if",
    ast.Global: "global is not admitted: a hook keeps no state",
    ast.Nonlocal: "nonlocal is not admitted: a hook keeps no state",
    ast.AnnAssign: "a variable is declared where it is assigned: write NAME: float = value",
    ast.ListComp: "comprehensions are not admitted: write a for loop",
    ast.SetComp: "comprehensions are not admitted: write a for loop",
    ast.DictComp: "comprehensions are not admitted: write a for loop",
    ast.GeneratorExp: "generator expressions are not admitted: write a for loop",
    ast.List: "lists are not admitted: use a tuple or np.zeros",
    ast.Dict: "dictionaries are not admitted: use if",
    ast.Set: "sets are not admitted: use comparisons",
    ast.JoinedStr: "strings are not admitted except as docstrings",
    ast.FormattedValue: "strings are not admitted except as docstrings",
    ast.NamedExpr: "`:=` is not admitted: assign in a statement of its own",
    ast.Starred: "star arguments are not admitted: write each argument",
    ast.Slice: "slices are not admitted: index one element",
    ast.MatMult: "@ is not admitted: write the sum as a loop",
    ast.In: "`in` is not admitted: use comparisons",
    ast.NotIn: "`in` is not admitted: use comparisons",
    ast.Is: "`is` is not admitted: use ==",
    ast.IsNot: "`is` is not admitted: use !=",
}
# Nodes of newer Pythons, by name: this one may not have them.
_NEWER = {
    "TypeAlias": "type statements are not admitted: leave the annotation out",
    "TemplateStr": "strings are not admitted except as docstrings",
    "Interpolation": "strings are not admitted except as docstrings",
}
INSTEAD |= {getattr(ast, name): text for name, text in _NEWER.items() if hasattr(ast, name)}


class Rejection(ValueError):
    """A program is not admitted; the message is one sentence, with the line where there is one."""


def refuse(rule: str, node: ast.AST | None = None) -> NoReturn:
    """Raise a Rejection that points at a node."""
    line = getattr(node, "lineno", None)
    if len(rule) > _MAX_REASON:  # it quotes a very long name
        rule = f"{rule[: _MAX_REASON // 2]} ... {rule[-_MAX_REASON // 2 :]}"
    raise Rejection(f"line {line}: {rule}" if line else rule)


def parse(source: str) -> ast.Module:
    """Parse within limits of size and depth; the source is not run, and no constant is computed.

    Raises
    ------
    Rejection
        If the text is too long, too deep, or no Python.
    """
    if len(source) > MAX_CHARACTERS:
        refuse(f"the program has {len(source):,} characters, more than the {MAX_CHARACTERS:,} admitted")
    for number, line in enumerate(source.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.isprintable():
            _check_characters(line, number)
        if number <= 2 and re.match(r"\s*#.*coding[:=]", line):
            raise Rejection(f"line {number}: an encoding declaration is not admitted: programs are UTF-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        # Python's own sentence on very long integers tells how to lift its limit.
        rule = _TOO_LONG if "integer string conversion" in error.msg else f"not Python: {error.msg}"
        raise Rejection(f"line {error.lineno}: {rule}") from None
    except ValueError as error:
        raise Rejection(f"not Python: {error}") from None
    except (RecursionError, MemoryError):
        raise Rejection("the program is nested too deeply to be parsed") from None
    _check_size(tree)
    if not source.isascii():
        _check_ascii(source)
    return tree


def _check_ascii(source: str) -> None:
    """Refuse other letters outside comments and strings: Python reads some of them as ASCII."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING) and not token.string.isascii():
            refuse(f"names must be ASCII, got {token.string!r}", ast.Pass(lineno=token.start[0]))


def _check_characters(line: str, number: int) -> None:
    """Refuse control and invisible characters: they make a text read differently from what it does."""
    for character in line:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character != "\t":
            raise Rejection(f"line {number}: the invisible character U+{ord(character):04X} is not admitted")


def _check_size(tree: ast.Module) -> None:
    """Limit nodes and depth, without recursion: what follows recurses."""
    level: list[ast.AST] = [tree]
    nodes = depth = 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        if nodes > MAX_NODES:
            refuse(f"the program has more than the {MAX_NODES:,} syntax elements admitted")
        if depth > MAX_DEPTH:
            refuse(f"the program is nested more than {MAX_DEPTH} levels deep", level[0])
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def check_number(value: Any, node: ast.AST) -> None:
    """Refuse a literal that is no number, or none that compiled code holds exactly."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        refuse(_TOO_LONG, node)
    if isinstance(value, float) and value == float("inf"):
        refuse("the number is too large: write math.inf for infinity", node)
    if not isinstance(value, int | float):
        text = isinstance(value, str | bytes)
        refuse("strings are not admitted except as docstrings" if text else f"{value!r} is no number", node)


def check_power(node: ast.BinOp) -> None:
    """Refuse ``10 ** 10 ** 10``: plain Python would compute all its digits, compiled code would wrap."""
    if isinstance(node.op, ast.Pow | ast.LShift):
        _integer(node)


def _integer(node: ast.expr) -> int | None:
    """Value of an expression of integer literals; None for any other. Nothing large is computed."""
    match node:
        case ast.Constant(value=int() as value):
            return value if abs(value) < 2**63 else None
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _integer(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _integer(left), _integer(right)
            if a is None or b is None:
                return None
            found = _computed(a, operator, b)
            if found is not None and not -(2**63) <= found < 2**63:
                refuse("the integer does not fit in 64 bits: write a float such as 1e30", node)
            return found
    return None


def _computed(a: int, operator: ast.operator, b: int) -> int | None:
    match operator:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Pow() if b >= 0:
            return a ** min(b, 64) if abs(a) > 1 else a**b  # 64 factors of 2 are too many already
        case ast.LShift() if b >= 0:
            return a << min(b, 64)
    return None


def check_name(name: str, node: ast.AST, taken: Collection[str] = ()) -> None:
    """Refuse a name that is reserved, taken, or not what it looks like."""
    if name != "_" and name.startswith("_"):
        refuse(f"names must not begin with an underscore, got {name!r}", node)
    if len(name) > MAX_NAME:
        refuse(f"names have at most {MAX_NAME} characters, got {len(name):,}", node)
    if name in BUILTINS or name in IMPORTS or name == "param":
        refuse(f"the name {name!r} is taken: choose another", node)
    if name in taken:
        refuse(f"{name!r} is defined twice", node)


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
