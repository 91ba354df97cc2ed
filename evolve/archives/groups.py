"""The champion of each group of instances: programs that lead somewhere, if not on the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evaluators.outcome import Ok
from evolve.program import Candidate
from problems.problem import Objective


def group_champions(candidates: Sequence[Candidate], objective: Objective) -> list[Candidate]:
    """The candidates that are best on an objective in at least one group of instances.

    Parameters
    ----------
    candidates
        Best first; ties in a group go to the earlier one. Only Ok outcomes with a finite value in
        a group compete in it.
    objective
        Of the problem; its direction counts.

    Returns
    -------
    list of Candidate
        In the order given, each once.
    """
    best: dict[str, tuple[float, int]] = {}
    for rank, candidate in enumerate(candidates):
        if not isinstance(candidate.outcome, Ok):
            continue
        for group, row in candidate.outcome.groups.items():
            value = objective.loss(row.get(objective.name, math.nan))
            if math.isfinite(value) and value < best.get(group, (math.inf, 0))[0]:
                best[group] = (value, rank)
    return [candidates[rank] for rank in sorted({rank for _, rank in best.values()})]
