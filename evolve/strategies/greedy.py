"""Sequential best-of-N: always edit the best program so far.

The plainest search there is, and hard to beat: studies of LLM-driven program search find few
elaborate pipelines that win against it at equal budget [1]_. It stays in every comparison.

References
----------
.. [1] Gideoni, Risi and Gal (2026), "Simple baselines are competitive with code evolution",
   arXiv:2602.16805.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evolve.operators import OPERATORS
from evolve.program import Candidate
from evolve.strategies._population import loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


class Greedy(Strategy):
    """Edits the best candidate on the primary objective; ties go to the older one."""

    opponent = "champion"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._best: Candidate | None = None
        self._loss = np.inf
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Edit the best with one of the operators that need a single parent, drawn evenly."""
        if self._best is None:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        single = [operator for operator in view.operators if OPERATORS[operator].parents == 1]
        return Proposal(pick(rng, single), (self._best,))

    def tell(self, candidate: Candidate) -> None:
        """Keep the candidate if it is strictly better than the best so far."""
        self._told += 1
        found = loss(candidate, self._primary)
        if found is not None and found < self._loss:
            self._best, self._loss = candidate, found

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the id of the best."""
        return {"told": self._told, "best": self._best.program.id if self._best else None}
