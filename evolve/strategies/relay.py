"""A relay: run one strategy until it stops gaining, then hand everything to the next.

Every strategy hears of every candidate, so whichever runs next knows what all have found. On
Frontier-CS, switching engines on plateaus brought 59 to 63 points where the engines alone brought
44 to 55 [1]_.

References
----------
.. [1] GEPA (2026), "omni", blog post of the project: engines switched on plateaus, 20 dollars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.program import Candidate
from evolve.strategies._population import loss
from evolve.strategies.greedy import Greedy
from evolve.strategies.mcts import Mcts
from evolve.strategies.steady_state import SteadyState
from evolve.strategies.strategy import Proposal, Strategy, View, Wait
from problems.problem import Problem


@dataclass(frozen=True)
class RelayConfig:
    """Settings."""

    patience: int = 150  # candidates without a new best before the next strategy runs


class Relay(Strategy):
    """Steady-state evolution, then greedy search, then tree search, and round again."""

    def __init__(self, problem: Problem, config: RelayConfig = RelayConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._legs: tuple[Strategy, ...] = (SteadyState(problem), Greedy(problem), Mcts(problem))
        self._running = 0
        self._best = math.inf
        self._stalled = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal | Wait:
        """Ask the strategy that runs."""
        return self._legs[self._running].ask(view, rng)

    def tell(self, candidate: Candidate) -> None:
        """Tell all; hand over when nothing was gained for a while."""
        for leg in self._legs:
            leg.tell(candidate)
        value = loss(candidate, self._primary)
        if value is not None and value < self._best:
            self._best, self._stalled = value, 0
            return
        self._stalled += 1
        if self._stalled >= self._config.patience:
            self._running, self._stalled = (self._running + 1) % len(self._legs), 0

    def state(self) -> dict[str, Any]:
        """Which strategy runs, for how long without gain, and their states."""
        return {"running": self._running, "stalled": self._stalled, "legs": [leg.state() for leg in self._legs]}
