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

import ast
import bisect
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evaluators.outcome import Ok
from evolve.program import Candidate
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem

CROSSOVER = "crossover"


@dataclass(frozen=True)
class SteadyStateConfig:
    """Settings. On shop/job_shop a population of 150 or tournaments of 7 did not do better."""

    population: int = 60
    tournament: int = 4
    crossover: float = 0.3  # share of children with two parents, where the proposer knows crossover
    front: float = 0.1  # share of parents taken from the archive's front
    inspirations: int = 2  # other members shown with the parent, where operators rewrite whole programs


class _Member(NamedTuple):
    """Orders by primary objective, then size (parsimony), then age."""

    loss: float
    size: int
    id: int
    candidate: Candidate


class SteadyState(Strategy):
    """Tournament selection, replacement of the worst, one member per behaviour.

    Members are ranked by the primary objective; ties go to the smaller program, then to the older
    one. Of programs with equal decisions on the probe instances only the best-ranked stays, so
    variants of one rule cannot fill the population. The best program is never lost. Baselines are
    the first population.
    """

    def __init__(self, problem: Problem, config: SteadyStateConfig = SteadyStateConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._members: list[_Member] = []  # best first
        self._by_behaviour: dict[str, _Member] = {}
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw an operator, and as many parents as it needs.

        Crossover gets two different parents, other operators of whole programs get inspirations.

        Raises
        ------
        LookupError
            If no program has an outcome that is Ok.
        """
        if not self._members:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        others = [operator for operator in view.operators if operator != CROSSOVER]
        crossing = CROSSOVER in view.operators and len(self._members) > 1
        if crossing and (not others or rng.random() < self._config.crossover):
            first = self._parent(view, rng)
            return Proposal(CROSSOVER, (first, self._other_than(first, rng)))
        operator = others[int(rng.integers(len(others)))]
        parent = self._parent(view, rng)
        if operator == "mutate":
            return Proposal(operator, (parent,))
        return Proposal(operator, (parent,), self._inspirations(parent, rng))

    def tell(self, candidate: Candidate) -> None:
        """Let a candidate that is Ok compete for a place."""
        self._told += 1
        if not isinstance(candidate.outcome, Ok):
            return
        loss = self._primary.loss(candidate.objective(self._primary.name))
        if not math.isfinite(loss):
            return
        member = _Member(loss, _size(candidate), candidate.program.id, candidate)
        # A problem without fingerprints has no equal behaviours.
        behaviour = candidate.outcome.fingerprint or f"#{member.id}"
        twin = self._by_behaviour.get(behaviour)
        if twin is not None:
            if twin[:3] <= member[:3]:
                return
            self._members.remove(twin)
        bisect.insort(self._members, member, key=lambda m: m[:3])
        self._by_behaviour[behaviour] = member
        for worst in self._members[self._config.population :]:
            self._by_behaviour = {b: m for b, m in self._by_behaviour.items() if m is not worst}
        del self._members[self._config.population :]

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the population's ids, best first."""
        return {"told": self._told, "population": [member.id for member in self._members]}

    def _tournament(self, rng: np.random.Generator) -> Candidate:
        # Members are in order, so the best of k random ones is the one with the lowest rank.
        return self._members[int(rng.integers(len(self._members), size=self._config.tournament).min())].candidate

    def _parent(self, view: View, rng: np.random.Generator) -> Candidate:
        if view.front and rng.random() < self._config.front:
            return view.front[int(rng.integers(len(view.front)))]
        return self._tournament(rng)

    def _other_than(self, first: Candidate, rng: np.random.Generator) -> Candidate:
        """A tournament's winner, or the next in rank if that is the first parent."""
        second = self._tournament(rng)
        if second.program.id != first.program.id:
            return second
        ids = [member.id for member in self._members]
        return self._members[(ids.index(second.program.id) + 1) % len(ids)].candidate

    def _inspirations(self, parent: Candidate, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The best of the others, and some more at random."""
        others = [member.candidate for member in self._members if member.id != parent.program.id]
        wanted = min(self._config.inspirations, len(others))
        if wanted == 0:
            return ()
        drawn = rng.permutation(len(others) - 1)[: wanted - 1] + 1
        return (others[0], *(others[int(k)] for k in drawn))


def _size(candidate: Candidate) -> int:
    """Nodes of the syntax tree: layout, comments and long names cost nothing."""
    return sum(1 for _ in ast.walk(ast.parse(candidate.program.source)))
