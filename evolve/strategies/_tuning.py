"""Whose constants are tuned, and how often: shared by the strategies that tune inside runs."""

from __future__ import annotations

import numpy as np

from evolve.operators import is_tuned
from evolve.program import Candidate
from evolve.strategies._population import Population, has_constants, pick
from evolve.strategies.strategy import Proposal, View


class Tunings:
    """Proposals of tuned operators.

    Parameters
    ----------
    share : float
        Of the evaluations that goes into tuning, where there is any.
    expanded : float
        Share of tunings whose parent gets more factors first, where the proposer knows how.
    entrants : int
        Of the tournaments in which parents are found.
    """

    def __init__(self, share: float, expanded: float, entrants: int) -> None:
        self._share, self._expanded, self._entrants = share, expanded, entrants
        self._settled: set[int] = set()  # ids whose constants were tuned already

    def due(self, view: View, rng: np.random.Generator) -> bool:
        """Whether to tune now: as often as makes the evaluations of tunings the share that is wanted."""
        share = self._share
        return bool(view.tuning) and rng.random() < share / (share + (1.0 - share) * (1 + view.tuning))

    def propose(self, population: Population, view: View, rng: np.random.Generator) -> Proposal:
        """Tune one of the best that were not tuned yet, or expand a good one."""
        open_ = [c for c in population.members if c.program.id not in self._settled]
        worth = [c for c in open_ if has_constants(c.program.source)][: self._entrants]
        if "expand" in view.operators and (not worth or rng.random() < self._expanded):
            return Proposal("expand", (population.tournament(rng, 2 * self._entrants),))
        return Proposal("tune", (pick(rng, worth) if worth else population.tournament(rng, self._entrants),))

    def tell(self, candidate: Candidate) -> None:
        """Hear of a candidate; one that was tuned is settled, and so is what it was tuned from."""
        program = candidate.program
        if is_tuned(program):
            self._settled.add(program.id)
            if program.operator == "tune":
                self._settled.update(program.parents)
