"""Evolution of heuristics: a small population and five operators in turn.

``e1`` asks for a design unlike its parents, ``e2`` for one around their common idea, ``m1`` for
another form, ``m2`` for other constants, ``m3`` for fewer parts; each child comes as a thought and
code. Parents are drawn by rank, equal objectives count as duplicates, and the best survive. The
original works in generations; here each child competes as soon as it is told, which changes
nothing in what is kept of a generation.

References
----------
.. [1] Liu et al. (2024), "Evolution of heuristics: towards efficient automatic algorithm design
   using large language models", ICML 2024, arXiv:2401.02051.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.operators import Kind, needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem

# What each operator is where the proposer does not know it by name.
_TURNS: tuple[tuple[str, Kind], ...] = (
    ("e1", "combine"),
    ("e2", "combine"),
    ("m1", "refine"),
    ("m2", "tune"),
    ("m3", "simplify"),
)


@dataclass(frozen=True)
class EohConfig:
    """Settings."""

    population: int = 20
    parents: int = 2  # shown to e1 and e2; the authors' code shows 2, their paper 5


class Eoh(Strategy):
    """Takes e1, e2, m1, m2 and m3 in turn."""

    def __init__(self, problem: Problem, config: EohConfig = EohConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._population = Population(problem.primary, config.population)
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """The operator whose turn it is, on parents drawn by rank."""
        self._population.require()
        name, kind = _TURNS[(self._told + view.pending) % len(_TURNS)]
        available = min(self._config.parents, len(self._population))
        first = self._population.by_rank(rng)
        parents = [first]
        if available > 1:
            parents.append(self._population.other_than(first, self._population.by_rank(rng)))
        known = name in view.operators and (available > 1 or name.startswith("m"))
        operator = name if known else pick(rng, of_kinds(view.operators, kind, "refine", parents=len(parents)))
        return Proposal(operator, needed(operator, parents))

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate compete unless another has the same objective."""
        self._told += 1
        value = loss(candidate, self._primary)
        if value is not None and value not in (loss(member, self._primary) for member in self._population.members):
            self._population.add(candidate)

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the population's ids, best first."""
        return {"told": self._told, "population": self._population.ids}
