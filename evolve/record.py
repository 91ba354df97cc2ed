"""A run that is replayed: in which order things happened, and what its machine measured.

Everything else is computed again. Decision times and time limits depend on the machine, so a
replay takes them from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluators.evaluator import Evaluator
from evaluators.outcome import Anticipative, NonDeterministic, Ok, Outcome, OutOfMemory, Rejected, TimedOut
from evolve.errors import UserError
from evolve.program import Program
from evolve.store import Store

_SPLITS = ("train", "valid")


class Record:
    """What a replay needs of the run it follows.

    Raises
    ------
    UserError
        If the run was made by a version that did not write down what it set out to do.
    """

    def __init__(self, folder: Path) -> None:
        with Store(folder) as store:
            programs = {program.id: program for program in store.programs()}
            asks = store.asks()
            told = store.tells()
            outcomes = {split: store.outcomes(split) for split in _SPLITS}
        self.order = [number for number in told if programs[number].origin != "baseline"]
        self.imports: dict[int, Program] = {}
        self._due: dict[int, list[int]] = {}
        for number in self.order:
            if programs[number].origin == "import":
                self.imports[number] = programs[number]
                self._due.setdefault(told.index(number), []).append(number)
            elif number in asks:
                self._due.setdefault(asks[number].told, []).append(number)
            else:
                raise UserError(f"{folder}: made by an older version, which did not record what a replay needs")
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        for split, found in outcomes.items():
            for number, outcome in found.items():
                if not isinstance(outcome, Rejected):
                    self._outcomes.setdefault((programs[number].source, split), outcome)

    def due(self, told: int) -> list[int]:
        """Attempts that were begun when so many programs had been told."""
        return self._due.get(told, [])

    def outcome(self, source: str, split: str) -> Outcome | None:
        """What a program's outcome on a split was."""
        return self._outcomes.get((source, split))


def recorded(kind: type[Evaluator]) -> type[RecordedEvaluator]:
    """An evaluator of some kind that takes from a record what depends on the machine."""
    return type(f"Recorded{kind.__name__}", (RecordedEvaluator, kind), {})


class RecordedEvaluator(Evaluator):
    """Evaluates anew, and takes from a record what its machine measured."""

    record: Record

    async def evaluate(self, source: str, split: str, *, probe: bool = True) -> Outcome:
        """Like Evaluator.evaluate; a limit or an audit that a program failed then it fails again."""
        recorded = self.record.outcome(source, split)
        if isinstance(recorded, TimedOut | OutOfMemory | NonDeterministic | Anticipative):
            return recorded
        outcome = await super().evaluate(source, split, probe=probe)
        if not isinstance(outcome, Ok) or not isinstance(recorded, Ok):
            return outcome
        measured = [o.name for o in self.problem.objectives if o.kind == "decision_time"]
        groups = {g: _taken(row, recorded.groups.get(g, {}), measured) for g, row in outcome.groups.items()}
        return dataclasses.replace(
            outcome,
            objectives=_taken(outcome.objectives, recorded.objectives, measured),
            groups=groups,
            values=_taken(outcome.values, recorded.values, measured),
        )


def _taken(now: Mapping[str, Any], recorded: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {key: recorded[key] if key in names and key in recorded else value for key, value in now.items()}
