"""The language of programs: its limits, its words, and how a refusal reads.

Small on purpose: numbers, arithmetic, ``if``, loops, helper functions, the fields of a hook's
arguments, and the functions listed here.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Collection
from typing import Any, NoReturn

MAX_CHARACTERS = 32_000
MAX_NODES = 8_000
MAX_DEPTH = 100
MAX_FUNCTIONS = 32


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
    ast.ClassDef: "classes are not admitted",
    ast.Lambda: "lambda is not admitted: define a function at module level",
    ast.FunctionDef: "functions are defined at module level only",
    ast.Try: "try is not admitted: guard with if",
    ast.Raise: "raise is not admitted: return a number",
    ast.Assert: "assert is not admitted: guard with if",
    ast.Global: "global is not admitted: a hook keeps no state",
    ast.Nonlocal: "nonlocal is not admitted: a hook keeps no state",
    ast.ListComp: "comprehensions are not admitted: write a for loop",
    ast.SetComp: "comprehensions are not admitted: write a for loop",
    ast.DictComp: "comprehensions are not admitted: write a for loop",
    ast.GeneratorExp: "generator expressions are not admitted: write a for loop",
    ast.List: "lists are not admitted: use a tuple or np.zeros",
    ast.Dict: "dictionaries are not admitted: use if",
    ast.Set: "sets are not admitted: use comparisons",
    ast.JoinedStr: "strings are not admitted except as docstrings",
    ast.NamedExpr: "`:=` is not admitted: assign in a statement of its own",
    ast.Starred: "star arguments are not admitted",
    ast.Slice: "slices are not admitted: index one element",
    ast.MatMult: "@ is not admitted",
    ast.In: "`in` is not admitted: use comparisons",
    ast.NotIn: "`in` is not admitted: use comparisons",
    ast.Is: "`is` is not admitted: use ==",
    ast.IsNot: "`is` is not admitted: use !=",
}


class Rejection(ValueError):
    """A program is not admitted; the message is one sentence, with the line where there is one."""


def refuse(rule: str, node: ast.AST | None = None) -> NoReturn:
    """Raise a Rejection that points at a node."""
    line = getattr(node, "lineno", None)
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
        for character in line.removesuffix("\r"):
            # Control and invisible characters make a text read differently from what it does.
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character != "\t":
                raise Rejection(f"line {number}: the invisible character U+{ord(character):04X} is not admitted")
        if number <= 2 and re.match(r"\s*#.*coding[:=]", line):
            raise Rejection(f"line {number}: an encoding declaration is not admitted: programs are UTF-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        raise Rejection(f"line {error.lineno}: not Python: {error.msg}") from None
    except ValueError as error:
        raise Rejection(f"not Python: {error}") from None
    except (RecursionError, MemoryError):
        raise Rejection("the program is nested too deeply to be parsed") from None
    _check_size(tree)
    return tree


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
        refuse("integers must fit in 64 bits: write a float such as 1e30", node)
    if isinstance(value, float) and value == float("inf"):
        refuse("the number is too large: write math.inf for infinity", node)
    if not isinstance(value, int | float):
        text = isinstance(value, str | bytes)
        refuse("strings are not admitted except as docstrings" if text else f"{value!r} is no number", node)


def check_name(name: str, node: ast.AST, taken: Collection[str] = ()) -> None:
    """Refuse a name that is reserved, taken, or not what it looks like."""
    if name != "_" and name.startswith("_"):
        refuse(f"names must not begin with an underscore, got {name!r}", node)
    if not name.isascii():
        refuse(f"names must be ASCII, got {name!r}", node)
    if name in BUILTINS or name in IMPORTS or name == "param":
        refuse(f"the name {name!r} is taken: choose another", node)
    if name in taken:
        refuse(f"{name!r} is defined twice", node)
