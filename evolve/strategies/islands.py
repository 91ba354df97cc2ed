"""Islands of clusters, with resets: the database of FunSearch.

Programs with the same score signature (their values on all training instances) form a cluster. A
parent comes from an island's clusters by Boltzmann selection and from within one by brevity;
children stay on the island of their first parent. Every so often the worse half of the islands is
emptied and each founded anew by the best program of a surviving one.

Scores enter as ranks within the island, so that neither scale nor direction matters; the original
takes them as they are.

References
----------
.. [1] Romera-Paredes et al. (2024), "Mathematical discoveries from program search with large
   language models", Nature 625:468-475, Methods (10 islands, temperature 0.1 falling over 30,000
   programs, the worse half reset every four hours).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluators.outcome import Ok
from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import loss, pick, ranks, size
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class IslandsConfig:
    """Settings."""

    islands: int = 10
    temperature: float = 0.1  # of cluster selection over ranks in [0, 1]; falls to 0 within a period
    period: int = 1000  # programs on an island until its temperature starts again
    reset: int = 1000  # candidates told between two resets
    length_temperature: float = 1.0  # of selection within a cluster, over lengths scaled to [0, 1]


@dataclass
class _Island:
    clusters: dict[str, list[Candidate]] = field(default_factory=dict)  # by signature
    losses: dict[str, float] = field(default_factory=dict)
    programs: int = 0

    def add(self, candidate: Candidate, signature: str, value: float) -> None:
        self.clusters.setdefault(signature, []).append(candidate)
        self.losses.setdefault(signature, value)
        self.programs += 1

    def best(self) -> tuple[float, int, Candidate] | None:
        if not self.losses:
            return None
        signature = min(self.losses, key=lambda s: (self.losses[s], self.clusters[s][0].program.id))
        candidate = self.clusters[signature][0]
        return self.losses[signature], candidate.program.id, candidate


class Islands(Strategy):
    """Independent islands of clusters; starting programs stand on all of them."""

    def __init__(self, problem: Problem, config: IslandsConfig = IslandsConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._islands = [_Island() for _ in range(config.islands)]
        self._home: dict[int, int] = {}  # program -> island, children only
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw an island evenly, then one or two of its programs, the better one first.

        Where the proposer can combine programs, half of the children have two parents.
        """
        living = [k for k, island in enumerate(self._islands) if island.clusters]
        if not living:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        island = self._islands[pick(rng, living)]
        wanted = min(2 if rng.random() < 0.5 else 1, len(island.clusters))
        parents = self._draw(island, wanted, rng)
        kinds = ("combine", "refine") if wanted == 2 else ("refine", "explore")
        operator = pick(rng, of_kinds(view.operators, *kinds, parents=wanted))
        return Proposal(operator, needed(operator, parents))

    def tell(self, candidate: Candidate) -> None:
        """Register a candidate on the island of its first parent; reset when it is time."""
        self._told += 1
        value = loss(candidate, self._primary)
        if value is not None:
            signature = _signature(candidate, self._primary.name)
            for k in self._homes(candidate):
                self._islands[k].add(candidate, signature, value)
        if self._told % self._config.reset == 0:
            self._reset()

    def state(self) -> dict[str, Any]:
        """How many candidates were told; per island its clusters' first ids."""
        return {
            "told": self._told,
            "islands": [[members[0].program.id for members in island.clusters.values()] for island in self._islands],
        }

    def _homes(self, candidate: Candidate) -> list[int]:
        parents = candidate.program.parents
        if not parents:
            return list(range(len(self._islands)))
        # a child of a starting program goes round the islands
        home = self._home.get(parents[0], candidate.program.id % len(self._islands))
        self._home[candidate.program.id] = home
        return [home]

    def _reset(self) -> None:
        best = [island.best() for island in self._islands]
        order = sorted(range(len(best)), key=lambda k: (best[k] is None, (best[k] or ())[:2], k))
        keep = order[: (len(order) + 1) // 2]
        for k, target in enumerate(order[len(keep) :]):
            founder = best[keep[k % len(keep)]]
            self._islands[target] = _Island()
            if founder is not None:
                signature = _signature(founder[2], self._primary.name)
                self._islands[target].add(founder[2], signature, founder[0])

    def _draw(self, island: _Island, count: int, rng: np.random.Generator) -> list[Candidate]:
        signatures = list(island.clusters)
        heat = self._config.temperature * (1 - (island.programs % self._config.period) / self._config.period)
        merit = 1 - ranks(island.losses[s] for s in signatures)
        logits = (merit - merit.max()) / max(heat, 1e-3)
        # a floor, so that as many clusters as are drawn have a chance in floating point
        weights = np.exp(logits) + 1e-12
        drawn = rng.choice(len(signatures), size=count, replace=False, p=weights / weights.sum())
        ordered = sorted(drawn, key=lambda k: -merit[k])
        return [self._brief(island.clusters[signatures[k]], rng) for k in ordered]

    def _brief(self, members: list[Candidate], rng: np.random.Generator) -> Candidate:
        sizes = np.array([size(member.program.source) for member in members], dtype=np.float64)
        scaled = (sizes - sizes.min()) / (sizes.max() + 1e-6)
        weights = np.exp(-scaled / self._config.length_temperature)
        return members[int(rng.choice(len(members), p=weights / weights.sum()))]


def _signature(candidate: Candidate, objective: str) -> str:
    """The values on all instances; the objective itself where none are recorded."""
    outcome = candidate.outcome
    assert isinstance(outcome, Ok)
    values = outcome.values.get(objective) or [outcome.objectives[objective]]
    return ",".join((value + 0.0).hex() for value in values)
