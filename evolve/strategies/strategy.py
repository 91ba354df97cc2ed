"""The interface of every search strategy: pure, no I/O, all randomness from the given generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from evolve.program import Candidate
from problems.problem import Problem


@dataclass(frozen=True)
class Proposal:
    """What to try next. The first parent is the one that is edited."""

    operator: str  # mutate, crossover (genetic); rewrite, diff (llm)
    parents: tuple[Candidate, ...]
    inspirations: tuple[Candidate, ...] = ()
    number: int = -1  # of the attempt it became; the run sets it


@dataclass(frozen=True)
class View:
    """What a strategy may look at when it is asked."""

    problem: Problem
    operators: tuple[str, ...]  # those the proposer can carry out
    baselines: tuple[Candidate, ...]
    front: Sequence[Candidate]


class Strategy(ABC):
    """Decides what to try next.

    ``ask`` must not change the strategy: all state comes from ``tell``, which hears of every
    candidate (baselines first) in the order the run settles on. A run can therefore be resumed by
    telling its journal again.
    """

    # Whom a candidate races against: what is clearly worse than that is of no use to the strategy.
    opponent: ClassVar[Literal["champion", "parent"]] = "champion"

    def __init__(self, problem: Problem) -> None:
        self._primary = problem.primary

    @abstractmethod
    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Choose an operator and parents."""

    @abstractmethod
    def tell(self, candidate: Candidate) -> None:
        """Hear the outcome of one candidate."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """A JSON-serialisable summary: what two strategies told the same things agree on."""
