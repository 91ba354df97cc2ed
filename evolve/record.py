"""A run that is replayed: in which order things happened, and what its machine measured.

Everything else is computed again. Decision times and time limits depend on the machine, so a
replay takes them from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluators.evaluator import Evaluator
from evaluators.outcome import Anticipative, NonDeterministic, Ok, Outcome, OutOfMemory, Rejected, TimedOut
from evaluators.racing import Race
from evolve.errors import UserError
from evolve.operators import REPAIR
from evolve.program import Candidate, Program
from evolve.store import Ask, Store
from problems.problem import Objective

_SPLITS = ("train", "valid")
# Failures that another machine may not repeat: limits, and audits that compare two evaluations.
_OF_THE_MACHINE = (TimedOut, OutOfMemory, NonDeterministic, Anticipative)


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
        # attempts that the run made by itself, the strategy unasked
        known = (asks[number] for number in self.order if number in asks)
        self.repairs: dict[int, Ask] = {ask.program: ask for ask in known if ask.operator == REPAIR}
        self._train = outcomes["train"]
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

    def corrected(self, candidate: Candidate, objectives: Sequence[Objective]) -> Candidate:
        """A candidate with what was measured when it was told.

        Of equal programs under way together another text may be evaluated than was at the time.
        """
        recorded = self._train.get(candidate.program.id)
        if recorded is None:
            return candidate
        return Candidate(candidate.program, measured(candidate.outcome, recorded, objectives))


def recorded(kind: type[Evaluator]) -> type[RecordedEvaluator]:
    """An evaluator of some kind that takes from a record what depends on the machine."""
    return type(f"Recorded{kind.__name__}", (RecordedEvaluator, kind), {})


class RecordedEvaluator(Evaluator):
    """Evaluates anew, and takes from a record what its machine measured."""

    record: Record

    async def evaluate(self, source: str, split: str, *, probe: bool = True, race: Race | None = None) -> Outcome:
        """Like Evaluator.evaluate; a limit or an audit that a program failed then it fails again."""
        recorded = self.record.outcome(source, split)
        if isinstance(recorded, _OF_THE_MACHINE):
            return recorded
        outcome = await super().evaluate(source, split, probe=probe, race=race)
        return outcome if recorded is None else measured(outcome, recorded, self.problem.objectives)


def measured(now: Outcome, recorded: Outcome, objectives: Sequence[Objective]) -> Outcome:
    """An outcome with the decision times, or the limit it ran into, of the machine that was recorded."""
    if isinstance(recorded, _OF_THE_MACHINE):
        return recorded
    if not isinstance(now, Ok) or not isinstance(recorded, Ok):
        return now
    names = [o.name for o in objectives if o.kind == "decision_time"]
    groups = {g: _taken(row, recorded.groups.get(g, {}), names) for g, row in now.groups.items()}
    return dataclasses.replace(
        now,
        objectives=_taken(now.objectives, recorded.objectives, names),
        groups=groups,
        values=_taken(now.values, recorded.values, names),
    )


def _taken(now: Mapping[str, Any], recorded: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {key: recorded[key] if key in names and key in recorded else value for key, value in now.items()}
