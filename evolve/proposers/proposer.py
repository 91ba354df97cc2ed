"""The interface of every proposer: it turns a proposal into source text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from evolve.program import Candidate
from evolve.strategies.strategy import Offer, Proposal

# What one model call cost: model, reply (as it came), input_tokens, output_tokens, usd (None where no
# price is known) and seconds; empty where no model was called. The budget is settled already: this
# is for the journal.
Spend = dict[str, object]


class EditRefused(Exception):
    """The answer is no program: nothing to edit, a no-op, a non-matching or a protected edit.

    ``spend`` is what the answer cost all the same, ``model`` who gave it.
    """

    def __init__(self, reason: str, spend: Spend | None = None, model: str = "") -> None:
        super().__init__(reason)
        self.spend: Spend = spend or {}
        self.model = model


@dataclass(frozen=True)
class Draft:
    """A child's source text, the idea in words where there is one, what it cost and which model was asked."""

    source: str
    thought: str = ""
    spend: Spend = field(default_factory=dict)
    model: str = ""


class Proposer(ABC):
    """Carries out proposals; ``operators`` are those it knows."""

    origin: str
    operators: tuple[str, ...]
    # The evaluated baselines, which a run sets before the first proposal; prompts compare with them.
    baselines: Sequence[Candidate] = ()
    # Whether proposing costs nothing and waits for nothing: it can then be done again at any time.
    immediate = False
    # The models that a strategy may choose from, and which of them is for what is rare and hard.
    models: Mapping[str, Offer] = MappingProxyType({})
    strong = ""

    @property
    def notice(self) -> str:
        """What somebody who watches the run should know now, e.g. which models are out."""
        return ""

    @abstractmethod
    async def propose(self, proposal: Proposal, rng: np.random.Generator) -> Draft:
        """Write the child of the proposal's parents.

        Raises
        ------
        EditRefused
            If no new program came out; the loop records it as Rejected at stage edit.
        """

    async def prepare(self) -> None:
        """Do beforehand what takes seconds and costs nothing, e.g. imports."""
        return

    async def close(self) -> None:
        """Give back what it holds open."""
        return
