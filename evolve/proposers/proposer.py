"""The interface of every proposer: it turns a proposal into source text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from evolve.strategies.strategy import Proposal


class EditRefused(Exception):
    """The answer is no program: nothing to edit, a no-op, a non-matching or a protected edit."""


@dataclass(frozen=True)
class Draft:
    """A child's source text, and the idea in words where there is one."""

    source: str
    thought: str = ""


class Proposer(ABC):
    """Carries out proposals; ``operators`` are those it knows."""

    origin: str
    operators: tuple[str, ...]

    @abstractmethod
    async def propose(self, proposal: Proposal, rng: np.random.Generator) -> Draft:
        """Write the child of the proposal's parents.

        Raises
        ------
        EditRefused
            If no new program came out; the loop records it as Rejected at stage edit.
        """
