"""Stochastic hill climbing with restarts: move to a child that is no worse.

A (1+1) evolution strategy over programs; a child of another than the current program (a late one)
competes all the same. After some children in a row without gain the climb starts again from the
next starting program; the best of all climbs is the archive's to keep.

References
----------
.. [1] Droste, Jansen and Wegener (2002), "On the analysis of the (1+1) evolutionary algorithm",
   Theoretical Computer Science 276:51-81.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.operators import of_kinds
from evolve.program import Candidate
from evolve.strategies._population import loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class HillclimbConfig:
    """Settings."""

    patience: int = 200  # children without gain before a restart


class Hillclimb(Strategy):
    """Edits the current program; equal children are accepted, so that plateaus can be crossed."""

    opponent = "parent"

    def __init__(self, problem: Problem, config: HillclimbConfig = HillclimbConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._starts: list[Candidate] = []  # best first
        self._current: Candidate | None = None
        self._stalled = 0
        self._restarts = 0
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Edit the current program with an operator that needs no other."""
        if self._current is None:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        return Proposal(pick(rng, of_kinds(view.operators, "refine", "explore")), (self._current,))

    def tell(self, candidate: Candidate) -> None:
        """Climb, count a failure to climb, or restart."""
        self._told += 1
        found = loss(candidate, self._primary)
        if not candidate.program.parents:
            if found is not None:
                self._starts.append(candidate)
                self._starts.sort(key=lambda c: (self._loss(c), c.program.id))
                self._current = self._starts[0]
            return
        if self._current is None:
            return
        if found is not None and found <= self._loss(self._current):
            self._stalled = 0 if found < self._loss(self._current) else self._stalled + 1
            self._current = candidate
        else:
            self._stalled += 1
        if self._stalled >= self._config.patience:
            self._restarts, self._stalled = self._restarts + 1, 0
            self._current = self._starts[self._restarts % len(self._starts)] if self._starts else self._current

    def state(self) -> dict[str, Any]:
        """Counts, and the id of the current program."""
        current = None if self._current is None else self._current.program.id
        return {"told": self._told, "current": current, "stalled": self._stalled, "restarts": self._restarts}

    def _loss(self, candidate: Candidate) -> float:
        value = loss(candidate, self._primary)
        assert value is not None
        return value
