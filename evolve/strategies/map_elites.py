"""Islands with a grid of elites: MAP-Elites as OpenEvolve runs it, with its known faults mended.

Each island keeps the best program of every cell of a grid over two measures: size of the program
and distance of its code to the starting programs, cut into bins by rank among what was seen, so
that one outlier does not squeeze the rest into a single bin. Elites migrate along the ring.

References
----------
.. [1] Mouret and Clune (2015), "Illuminating search spaces by mapping elites", arXiv:1504.04909.
.. [2] OpenEvolve (github.com/algorithmicsuperintelligence/openevolve), defaults of version 0.3: 5
   islands, 10 bins, 70 % exploitation, 20 % exploration, migration every 50 generations.
"""

from __future__ import annotations

import bisect
import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import loss, pick, size
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem

Cell = tuple[int, int]


@dataclass(frozen=True)
class MapElitesConfig:
    """Settings."""

    islands: int = 5
    bins: int = 10  # of each measure
    exploit: float = 0.7  # share of parents that are an island's best programs
    elite: int = 10  # how many of them
    migration: int = 250  # candidates told between two migrations (50 on each of 5 islands)
    inspirations: int = 3


class MapElites(Strategy):
    """A grid of elites on each island; on ties the elite stays."""

    def __init__(self, problem: Problem, config: MapElitesConfig = MapElitesConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._grids: list[dict[Cell, Candidate]] = [{} for _ in range(config.islands)]
        self._starts: list[Candidate] = []
        self._seen: tuple[list[float], list[float]] = ([], [])  # sorted measures of all that are Ok
        self._home: dict[int, int] = {}
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Take the islands in turn; exploit its best programs or explore its cells."""
        living = [grid for grid in self._grids if grid]
        if not living:
            raise LookupError("no program to start from: no baseline has an outcome that is Ok")
        grid = living[(self._told + view.pending) % len(living)]
        ranked = sorted(grid.values(), key=self._order)
        exploits = rng.random() < self._config.exploit
        parent = pick(rng, ranked[: self._config.elite] if exploits else ranked)
        others = [candidate for candidate in ranked if candidate is not parent]
        operator = pick(rng, of_kinds(view.operators, "refine", "explore") + _combining(view, others))
        second = [pick(rng, others)] if others else []
        shown = tuple(others[int(k)] for k in rng.permutation(len(others))[: self._config.inspirations])
        parents = needed(operator, [parent, *second])
        return Proposal(operator, parents, () if len(parents) > 1 or operator == "mutate" else shown)

    def tell(self, candidate: Candidate) -> None:
        """Offer a candidate to its cell on the island of its first parent."""
        self._told += 1
        if loss(candidate, self._primary) is not None:
            if not candidate.program.parents:
                self._starts.append(candidate)
            measures = self._measures(candidate)
            for seen, measure in zip(self._seen, measures, strict=True):
                bisect.insort(seen, measure)
            for k in self._homes(candidate):
                self._offer(self._grids[k], candidate)
        if self._told % self._config.migration == 0:
            self._migrate()

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and the elites' ids by island."""
        return {"told": self._told, "islands": [sorted(c.program.id for c in grid.values()) for grid in self._grids]}

    def _order(self, candidate: Candidate) -> tuple[float, int]:
        value = loss(candidate, self._primary)
        assert value is not None
        return value, candidate.program.id

    def _homes(self, candidate: Candidate) -> list[int]:
        parents = candidate.program.parents
        if not parents:
            return list(range(len(self._grids)))
        home = self._home.get(parents[0], candidate.program.id % len(self._grids))
        self._home[candidate.program.id] = home
        return [home]

    def _measures(self, candidate: Candidate) -> tuple[float, float]:
        source = candidate.program.source
        nearest = min((_distance(source, start.program.source) for start in self._starts), default=0.0)
        return float(size(source)), nearest

    def _cell(self, candidate: Candidate) -> Cell:
        share = [
            bisect.bisect_left(seen, measure) / len(seen)
            for seen, measure in zip(self._seen, self._measures(candidate), strict=True)
        ]
        return int(share[0] * self._config.bins), int(share[1] * self._config.bins)

    def _offer(self, grid: dict[Cell, Candidate], candidate: Candidate) -> None:
        cell = self._cell(candidate)
        elite = grid.get(cell)
        if elite is None or self._order(candidate)[0] < self._order(elite)[0]:
            grid[cell] = candidate

    def _migrate(self) -> None:
        """Copy each island's best program to the next one."""
        best = [min(grid.values(), key=self._order) if grid else None for grid in self._grids]
        for k, candidate in enumerate(best):
            if candidate is not None:
                self._offer(self._grids[(k + 1) % len(self._grids)], candidate)


def _combining(view: View, others: list[Candidate]) -> list[str]:
    found = of_kinds(view.operators, "combine", parents=2) if others else []
    return [operator for operator in found if operator not in of_kinds(view.operators, "refine", "explore")]


@lru_cache(maxsize=65536)
def _distance(a: str, b: str) -> float:
    """Share of the words of two sources that differ, 0 to 1."""
    return 1.0 - difflib.SequenceMatcher(None, a.split(), b.split(), autojunk=False).ratio()
