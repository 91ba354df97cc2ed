"""Reflective Pareto search: every program that is best somewhere may be a parent.

As in GEPA, a candidate is kept for each training instance it is best on, a parent is drawn in
proportion to the number of instances it wins, and a reflecting operator shows it where it does
badly; now and then two winners on different instances are merged. Beyond GEPA, whose pool is a set
of champions by instance, the pool here also holds the true Pareto front of the objectives.

References
----------
.. [1] Agrawal et al. (2025), "GEPA: reflective prompt evolution can outperform reinforcement
   learning", arXiv:2507.19457.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluators.outcome import Ok
from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class ReflectiveParetoConfig:
    """Settings."""

    merge: float = 0.2  # share of children with two parents
    front: float = 0.1  # share of parents from the front of the objectives


class ReflectivePareto(Strategy):
    """Champions by instance; on ties the older one stays champion."""

    def __init__(self, problem: Problem, config: ReflectiveParetoConfig = ReflectiveParetoConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._champions: dict[int, tuple[float, Candidate]] = {}  # by position of the instance in train
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Reflect on a champion, or merge two."""
        if not self._champions:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        pool, wins = self._pool()
        if view.front and rng.random() < self._config.front:
            parent = pick(rng, view.front)
        else:
            parent = pool[int(rng.choice(len(pool), p=wins / wins.sum()))]
        others = [candidate for candidate in pool if candidate.program.id != parent.program.id]
        merges = bool(others) and rng.random() < self._config.merge
        named = ["reflect"] if "reflect" in view.operators and not merges else []
        kinds = of_kinds(view.operators, "combine" if merges else "refine", "explore", parents=1 + merges)
        operator = pick(rng, named or kinds)
        return Proposal(operator, needed(operator, [parent, pick(rng, others)] if merges else [parent]))

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate take every instance that it is strictly better on."""
        self._told += 1
        overall = loss(candidate, self._primary)
        if overall is None:
            return
        assert isinstance(candidate.outcome, Ok)
        values = candidate.outcome.values.get(self._primary.name) or [candidate.objective(self._primary.name)]
        for k, value in enumerate(values):
            lost = self._primary.loss(value)
            if math.isfinite(lost) and (k not in self._champions or lost < self._champions[k][0]):
                self._champions[k] = (lost, candidate)

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the champions' ids by instance."""
        return {"told": self._told, "champions": [c.program.id for _, (_, c) in sorted(self._champions.items())]}

    def _pool(self) -> tuple[list[Candidate], np.ndarray]:
        """Champions by age, and how many instances each has."""
        wins = Counter(candidate.program.id for _, candidate in self._champions.values())
        by_id = {candidate.program.id: candidate for _, candidate in self._champions.values()}
        order = sorted(wins)
        return [by_id[number] for number in order], np.array([wins[number] for number in order], dtype=np.float64)
