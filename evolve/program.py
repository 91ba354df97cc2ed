"""Programs: source text that defines a problem's hooks, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

from evaluators.outcome import Ok, Outcome


@dataclass(frozen=True)
class Program:
    """Source text of a candidate, with its origin. ``id`` counts from 0 within a run."""

    id: int
    source: str
    origin: str  # baseline, genetic, llm, import
    operator: str = ""  # what made it: mutate, crossover, rewrite, diff; a baseline's name
    parents: tuple[int, ...] = ()
    thought: str = ""  # the idea in words, where the proposer gave one
    model: str = ""  # that was asked for it; empty where none was


@dataclass(frozen=True)
class Candidate:
    """A program and the outcome of its evaluation on train."""

    program: Program
    outcome: Outcome

    def objective(self, name: str) -> float:
        """Value of one objective on train; only for candidates whose outcome is Ok."""
        assert isinstance(self.outcome, Ok)
        return self.outcome.objectives[name]
