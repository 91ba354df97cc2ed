"""What a zygote compiles once, so that workers find it done.

A sealed worker can read no file, so whatever the compiler imports late must have been imported
before. This program says at least once whatever the policy admits.
"""

from __future__ import annotations

from evaluators.admission.language import BUILTINS, CONSTANTS, MATH, NUMPY
from problems.problem import Problem

_TWO = frozenset({"atan2", "hypot", "pow", "copysign", "arctan2", "maximum", "minimum", "power"})
_TRUTH = frozenset({"isfinite", "isinf", "isnan", "bool"})  # compiled float() takes no boolean

_MODULE = """
import math
import numpy as np

TABLE = (0.5, 1.5, 2.5)
STEP = param(1.0, low=0.0, high=2.0)


def helper(x, n):
    cells = np.zeros(4)
    ones = np.ones(3)
    total = 0.0
    for i in range(1, n):
        if i == 2 or not x > 0.0:
            continue
        cells[i] = x + ones[1]
        total += cells[i] if cells[i] != 1.0 and x <= STEP else TABLE[i]
    while total > 10.0:
        total -= -abs(x) ** 2 // 3.0 + x % 2.0 + x / 3 + n ** 2 + n // 2 + n % 2
        break
    return total * len(cells)
"""


def source(problem: Problem) -> str:
    """A program of the problem that uses the whole language."""
    every = _every_function()
    parts = [_MODULE]
    for hook in problem.hooks:
        argument, fields = next((a, vars(t)["_fields"]) for a, t in hook.arguments.items())
        parts.append(f"def {hook.name}({', '.join(hook.arguments)}):")
        parts.append(f"    x = helper({argument}.{fields[0]}, 3)")
        parts += [f"    x = x + {term}" if float_ else f"    x = 1.0 if {term} else x" for term, float_ in every]
        parts.append("    return x\n\n")
    return "\n".join(parts)


def _every_function() -> list[tuple[str, bool]]:
    """A call of each function, and whether it is a number."""
    names = [f"math.{name}" for name in sorted(MATH | CONSTANTS["math"])]
    names += [f"np.{name}" for name in sorted((NUMPY | CONSTANTS["np"]) - {"zeros", "ones"})]
    names += sorted(BUILTINS - {"range", "len", "max", "min"})
    # Each combination of types is compiled by itself, and takes as long as a whole rule.
    pairs = [f"{f}({a}, {b})" for f in ("max", "min") for a in ("x", "1") for b in ("x", "2")]
    triples = [f"{f}(x, x, {c})" for f in ("max", "min") for c in ("x", "1")]
    terms = [(term, True) for term in pairs + triples]
    for name in names:
        bare = name.rpartition(".")[2]
        module = name.partition(".")[0]
        constant = bare in CONSTANTS.get(module, ())
        terms.append((name if constant else f"{name}(x, 2.0)" if bare in _TWO else f"{name}(x)", bare not in _TRUTH))
    return terms
