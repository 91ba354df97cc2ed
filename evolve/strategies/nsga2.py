"""NSGA-II over programs, as MEoH and LLM4AD use it: fronts by rank, crowding within.

All objectives count but measured decision times, which no two machines agree on. A steady-state
form: each child that is told joins, and the worst by rank and crowding leaves.

References
----------
.. [1] Deb, Pratap, Agarwal and Meyarivan (2002), "A fast and elitist multiobjective genetic
   algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2):182-197.
.. [2] Yao et al. (2025), "Multi-objective evolution of heuristic using large language model", AAAI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluators.outcome import Ok
from evolve.archives.digest import exact
from evolve.archives.dominance import crowding, fronts
from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import behaviour_of, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class Nsga2Config:
    """Settings."""

    population: int = 60
    crossover: float = 0.3


class Nsga2(Strategy):
    """Binary tournaments on (front, crowding, age); one member per behaviour."""

    def __init__(self, problem: Problem, config: Nsga2Config = Nsga2Config()) -> None:
        super().__init__(problem)
        self._config = config
        self._objectives = exact(problem.objectives)
        self._members: list[Candidate] = []  # in order: front, then crowding, then age
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw parents by binary tournaments."""
        if not self._members:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        first = self._tournament(rng)
        crosses = len(self._members) > 1 and rng.random() < self._config.crossover
        operators = of_kinds(view.operators, "combine" if crosses else "refine", "explore", parents=1 + crosses)
        operator = pick(rng, operators)
        others = [member for member in self._members if member is not first]
        return Proposal(operator, needed(operator, [first, pick(rng, others)] if others else [first]))

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate join; the last in order leaves a full population."""
        self._told += 1
        if not isinstance(candidate.outcome, Ok) or not all(map(math.isfinite, self._point(candidate))):
            return
        behaviour = behaviour_of(candidate)
        if any(behaviour_of(member) == behaviour for member in self._members):
            return
        members = [*self._members, candidate]
        points = np.array([self._point(member) for member in members])
        front = fronts(points)
        distance = np.zeros(len(members))
        for rank in range(int(front.max()) + 1):
            chosen = np.flatnonzero(front == rank)
            distance[chosen] = crowding(points[chosen])
        order = sorted(range(len(members)), key=lambda k: (front[k], -distance[k], members[k].program.id))
        self._members = [members[k] for k in order[: self._config.population]]

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the population's ids in order."""
        return {"told": self._told, "population": [member.program.id for member in self._members]}

    def _point(self, candidate: Candidate) -> list[float]:
        return [objective.loss(candidate.objective(objective.name)) for objective in self._objectives]

    def _tournament(self, rng: np.random.Generator) -> Candidate:
        return self._members[int(rng.integers(len(self._members), size=2).min())]
