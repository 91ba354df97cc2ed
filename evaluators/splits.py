"""The instances of a split: made by the problem or read from the user's file, all of them or a share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from problems.problem import Instance, Problem

# What guides and selects may be thinned out; what is reported never is.
SEARCHED = ("train", "valid")


def load(problem: Problem, split: str, sets: Mapping[str, str | Path], share: float) -> Sequence[Instance]:
    """The instances of a split.

    Parameters
    ----------
    problem, split
        A split of the problem, or one of the sets.
    sets
        Split -> file or folder that takes its place.
    share : float
        Of train and valid: so much of each group is kept.

    Raises
    ------
    BadInstance
        If a file breaks the problem's format.
    """
    found = problem.read(Path(sets[split])) if split in sets else problem.splits[split]()
    return thinned(found, share) if split in SEARCHED else found


def thinned(instances: Sequence[Instance], share: float) -> Sequence[Instance]:
    """Of each group a share, at even distances and at least one; in the order given."""
    if share >= 1.0:
        return instances
    places: dict[str, list[int]] = {}
    for place, instance in enumerate(instances):
        places.setdefault(instance.group, []).append(place)
    kept: set[int] = set()
    for group in places.values():
        count = math.ceil(share * len(group))
        kept.update(group[k * len(group) // count] for k in range(count))
    return [instance for place, instance in enumerate(instances) if place in kept]
