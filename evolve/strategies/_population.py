"""A ranked population that strategies share: who gets in, who is drawn."""

from __future__ import annotations

import ast
import bisect
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from evaluators.outcome import Ok
from evolve.program import Candidate
from problems.problem import Objective

T = TypeVar("T")


class _Member(NamedTuple):
    """Orders by objective, then size (parsimony), then age."""

    loss: float
    size: int
    id: int
    candidate: Candidate


class Population:
    """The best candidates on one objective, best first, at most one for each behaviour.

    Ties go to the smaller program, then to the older one. Of programs with equal decisions on the
    probe instances only the best-ranked stays, so variants of one rule cannot fill it. The best
    candidate is never lost. Only Ok outcomes with a finite objective enter.
    """

    def __init__(self, objective: Objective, capacity: int) -> None:
        self._objective = objective
        self._capacity = capacity
        self._members: list[_Member] = []
        self._by_behaviour: dict[str, _Member] = {}

    def add(self, candidate: Candidate) -> bool:
        """Let a candidate compete for a place; say whether it got one."""
        value = loss(candidate, self._objective)
        if value is None:
            return False
        member = _Member(value, size(candidate.program.source), candidate.program.id, candidate)
        behaviour = behaviour_of(candidate)
        twin = self._by_behaviour.get(behaviour)
        if twin is not None:
            if twin[:3] <= member[:3]:
                return False
            self._members.remove(twin)
        bisect.insort(self._members, member, key=lambda m: m[:3])
        self._by_behaviour[behaviour] = member
        for worst in self._members[self._capacity :]:
            del self._by_behaviour[behaviour_of(worst.candidate)]
        del self._members[self._capacity :]
        return behaviour in self._by_behaviour

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, rank: int) -> Candidate:
        return self._members[rank].candidate

    @property
    def members(self) -> list[Candidate]:
        """All, best first."""
        return [member.candidate for member in self._members]

    @property
    def ids(self) -> list[int]:
        """Their programs' ids, best first."""
        return [member.id for member in self._members]

    def require(self) -> None:
        """Refuse to go on without a member.

        Raises
        ------
        LookupError
            If the population is empty.
        """
        if not self._members:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")

    def tournament(self, rng: np.random.Generator, entrants: int) -> Candidate:
        """The best of some members drawn with replacement."""
        # Members are in order, so the best of k random ones is the one with the lowest rank.
        return self[int(rng.integers(len(self), size=entrants).min())]

    def by_rank(self, rng: np.random.Generator) -> Candidate:
        """A member drawn with probability proportional to 1 / (rank + size), as in EoH."""
        weights = 1.0 / (np.arange(1, len(self) + 1) + len(self))
        return self[int(rng.choice(len(self), p=weights / weights.sum()))]

    def other_than(self, first: Candidate, second: Candidate) -> Candidate:
        """The second if it differs from the first, else the next in rank."""
        if second.program.id != first.program.id:
            return second
        ids = self.ids
        return self[(ids.index(second.program.id) + 1) % len(ids)]

    def inspirations(self, shown: Sequence[Candidate], count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The best that is not shown, and some more at random."""
        known = {candidate.program.id for candidate in shown}
        others = [candidate for candidate in self.members if candidate.program.id not in known]
        wanted = min(count, len(others))
        if wanted == 0:
            return ()
        drawn = rng.permutation(len(others) - 1)[: wanted - 1] + 1
        return (others[0], *(others[int(k)] for k in drawn))


def loss(candidate: Candidate, objective: Objective) -> float | None:
    """The objective turned so that lower is better; None where there is no finite one."""
    if not isinstance(candidate.outcome, Ok):
        return None
    value = objective.loss(candidate.objective(objective.name))
    return value if math.isfinite(value) else None


def behaviour_of(candidate: Candidate) -> str:
    """The decision fingerprint; a problem without them has no equal behaviours."""
    outcome = candidate.outcome
    assert isinstance(outcome, Ok)
    return outcome.fingerprint or f"#{candidate.program.id}"


@lru_cache(maxsize=4096)
def size(source: str) -> int:
    """Nodes of the syntax tree: layout, comments and long names cost nothing."""
    return sum(1 for _ in ast.walk(ast.parse(source)))


@lru_cache(maxsize=4096)
def has_constants(source: str) -> bool:
    """Whether a program holds a float, which may be tuned."""
    return any(isinstance(node, ast.Constant) and type(node.value) is float for node in ast.walk(ast.parse(source)))


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def ranks(losses: Iterable[float]) -> np.ndarray:
    """(n,) ranks scaled to [0, 1], 0 the lowest loss; equal losses share the mean rank."""
    values = np.asarray(list(losses), dtype=np.float64)
    if len(values) < 2:
        return np.zeros(len(values))
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return (below + (equal - 1) / 2) / (len(values) - 1)
