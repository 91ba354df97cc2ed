"""The epsilon-Pareto archive: the programs worth keeping under several objectives.

Every objective declares a resolution below which differences do not count. The resolutions cut
objective space into boxes; the archive keeps the boxes that no other occupied box dominates, and
one program in each, so its size is bounded however long a run is.

References
----------
.. [1] Laumanns, Thiele, Deb and Zitzler (2002), "Combining convergence and diversity in
   evolutionary multiobjective optimization", Evolutionary Computation 10(3):263-282.
.. [2] Das (1999), "On characterizing the 'knee' of the Pareto curve based on normal-boundary
   intersection", Structural Optimization 18:107-115.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evaluators.outcome import Ok
from evolve.program import Candidate
from problems.problem import Objective

Box = tuple[tuple[int, float], ...]  # per objective (sign, index); compared as tuples, lower is better


class _Member(NamedTuple):
    point: tuple[float, ...]  # objectives, each turned so that lower is better
    box: Box
    candidate: Candidate


class ParetoArchive:
    """Programs whose box no other program's box dominates, one per box.

    Within a box the better primary objective wins, then the better second one, and so on; on
    ties the elite stays. Every member is therefore Pareto-optimal among all programs ever added,
    and every program ever added is matched or beaten by a member up to one resolution in each
    objective. Which objective vectors are kept does not depend on the order of additions; which
    of several programs with equal vectors is kept does (the first).

    Parameters
    ----------
    objectives
        The first is the primary one. A resolution of 0 tells all different values apart.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        if not objectives:
            raise ValueError("an archive needs at least one objective, got none")
        self.objectives = tuple(objectives)
        self._front: list[_Member] = []  # sorted by point, hence by primary objective

    def add(self, candidate: Candidate) -> bool:
        """Keep candidate if its box is not dominated and it wins its box; say whether it was kept.

        Only an Ok outcome whose objectives are all finite can enter.
        """
        found = self._place(candidate)
        if found is None:
            return False
        kept = [m for m in self._front if m.box != found.box and not _dominates(found.box, m.box)]
        self._front = sorted([*kept, found], key=lambda m: m.point)
        return True

    def would_keep(self, candidate: Candidate) -> bool:
        """Whether ``add`` would keep the candidate."""
        return self._place(candidate) is not None

    def _place(self, candidate: Candidate) -> _Member | None:
        """The candidate as a member, if it would be one."""
        if not isinstance(candidate.outcome, Ok):
            return None
        values = [candidate.objective(o.name) for o in self.objectives]
        if not all(math.isfinite(value) for value in values):
            return None
        point = tuple(o.loss(value) for o, value in zip(self.objectives, values, strict=True))
        box = tuple(_box(o, x) for o, x in zip(self.objectives, point, strict=True))
        for member in self._front:
            if member.box == box:
                if member.point <= point:
                    return None
            elif _dominates(member.box, box):
                return None
        return _Member(point, box, candidate)

    @property
    def members(self) -> list[Candidate]:
        """The archive, best primary objective first."""
        return [member.candidate for member in self._front]

    def __len__(self) -> int:
        return len(self._front)

    def extremes(self) -> dict[str, Candidate]:
        """Objective -> the best member on it; ties go to the better primary objective."""
        if not self._front:
            return {}
        best = np.argmin([m.point for m in self._front], axis=0)  # the first of equals
        return {o.name: self._front[k].candidate for o, k in zip(self.objectives, best, strict=True)}

    def knee(self) -> Candidate | None:
        """The member furthest beyond the straight line between the extremes; None if empty.

        Objectives are scaled to [0, 1] over the members; with more than two the line is the
        hyperplane through the unit points. Ties go to the better primary objective, so a front
        without a bulge yields its primary extreme.
        """
        if not self._front:
            return None
        points = np.array([m.point for m in self._front])
        low, span = points.min(axis=0), np.ptp(points, axis=0)
        scaled = (points - low) / np.where(span > 0, span, 1.0)
        # Distances to sum(x) = 1 are in the order of the sums; rounding must not break a tie.
        return self._front[int(np.argmin(np.round(scaled.sum(axis=1), 12)))].candidate

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Volume between the members' boxes and a reference point, in the product of all units.

        Each member counts from the worst corner of its box (without a resolution: from its own
        point), so the volume is at most one resolution short of the members' own. It never falls:
        a box only leaves for one that dominates it, whereas a member may leave for a neighbour
        that is a little worse on some objective.

        Parameters
        ----------
        reference
            Objective -> value; boxes that are not better on every objective count nothing.
        """
        import moocore

        if not self._front:
            return 0.0
        limit = [o.loss(reference[o.name]) for o in self.objectives]
        corners = [[_corner(o, b) for o, b in zip(self.objectives, m.box, strict=True)] for m in self._front]
        return float(moocore.hypervolume(np.array(corners), ref=np.array(limit)))


def _box(objective: Objective, x: float) -> tuple[int, float]:
    """Sign and index of the box of a minimised value: intervals of equal width or equal ratio."""
    if objective.resolution <= 0:
        return (0, x)
    if not objective.relative:
        return (0, math.floor(x / objective.resolution))
    if x == 0:
        return (0, 0)
    sign = 1 if x > 0 else -1
    return (sign, math.floor(sign * math.log(abs(x)) / math.log1p(objective.resolution)))


def _corner(objective: Objective, box: tuple[int, float]) -> float:
    """The worst minimised value of a box (its supremum)."""
    sign, index = box
    if objective.resolution <= 0:
        return index
    if not objective.relative:
        return (index + 1) * objective.resolution
    return sign * math.exp(sign * (index + 1) * math.log1p(objective.resolution))


def _dominates(a: Box, b: Box) -> bool:
    return a != b and all(p <= q for p, q in zip(a, b, strict=True))
