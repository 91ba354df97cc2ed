"""Diversity cells: the best program of every profile over groups of instances.

A program's score in each group is replaced by its rank among all programs seen, so that units and
outliers do not matter. Its cell is the pair of groups in which it ranks best and worst: what it is
good at, compared with itself, whatever its level. Cells cut over the ranks themselves would be layers
of quality, since groups agree on most programs.

References
----------
.. [1] Mouret and Clune (2015), "Illuminating search spaces by mapping elites", arXiv:1504.04909.
.. [2] Ecoffet, Huizinga, Lehman, Stanley and Clune (2021), "First return, then explore", Nature
   590:580-586 (parents from what was visited least).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluators.outcome import Ok
from evolve.program import Candidate
from problems.problem import Objective

Cell = tuple[str, str]  # the groups of instances in which a program ranks best and worst


@dataclass
class _Elite:
    loss: float
    losses: Mapping[str, float]  # by group
    candidate: Candidate
    visits: int = 0  # children told of it


class CellArchive:
    """One elite for each pair of groups, ranked anew whenever a program is seen.

    The archive holds at most k (k - 1) programs where there are k groups, and one where there is a single
    group or none. A program's rank in a group is the share of programs seen with a lower loss there, those
    with an equal one counted half; of equal ranks the earlier group is the best and the later one the
    worst. Ranks shift as programs are seen, so an elite may move to another cell: of two that meet, the one with
    the lower primary loss stays, on ties the one seen first; the other leaves for good. Only Ok
    outcomes with a finite objective enter; a group without a finite value does not count for its program.

    All of it follows from what was added, in its order: adding it again restores the archive.

    Parameters
    ----------
    objective : Objective
        That programs compete on; its direction counts.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._seen: dict[str, list[float]] = {}  # group -> sorted losses of all that were finite
        self._elites: dict[Cell, _Elite] = {}  # in the order in which they were seen

    def add(self, candidate: Candidate) -> bool:
        """Count a visit of its first parent's cell, and let the candidate compete; say whether it has a cell.

        Wants to hear of every child, failed ones too: they are visits as well.
        """
        self._visit(candidate)
        entrant = self._entrant(candidate)
        if entrant is None:
            return False
        for group, value in entrant.losses.items():
            bisect.insort(self._seen.setdefault(group, []), value)
        kept: dict[Cell, _Elite] = {}
        for elite in [*self._elites.values(), entrant]:
            cell = self._cell(elite.losses)
            if cell not in kept or elite.loss < kept[cell].loss:
                kept.pop(cell, None)  # so that the order stays that of being seen
                kept[cell] = elite
        self._elites = kept
        return any(elite is entrant for elite in kept.values())

    def __len__(self) -> int:
        return len(self._elites)

    @property
    def members(self) -> list[Candidate]:
        """The elites, best primary objective first; ties go to the one seen first."""
        return [elite.candidate for elite in sorted(self._elites.values(), key=lambda e: e.loss)]

    @property
    def cells(self) -> dict[Cell, Candidate]:
        """The groups in which an elite ranks best and worst -> the elite."""
        return {cell: elite.candidate for cell, elite in self._elites.items()}

    def least_visited(self, rng: np.random.Generator, entrants: int = 2) -> Candidate:
        """The elite with the fewest children, of some cells drawn with replacement; ties go to the better.

        Children under way are not known yet, hence the draw: else all that are asked for together
        would have the same parent. A new elite begins without visits, so a cell that improves is visited again.

        Raises
        ------
        LookupError
            If the archive is empty.
        """
        if not self._elites:
            raise LookupError("no cell is occupied: no program has an outcome that is Ok")
        elites = list(self._elites.values())
        drawn = [elites[int(k)] for k in rng.integers(len(elites), size=entrants)]
        return min(drawn, key=lambda e: (e.visits, e.loss)).candidate

    def state(self) -> list[list[Any]]:
        """Of each cell its two groups, its elite's id and visits, as JSON; in order of the groups."""
        return [[*cell, e.candidate.program.id, e.visits] for cell, e in sorted(self._elites.items())]

    def _visit(self, child: Candidate) -> None:
        for elite in self._elites.values():
            if child.program.parents and elite.candidate.program.id == child.program.parents[0]:
                elite.visits += 1

    def _entrant(self, candidate: Candidate) -> _Elite | None:
        if not isinstance(candidate.outcome, Ok):
            return None
        name, loss = self._objective.name, self._objective.loss
        overall = loss(candidate.objective(name))
        if not math.isfinite(overall):
            return None
        rows = candidate.outcome.groups.items()
        losses = {group: loss(row.get(name, math.nan)) for group, row in rows}
        return _Elite(overall, {g: x for g, x in losses.items() if math.isfinite(x)}, candidate)

    def _cell(self, losses: Mapping[str, float]) -> Cell:
        """Where a program is among all that were seen; its own losses are among them."""
        ranks = []
        for group, value in losses.items():
            seen = self._seen[group]
            left = bisect.bisect_left(seen, value)
            ranks.append((left + bisect.bisect_right(seen, value, left)) / len(seen))
        if len(ranks) < 2:
            return ("", "")
        groups = list(losses)
        last = len(ranks) - 1
        return groups[ranks.index(min(ranks))], groups[last - ranks[::-1].index(max(ranks))]
