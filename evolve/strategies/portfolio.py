"""The portfolio: a population, champions by group, a nursery, and operators that earn their share.

Four sources of parents keep a search from settling on one idea: the ranked population, the front of
all objectives, the champion of each group of instances, and a nursery. Operators are drawn by Thompson sampling: the
share of an operator's children that won a place, divided by what asking for one costs. When nothing
was gained for a while, a nursery is founded from the starting programs: its children compete among
themselves until it has caught up or its time is over, so that a new idea is not measured against a
polished old one; its best then join the population.

References
----------
.. [1] Hornby (2006), "ALPS: the age-layered population structure for reducing the problem of
   premature convergence", GECCO 2006:815-822 (why newcomers need a place of their own).
.. [2] Mouret and Clune (2015), "Illuminating search spaces by mapping elites", arXiv:1504.04909.
.. [3] Fialho, Da Costa, Schoenauer and Sebag (2010), "Analyzing bandit-based adaptive operator
   selection mechanisms", Annals of Mathematics and Artificial Intelligence 60:25-64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.archives.groups import group_champions
from evolve.operators import OPERATORS, needed
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class PortfolioConfig:
    """Settings."""

    population: int = 60
    tournament: int = 4
    front: float = 0.1  # share of parents from the archive's front
    niche: float = 0.2  # and from the champions by group of instances
    nursery: float = 0.5  # and from the nursery, while there is one
    forgetting: float = 0.995  # of an operator's successes and failures, for each candidate told
    floor: float = 0.1  # share of proposals whose operator is drawn evenly
    patience: int = 400  # candidates without a new best before a nursery is founded
    childhood: int = 300  # candidates that a nursery may take
    inspirations: int = 2


class Portfolio(Strategy):
    """Population, front, niches and nursery; see the module's text."""

    def __init__(self, problem: Problem, config: PortfolioConfig = PortfolioConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._population = Population(problem.primary, config.population)
        self._starts: list[Candidate] = []
        self._nursery: Population | None = None
        self._raised: set[int] = set()  # ids that belong to the nursery
        self._childhood = 0
        self._credit: dict[str, tuple[float, float]] = {}  # operator -> discounted successes, failures
        self._niches: list[Candidate] | None = None  # champions by group, found when first asked
        self._best = math.inf
        self._stalled = 0
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw a source of parents, an operator, and what it needs."""
        self._population.require()
        inside = self._nursery if self._nursery is not None and rng.random() < self._config.nursery else None
        pool = inside if inside is not None and len(inside) else self._population
        operator = self._operator(view, len(pool), rng)
        first = self._parent(view, pool, rng) if pool is self._population else self._drawn(pool, rng)
        parents = [first]
        if OPERATORS[operator].parents > 1:
            parents.append(pool.other_than(first, self._drawn(pool, rng)))
        if operator == "mutate" or len(parents) > 1:
            return Proposal(operator, needed(operator, parents))
        return Proposal(operator, (first,), self._inspirations(first, rng))

    def tell(self, candidate: Candidate) -> None:
        """Credit the operator, let the candidate compete, found or close a nursery."""
        self._told += 1
        value = loss(candidate, self._primary)
        if not candidate.program.parents:
            if value is not None:
                self._starts.append(candidate)
                self._population.add(candidate)
                self._best = min(self._best, value)
            self._niches = None
            return
        won = self._compete(candidate)
        self._learn(candidate.program.operator, won)
        if value is not None and value < self._best:
            self._best, self._stalled = value, 0
        else:
            self._stalled += 1
        if self._nursery is None and self._stalled >= self._config.patience:
            self._found()

    def state(self) -> dict[str, Any]:
        """Counts, ids of population and nursery (best first), and the operators' credit."""
        return {
            "told": self._told,
            "stalled": self._stalled,
            "population": self._population.ids,
            "nursery": None if self._nursery is None else self._nursery.ids,
            "credit": {operator: list(pair) for operator, pair in sorted(self._credit.items())},
        }

    # parents

    def _drawn(self, pool: Population, rng: np.random.Generator) -> Candidate:
        return pool.tournament(rng, self._config.tournament)

    def _parent(self, view: View, pool: Population, rng: np.random.Generator) -> Candidate:
        turn = rng.random()
        if turn < self._config.front and view.front:
            return pick(rng, view.front)
        if turn < self._config.front + self._config.niche:
            return pick(rng, self._champions())
        return self._drawn(pool, rng)

    def _inspirations(self, parent: Candidate, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The best, then champions of groups of instances."""
        others = [c for c in self._champions() if c.program.id != parent.program.id]
        best = self._population[0]
        shown = [best] if best.program.id != parent.program.id else []
        others = [c for c in others if c.program.id != best.program.id]
        drawn = [others[int(k)] for k in rng.permutation(len(others))]
        return tuple([*shown, *drawn][: self._config.inspirations])

    def _champions(self) -> list[Candidate]:
        """The population's best in each group of instances, in order of rank; ties go to the rank."""
        if self._niches is None:
            members = self._population.members
            self._niches = group_champions(members, self._primary) or members[:1]
        return self._niches

    # operators

    def _operator(self, view: View, available: int, rng: np.random.Generator) -> str:
        known = [operator for operator in view.operators if OPERATORS[operator].parents <= available]
        if rng.random() < self._config.floor:
            return pick(rng, known)
        draws = []
        for operator in known:
            successes, failures = self._credit.get(operator, (0.0, 0.0))
            draws.append(rng.beta(1.0 + successes, 1.0 + failures))
        return known[int(np.argmax(draws))]

    def _learn(self, operator: str, won: bool) -> None:
        keep = self._config.forgetting
        self._credit = {name: (good * keep, bad * keep) for name, (good, bad) in self._credit.items()}
        successes, failures = self._credit.get(operator, (0.0, 0.0))
        self._credit[operator] = (successes + won, failures + (not won))

    # population and nursery

    def _compete(self, candidate: Candidate) -> bool:
        """Offer a candidate to where its first parent belongs; say whether it won a place."""
        if self._nursery is not None and candidate.program.parents[0] in self._raised:
            self._childhood -= 1
            won = self._nursery.add(candidate)
            self._raised.add(candidate.program.id)
            grown = self._nursery[0] if len(self._nursery) else None
            caught_up = grown is not None and (loss(grown, self._primary) or 0.0) < self._best
            if self._childhood <= 0 or caught_up:
                for member in self._nursery.members:
                    self._population.add(member)
                self._nursery, self._raised, self._stalled = None, set(), 0
                self._niches = None
            return won
        won = self._population.add(candidate)
        if won:
            self._niches = None
        return won

    def _found(self) -> None:
        self._nursery = Population(self._primary, self._config.population)
        for candidate in self._starts:
            self._nursery.add(candidate)
        self._raised = set(self._nursery.ids)
        self._childhood, self._stalled = self._config.childhood, 0
