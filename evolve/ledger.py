"""The ledger of ideas: what was tried in a run, in one line each, with what came of it.

An entry is a child's thought and its result relative to its parent on train. A prompt that asks for
something new shows what was tried, one that asks for a better program a few insights: the ideas that
gained and lost most. Both are bounded, and follow from what the strategy had been told when it was
asked, so that a replay shows the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evaluators.outcome import Dropped, Failure, Ok
from evolve.program import Candidate
from problems.problem import Objective

Result = Literal["better", "worse", "even", "dropped", "failed"]

_THOUGHT = 160  # characters of one
_REASON = 80
# How many a prompt shows at most: of each result when something new is asked for, and as insights.
_TRIED: dict[Result, int] = {"better": 6, "worse": 4, "dropped": 2, "even": 2, "failed": 2}
_INSIGHTS: dict[Result, int] = {"better": 3, "worse": 2}


@dataclass(frozen=True)
class Notes:
    """What a prompt tells of the run besides programs; lines of Markdown without bullets."""

    tried: tuple[str, ...] = ()  # ideas of all results, the best first
    insights: tuple[str, ...] = ()  # the few that gained and lost most
    trace: str = ""  # what the first parent did on instances that show its weakness
    groups: tuple[str, ...] = ()  # of each training instance, where instances are named


class Entry(NamedTuple):
    """One idea that was tried."""

    position: int  # the strategy had been told of so many programs before
    thought: str
    result: Result
    gain: float  # of the primary objective over the parent, > 0 where it is better; NaN without one
    words: str  # the result in words


class Ledger:
    """Ideas in the order in which their programs were told.

    Parameters
    ----------
    objective : Objective
        The one that results are stated in; differences within its resolution are none.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._entries: list[Entry] = []

    def add(self, position: int, candidate: Candidate, parent: Candidate | None) -> None:
        """Enter a child that was told at a position; one without a thought or a parent that is Ok says nothing."""
        thought = _shortened(candidate.program.thought, _THOUGHT)
        if not thought or parent is None or not isinstance(parent.outcome, Ok):
            return
        gain = math.nan
        if isinstance(candidate.outcome, Ok):
            now, before = (self._objective.loss(c.objective(self._objective.name)) for c in (candidate, parent))
            gain = before - now
        result, words = self._result(candidate.outcome, gain, parent.objective(self._objective.name))
        self._entries.append(Entry(position, thought, result, gain, words))

    def _result(self, outcome: Ok | Failure, gain: float, before: float) -> tuple[Result, str]:
        objective = self._objective
        if isinstance(outcome, Dropped):
            return "dropped", "clearly worse, dropped before all instances were run"
        if isinstance(outcome, Failure):
            return "failed", f"{outcome.kind.replace('_', ' ')}: {_shortened(outcome.reason, _REASON)}"
        least = objective.resolution * (abs(before) if objective.relative else 1.0)
        if not math.isfinite(gain) or abs(gain) <= least:
            return "even", "no difference"
        result: Result = "better" if gain > 0 else "worse"
        unit = "points" if objective.unit == "%" else objective.unit  # a difference of percentages is none itself
        return result, f"{result} by {abs(gain):.3g} {unit}"

    def tried(self, told: int) -> tuple[str, ...]:
        """Ideas of every result among the first so many told, each idea once, as lines."""
        return self._lines(told, _TRIED)

    def insights(self, told: int) -> tuple[str, ...]:
        """The ideas that gained and lost most."""
        return self._lines(told, _INSIGHTS)

    def _lines(self, told: int, wanted: dict[Result, int]) -> tuple[str, ...]:
        known = [entry for entry in self._entries if entry.position < told]
        lines: list[str] = []
        seen: set[str] = set()
        for result, count in wanted.items():
            left = count
            for entry in _ranked(entry for entry in known if entry.result == result):
                idea = re.sub(r"\W+", " ", entry.thought).strip().casefold()
                if left > 0 and idea not in seen:
                    seen.add(idea)
                    stop = "" if entry.thought.endswith((".", "!", "?", "…")) else "."
                    lines.append(f"{entry.thought}{stop} Result: {entry.words}.")
                    left -= 1
        return tuple(lines)


def _ranked(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Largest difference first; where there is none, the latest."""
    return sorted(entries, key=lambda e: (-abs(e.gain) if math.isfinite(e.gain) else 0.0, -e.position))


def _shortened(text: str, limit: int) -> str:
    """One line of at most so many characters, without marks that a prompt could take for its own."""
    line = " ".join(text.replace("`", "").split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
