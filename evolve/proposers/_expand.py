"""Let several more quantities have a say in a rule at once, each with a weight that is yet to be found.

The value that a hook returns is multiplied by powers of ratios of equals. An exponent near 0
changes next to nothing, so the child decides almost like its parent until its constants are
tuned. An exponent may depend on the state of the whole, because what matters at the beginning of
a schedule need not matter at its end.

A hook that only says yes or no (all it returns are constants) decides by comparisons, and a positive
factor of its answer would change nothing: there the sides of comparisons are multiplied.
"""

from __future__ import annotations

import ast

import numpy as np

from evolve.proposers._terms import POSITIVE, Grower, binary, call, literal, name_of, named, number
from evolve.proposers._trees import Site, Tree
from evolve.proposers._variation import pick

_DEPENDENT = 0.5  # share of exponents that depend on the state
_OFFSETS = (0.3, 1.0, 3.0)  # of a ratio, which may be 0


def expand(tree: Tree, terms: int, rng: np.random.Generator) -> str:
    """Multiply a value by that many powers; say which, or nothing if it does not apply to the tree.

    The hook is drawn first, so that one with many returns is not preferred.
    """
    places = [found for hook in tree.hooks if (found := _places(tree, hook))]
    if not places:
        return ""
    site = pick(rng, pick(rng, places))
    factors = [factor for _ in range(terms) if (factor := _power(site, rng)) is not None]
    node = site.node
    for factor in factors:
        node = binary(node, ast.Mult, factor)
    site.put(node)
    return "; ".join(f"times {ast.unparse(factor)}" for factor in factors)


def _places(tree: Tree, hook: str) -> list[Site]:
    """Values of a hook that decide: its results, or where they are mere constants the sides of its comparisons."""
    if tree.verdicts(hook):
        sides = [s for s in tree.sites if isinstance(s.owner, ast.Compare) and s.scope.function == hook]
        return [site for site in sides if number(site.node) is None]
    return [site for site in tree.results(hook) if site.kind == "float"]


def _power(site: Site, rng: np.random.Generator) -> ast.expr | None:
    """A ratio of equals to a small power."""
    ratio = _ratio(site, rng)
    if ratio is None:
        return None
    weight = literal(_weight(rng))
    base = binary(ratio, ast.Add, literal(pick(rng, _OFFSETS)))
    state = _state(site, rng) if rng.random() < _DEPENDENT else None
    if state is None:
        return binary(base, ast.Pow, weight)
    exponent = binary(weight, ast.Add, binary(literal(_weight(rng)), ast.Mult, state))
    return binary(base, ast.Pow, call("math.tanh", exponent))


def _weight(rng: np.random.Generator) -> float:
    return float(f"{rng.normal(0.0, 0.05):.2g}") or 0.01


def _ratio(site: Site, rng: np.random.Generator) -> ast.expr | None:
    """A quotient of two names with equal units, the lower one positive where there is such a name."""
    facts = site.facts
    above = Grower(rng, facts).name(None)
    if above is None:
        return None
    name = name_of(above)
    equals = [n for n, fact in facts.items() if n != name and fact.unit == facts[name].unit]
    positive = [n for n in equals if facts[n].sign == POSITIVE]
    if not equals:
        return None
    if facts[name].sign < 1:
        above = call("max", above, literal(0.0))
    return binary(above, ast.Div, named(pick(rng, positive or equals)))


def _state(site: Site, rng: np.random.Generator) -> ast.expr | None:
    """A pure number: a name that is one, or a ratio of equals."""
    pure = [name for name, fact in site.facts.items() if fact.unit == ()]
    if pure and rng.random() < 0.5:
        return named(pick(rng, pure))
    return _ratio(site, rng)
