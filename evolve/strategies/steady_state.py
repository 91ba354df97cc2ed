"""Steady-state evolution: a small population, tournaments, and one child at a time.

A child that is better than the worst member takes its place at once, so nothing waits for a
generation to end, and late children of slow evaluations are as welcome as any.

References
----------
.. [1] Whitley (1989), "The GENITOR algorithm and selection pressure: why rank-based allocation of
   reproductive trials is best", ICGA 1989:116-121.
.. [2] Hildebrandt and Branke (2015), "On using surrogates with genetic programming", Evolutionary
   Computation 23(3):343-367 (decisions on a few situations as a fingerprint of a rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.operators import OPERATORS
from evolve.program import Candidate
from evolve.strategies._population import Population, pick
from evolve.strategies._tuning import Tunings
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class SteadyStateConfig:
    """Settings. On shop/job_shop a population of 150 or tournaments of 7 did not do better."""

    population: int = 60
    tournament: int = 4
    crossover: float = 0.3  # share of children with two parents, where the proposer knows how
    front: float = 0.1  # share of parents taken from the archive's front
    tuned: float = 0.5  # share of evaluations that goes into tuning, where there is any
    expanded: float = 0.5  # share of tunings whose parent gets more factors first, where the proposer knows how
    inspirations: int = 2  # other members shown with the parent, where operators rewrite whole programs


class SteadyState(Strategy):
    """Tournament selection, replacement of the worst, one member per behaviour.

    Baselines are the first population.
    """

    # Not the champion: good programs have ancestors that were clearly worse than the best of their
    # time. Some were worse than their parents too, so races are for those who ask for them.
    opponent = "parent"
    tunes = True

    def __init__(self, problem: Problem, config: SteadyStateConfig = SteadyStateConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._population = Population(problem.primary, config.population)
        self._told = 0
        self._tunings = Tunings(config.tuned, config.expanded, config.tournament)

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw an operator, and as many parents as it needs.

        Operators on two parents get two different ones, operators of whole programs inspirations.
        """
        self._population.require()
        if self._tunings.due(view, rng):
            return self._tunings.propose(self._population, view, rng)
        plain = [operator for operator in view.operators if not OPERATORS[operator].tuned]
        single = [operator for operator in plain if OPERATORS[operator].parents == 1]
        double = [operator for operator in plain if OPERATORS[operator].parents == 2]
        if double and len(self._population) > 1 and (not single or rng.random() < self._config.crossover):
            operator = double[0] if len(double) == 1 else pick(rng, double)
            first = self._parent(view, rng)
            return Proposal(operator, (first, self._population.other_than(first, self._drawn(rng))))
        operator = pick(rng, single)
        parent = self._parent(view, rng)
        if operator == "mutate":
            return Proposal(operator, (parent,))
        return Proposal(operator, (parent,), self._population.inspirations((parent,), self._config.inspirations, rng))

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate that is Ok compete for a place."""
        self._told += 1
        self._population.add(candidate)
        self._tunings.tell(candidate)

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the population's ids, best first."""
        return {"told": self._told, "population": self._population.ids}

    def _drawn(self, rng: np.random.Generator) -> Candidate:
        return self._population.tournament(rng, self._config.tournament)

    def _parent(self, view: View, rng: np.random.Generator) -> Candidate:
        if view.front and rng.random() < self._config.front:
            return pick(rng, view.front)
        return self._drawn(rng)
