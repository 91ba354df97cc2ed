"""Genetic programming on the programs themselves: no model, no key, about a millisecond a child.

Mutation and crossover of syntax trees, typed (numbers and conditions) and mostly true to units,
as in genetic-programming hyper-heuristics for dispatching rules [1]_ [2]_ [3]_ [4]_. The trees are
those of the same Python programs that people and language models write, so all three can be
parents of each other; children stay short, readable and finite.

References
----------
.. [1] Hildebrandt, Heger and Scholz-Reiter (2010), "Towards improved dispatching rules for complex
   shop floor scenarios: a genetic programming approach", GECCO 2010:257-264.
.. [2] Branke, Nguyen, Pickardt and Zhang (2016), "Automated design of production scheduling
   heuristics: a review", IEEE Transactions on Evolutionary Computation 20(1):110-124.
.. [3] Nguyen, Mei and Zhang (2017), "Genetic programming for production scheduling: a survey with
   a unified framework", Complex & Intelligent Systems 3:41-66.
.. [4] Zhang, Mei, Nguyen and Zhang (2024), "Survey on genetic programming and machine learning
   techniques for heuristic design in job shop scheduling", IEEE Transactions on Evolutionary
   Computation 28(1):147-167.
"""

from __future__ import annotations

import textwrap
from functools import lru_cache

import numpy as np

from evolve.proposers._expand import expand
from evolve.proposers._tidy import depth, guard, hazards, render, size, tidy
from evolve.proposers._trees import Tree
from evolve.proposers._variation import MUTATIONS, cross
from evolve.proposers.proposer import Draft, EditRefused, Proposer
from evolve.strategies.strategy import Proposal
from problems.problem import Problem

_ANOTHER_MUTATION = 0.3  # chance of one more, each time
_TRIES = 20
_MOST_FACTORS = 5  # that an expansion adds
_FURTHER_HOOK = 20  # size that each hook but the first adds to the limits: published rules of four have 16 to 55
_SHARES = np.cumsum([share for _, share in MUTATIONS])


class GeneticProposer(Proposer):
    """Writes children by syntax-tree mutation and crossover.

    Parameters
    ----------
    problem
        Its hooks say what a rule may read, and in which units.
    max_size, max_depth
        Names, constants and operations of a program of one hook, and nesting of its expressions. Each
        further hook allows 20 more. A parent that is larger may have children as large as itself.
    expanded
        Size that a program of one hook may have after expansion: its new constants are fitted, not guessed.
    """

    origin = "genetic"
    immediate = True
    operators = ("mutate", "crossover", "expand")

    def __init__(self, problem: Problem, *, max_size: int = 35, max_depth: int = 12, expanded: int = 80) -> None:
        self._problem = problem
        more = _FURTHER_HOOK * (len(problem.hooks) - 1)
        self._max_size = max_size + more
        self._max_depth = max_depth
        self._expanded = expanded + more
        self._tidied = lru_cache(maxsize=256)(self._tidy)

    async def propose(self, proposal: Proposal, rng: np.random.Generator) -> Draft:
        """Write a child that differs from its parents and keeps the limits.

        A crossover grafts from the second parent into the first.

        Raises
        ------
        EditRefused
            If a parent does not parse, has nothing that can be changed, or no try gave a new program.
        ValueError
            If the operator is unknown or a parent is missing.
        """
        if proposal.operator not in self.operators:
            raise ValueError(f"operator must be one of {', '.join(self.operators)}, got {proposal.operator!r}")
        if len(proposal.parents) < 1 + (proposal.operator == "crossover"):
            raise ValueError(f"{proposal.operator} got only {len(proposal.parents)} parents")
        sources = [parent.program.source for parent in proposal.parents]
        # A change that folds away leaves a parent in its tidy form.
        known = {self._tidied(source) for source in sources}
        for _ in range(_TRIES):
            tree = self._parse(sources[0])
            donor = self._parse(sources[1]) if proposal.operator == "crossover" else None
            thought = self._vary(tree, donor, rng, expanding=proposal.operator == "expand")
            if not thought:
                continue
            child = render(tree.module)
            if child not in known:
                return Draft(child, textwrap.shorten(thought, 300))
        raise EditRefused(f"{proposal.operator}: no new program within the limits in {_TRIES} tries")

    def _parse(self, source: str) -> Tree:
        try:
            return Tree(source, self._problem)
        except SyntaxError as error:
            raise EditRefused(f"the parent does not parse: {error}") from None

    def _tidy(self, source: str) -> str:
        tree = self._parse(source)
        tidy(tree)
        return render(tree.module)

    def _vary(self, tree: Tree, donor: Tree | None, rng: np.random.Generator, *, expanding: bool) -> str:
        """Change a tree in place; say how, or nothing if it came to nothing."""
        accepted, limits = hazards(tree), self._limits(tree)
        if expanding:
            limits = self._expanded, self._max_depth + limits[1]
            thoughts = [expand(tree, int(rng.integers(1, _MOST_FACTORS + 1)), rng)]
        elif donor is not None:
            accepted |= hazards(donor)
            thoughts = [cross(tree, donor, rng)]
        else:
            thoughts = [_mutate(tree, rng)]
            while rng.random() < _ANOTHER_MUTATION:
                tree.refresh()
                thoughts.append(_mutate(tree, rng))
        tree.refresh()
        guard(tree, accepted)
        tidy(tree)
        fits = size(tree) <= limits[0] and depth(tree.module) <= limits[1]
        return "; ".join(filter(None, thoughts)) if fits else ""

    def _limits(self, parent: Tree) -> tuple[int, int]:
        return max(self._max_size, size(parent)), max(self._max_depth, depth(parent.module))


def _mutate(tree: Tree, rng: np.random.Generator) -> str:
    drawn = int(np.searchsorted(_SHARES, rng.random() * _SHARES[-1], side="right"))
    return MUTATIONS[drawn][0](tree, rng)
