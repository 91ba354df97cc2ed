"""The noise floor: how far two equal programs differ by the chance of which instances were drawn.

Measured before the search begins, on outcomes that it has anyway: the best published rule and the
next best one that decides otherwise, paired by instance. Programs that decide more alike differ by less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluators.outcome import Ok
from evolve.statistics import standard_error
from problems.problem import Instance, Problem


def noise_floor(problem: Problem, rules: Mapping[str, Ok], instances: Sequence[Instance]) -> dict[str, Any] | None:
    """The standard error of the difference between the two best rules that decide otherwise.

    Parameters
    ----------
    problem : Problem
        Its primary objective is compared.
    rules : mapping of str to Ok
        Outcomes by name on the same instances; ties go to the earlier one.
    instances : sequence of Instance
        Of that split.

    Returns
    -------
    dict, optional
        ``rules`` (the two names), ``error`` (in the objective's unit) and ``instances`` (their number); None
        where no two rules differ on at least two instances.
    """
    primary = problem.primary
    ranked = sorted(rules, key=lambda name: primary.loss(rules[name].objectives[primary.name]))
    for name in ranked[1:]:
        error = standard_error(problem, primary, rules[ranked[0]], rules[name], instances)
        if math.isfinite(error) and error > 0:
            return {"rules": [ranked[0], name], "error": error, "instances": len(instances)}
    return None


def in_words(problem: Problem, floors: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on the floors by split; empty where there are none."""
    if not floors:
        return ""
    unit = "points" if problem.primary.unit == "%" else problem.primary.unit
    parts = [
        f"{floor['error']:.2g} {unit} on {split} ({' and '.join(floor['rules'])}, {floor['instances']} instances)"
        for split, floor in floors.items()
    ]
    return (
        "Noise: by the chance of which instances were drawn, equal programs that decide as differently as the two best "
        f"rules differ with a standard error of {', '.join(parts)}, and with less where they decide more alike. A "
        "difference below twice its standard error proves nothing."
    )
