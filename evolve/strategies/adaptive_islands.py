"""Adaptive islands: search harder where nothing moves, and more often where something does.

AdaEvolve's three levels: within an island, an accumulated signal of recent gains sets how much it
explores; between islands, an upper confidence bound on discounted gains says which one is asked
next; when all of them stall, a new island is founded and explores with another tactic. In the
published code the signal never falls while nothing improves, so stagnation goes unnoticed; here
it decays with every candidate told. Gains are counted in ranks, not in the objective's unit.

References
----------
.. [1] Cemri et al. (2026), "AdaEvolve: adaptive LLM driven zeroth-order optimization",
   arXiv:2602.20133 (2 islands that become 5; the other settings here are our own).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class AdaptiveIslandsConfig:
    """Settings."""

    islands: int = 2  # at the start
    most: int = 5
    population: int = 20  # of each island
    decay: float = 0.9  # of the signal, for each candidate told of an island
    least: float = 0.15  # share of exploring proposals while an island improves
    greatest: float = 0.5  # and while it stalls
    bound: float = 0.7  # weight of the exploration term of the confidence bound
    patience: int = 60  # candidates without gain anywhere before an island is founded
    inspirations: int = 2


@dataclass
class _Island:
    population: Population
    signal: float = 1.0  # decayed sum of squared gains; starts high, as if it had just improved
    reward: float = 0.0  # decayed sum of gains
    visits: float = 0.0  # decayed likewise

    def decay(self, by: float) -> None:
        self.signal *= by
        self.reward *= by
        self.visits *= by


@dataclass
class AdaptiveIslands(Strategy):
    """Islands that adapt; starting programs stand on the first ones."""

    problem: Problem
    config: AdaptiveIslandsConfig = field(default_factory=AdaptiveIslandsConfig)

    def __post_init__(self) -> None:
        super().__init__(self.problem)
        self._islands = [self._new_island() for _ in range(self.config.islands)]
        self._home: dict[int, int] = {}
        self._best = math.inf
        self._stalled = 0
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Ask the island with the highest confidence bound; explore as its intensity says."""
        living = [island for island in self._islands if len(island.population)]
        if not living:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        # a share of random visits, since bounds do not change while attempts are under way
        island = pick(rng, living) if rng.random() < 0.25 else max(living, key=self._bound)
        population = island.population
        explores = rng.random() < self._intensity(island)
        parent = pick(rng, population.members) if explores else population.tournament(rng, 4)
        kinds = ("explore", "combine") if explores else ("refine", "tune")
        available = min(2, len(population))
        operator = pick(rng, of_kinds(view.operators, *kinds, parents=available))
        parents = [parent]
        if available > 1:
            parents.append(population.other_than(parent, population.tournament(rng, 4)))
        parents = list(needed(operator, parents))
        if len(parents) > 1 or operator == "mutate":
            return Proposal(operator, tuple(parents))
        return Proposal(operator, (parent,), population.inspirations(parents, self.config.inspirations, rng))

    def tell(self, candidate: Candidate) -> None:
        """Credit the island of the first parent with the gain, as a share of ranks climbed."""
        self._told += 1
        if not candidate.program.parents:
            for island in self._islands:
                island.population.add(candidate)
            start = loss(candidate, self._primary)
            self._best = self._best if start is None else min(self._best, start)
            return
        home = self._home.get(candidate.program.parents[0], candidate.program.id % len(self._islands))
        self._home[candidate.program.id] = home
        island = self._islands[home]
        gain = self._gain(island, candidate)
        for other in self._islands:
            other.decay(self.config.decay ** (1 / len(self._islands)))
        island.visits += 1.0
        island.reward += gain
        island.signal += gain**2
        island.population.add(candidate)
        value = loss(candidate, self._primary)
        if value is not None and value < self._best:
            self._best, self._stalled = value, 0
        else:
            self._stalled += 1
        if self._stalled >= self.config.patience:
            self._found()

    def state(self) -> dict[str, Any]:
        """Counts, and each island's population and signal."""
        islands = [{"population": island.population.ids, "signal": island.signal} for island in self._islands]
        return {"told": self._told, "stalled": self._stalled, "islands": islands}

    def _new_island(self) -> _Island:
        return _Island(Population(self.problem.primary, self.config.population))

    def _intensity(self, island: _Island) -> float:
        span = self.config.greatest - self.config.least
        return self.config.least + span / (1.0 + math.sqrt(island.signal + 1e-9))

    def _bound(self, island: _Island) -> float:
        visits = max(island.visits, 1e-9)
        total = sum(other.visits for other in self._islands) + 1.0
        return island.reward / visits + self.config.bound * math.sqrt(math.log(total + 1.0) / visits)

    def _gain(self, island: _Island, candidate: Candidate) -> float:
        """1 for a new best of the island, the share of members beaten otherwise, halved; 0 if none."""
        value = loss(candidate, self._primary)
        if value is None or not len(island.population):
            return 0.0
        losses = [loss(member, self._primary) for member in island.population.members]
        beaten = sum(other is not None and value < other for other in losses) / len(losses)
        return 1.0 if beaten == 1.0 else beaten / 2

    def _found(self) -> None:
        """A new island from the best of all; at the limit it takes the place of the worst."""
        self._stalled = 0
        seeds = [island.population[0] for island in self._islands if len(island.population)]
        island = self._new_island()
        for candidate in seeds:
            island.population.add(candidate)
        if len(self._islands) < self.config.most:
            self._islands.append(island)
            return
        worst = max(range(len(self._islands)), key=lambda k: loss(self._islands[k].population[0], self._primary) or 0.0)
        self._islands[worst] = island
