"""The interface of every search strategy: pure, no I/O, all randomness from the given generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from evolve.ledger import Notes
from evolve.program import Candidate
from problems.problem import Problem


@dataclass(frozen=True)
class Proposal:
    """What to try next. The first parent is the one that is edited."""

    operator: str  # a name in evolve/operators.py
    parents: tuple[Candidate, ...]
    inspirations: tuple[Candidate, ...] = ()
    model: str = ""  # which model to ask; empty: the proposer draws one
    # The run sets the rest:
    number: int = -1  # of the attempt it became
    notes: Notes = field(default_factory=Notes)  # what the prompt tells besides programs


@dataclass(frozen=True)
class Wait:
    """Nothing to try before an attempt under way has been told; never an answer when none is."""


class Offer(NamedTuple):
    """What asking a model means to a strategy."""

    usd: float = 1.0  # reserved for one call, as good as known when the run began; > 0, only ratios count
    weight: float = 1.0  # how often the user wants it asked; 0: never unless it is the strong one or others are out


def cheapest(models: Mapping[str, Offer]) -> str:
    """The model in use whose calls reserve least (ties: the first); empty where there is no choice."""
    usd = {name: offer.usd for name, offer in models.items() if offer.weight > 0}
    return min(usd, key=lambda name: usd[name]) if len(usd) > 1 else ""


@dataclass(frozen=True)
class View:
    """What a strategy may look at when it is asked."""

    problem: Problem
    operators: tuple[str, ...]  # those the proposer can carry out
    baselines: tuple[Candidate, ...]
    front: Sequence[Candidate]
    pending: int = 0  # attempts that were asked for and not yet told
    models: Mapping[str, Offer] = field(default_factory=dict)  # by name; empty where no model is asked
    strong: str = ""  # the model for what is rare and hard; empty: whichever
    tuning: int = 0  # evaluations that each proposal of a tuned operator costs; 0: there is none to ask for


class Strategy(ABC):
    """Decides what to try next.

    ``ask`` must not change the strategy: all state comes from ``tell``, which hears of every
    candidate (baselines first) in the order the run settles on. A run is therefore restored by
    telling its journal again, and ``state`` is what two strategies told the same agree on.
    """

    # Whom a candidate races against, if it may be dropped before all of train was run: one that is
    # clearly worse than that must be of no use to the strategy.
    opponent: ClassVar[Literal["champion", "parent"] | None] = None
    # What a run has models offer it unless its user says; empty: the proposer's own choice.
    operators: ClassVar[tuple[str, ...]] = ()

    # Whether it asks for operators whose children are tuned; others are not shown any.
    tunes: ClassVar[bool] = False

    def __init__(self, problem: Problem) -> None:
        self._primary = problem.primary

    @abstractmethod
    def ask(self, view: View, rng: np.random.Generator) -> Proposal | Wait:
        """Choose an operator and parents, or wait.

        Raises
        ------
        LookupError
            If no program has an outcome that is Ok.
        """

    @abstractmethod
    def tell(self, candidate: Candidate) -> None:
        """Hear the outcome of one candidate."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """A JSON-serialisable summary: what two strategies told the same things agree on."""
