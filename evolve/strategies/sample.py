"""Independent sampling: every child comes from a starting program, and no child has children.

The control of every comparison: whatever a search finds beyond it comes from selection. At equal
budgets it matches elaborate pipelines on many tasks [1]_.

References
----------
.. [1] Gideoni, Risi and Gal (2026), "Simple baselines are competitive with code evolution",
   arXiv:2602.16805.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


class Sample(Strategy):
    """Draws a starting program and an operator that explores, both evenly."""

    opponent = "champion"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._starts: list[Candidate] = []
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Vary a program that has no parents."""
        if not self._starts:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        operator = pick(rng, of_kinds(view.operators, "explore", "refine", parents=min(2, len(self._starts))))
        drawn = [self._starts[int(k)] for k in rng.permutation(len(self._starts))]
        return Proposal(operator, needed(operator, drawn))

    def tell(self, candidate: Candidate) -> None:
        """Keep a program without parents as a start."""
        self._told += 1
        if not candidate.program.parents and loss(candidate, self._primary) is not None:
            self._starts.append(candidate)

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the ids of the starts."""
        return {"told": self._told, "starts": [candidate.program.id for candidate in self._starts]}
