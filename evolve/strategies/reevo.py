"""Reflective evolution: learn from pairs of a better and a worse program.

A crossover shows a worse and a better program and asks first why the one is better (short-term
reflection); an elitist mutation edits the best program in the light of the insights so far
(long-term reflection): here the programs that last improved the best, whose thoughts prompts show.
One call does both, reflecting and writing, where the original pays for two.

References
----------
.. [1] Ye et al. (2024), "ReEvo: large language models as hyper-heuristics with reflective
   evolution", NeurIPS 2024, arXiv:2402.01145 (population 10, mutation rate 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class ReevoConfig:
    """Settings."""

    population: int = 10
    mutation: float = 0.5  # share of elitist mutations
    insights: int = 3  # improvements shown to them


class Reevo(Strategy):
    """Crosses pairs of different merit; mutates the best with the last improvements in sight."""

    def __init__(self, problem: Problem, config: ReevoConfig = ReevoConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._population = Population(problem.primary, config.population)
        self._improvements: list[Candidate] = []  # each the best when it was told, oldest first
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Cross a pair, better first, or mutate the best."""
        self._population.require()
        if len(self._population) > 1 and rng.random() >= self._config.mutation:
            ranks = np.sort(rng.permutation(len(self._population))[:2])
            pair = [self._population[int(rank)] for rank in ranks]
            operator = pick(rng, of_kinds(view.operators, "combine", "refine", parents=2))
            parents = needed(operator, pair)
            return Proposal(operator, parents, tuple(pair[len(parents) :]) if operator != "mutate" else ())
        best = self._population[0]
        operator = pick(rng, of_kinds(view.operators, "refine", "explore"))
        recent = [c for c in self._improvements if c is not best][-self._config.insights :]
        return Proposal(operator, (best,), tuple(recent) if operator != "mutate" else ())

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate compete; remember it if it is the best so far."""
        self._told += 1
        value = loss(candidate, self._primary)
        if value is None:
            return
        self._population.add(candidate)
        last = loss(self._improvements[-1], self._primary) if self._improvements else None
        if last is None or value < last:
            self._improvements.append(candidate)

    def state(self) -> dict[str, Any]:
        """How many candidates were told; the population's ids, best first; the improvements'."""
        improvements = [candidate.program.id for candidate in self._improvements]
        return {"told": self._told, "population": self._population.ids, "improvements": improvements}
