"""The activity engine's input: activities, precedence and renewable resources, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """Activities, precedence and resources; a CSR pair ``x_from, x`` lists x of i in x[x_from[i]:x_from[i + 1]]."""

    duration: np.ndarray  # (A,) float64, >= 0
    release: np.ndarray  # (A,) float64, no start before it
    demand_from: np.ndarray  # (A + 1,) int64
    resource: np.ndarray  # (D,) int64, what the demand is for
    amount: np.ndarray  # (D,) int64, units held from start to finish
    unit_from: np.ndarray  # (R + 1,) int64, units unit_from[r]:unit_from[r + 1] belong to resource r
    predecessors: np.ndarray  # (A,) int64, how many
    successor_from: np.ndarray  # (A + 1,) int64
    successor: np.ndarray  # (S,) int64


def make_network(
    duration: Sequence[float] | np.ndarray,
    demands: Sequence[Sequence[tuple[int, int]]],
    capacity: Sequence[int],
    successors: Sequence[Sequence[int]],
    release: Sequence[float] | np.ndarray | None = None,
) -> Network:
    """Check and freeze a network.

    Parameters
    ----------
    duration, release : (A,) times, finite and >= 0; release defaults to 0.
    demands : per activity, pairs (resource, units > 0), each resource at most once; none if its length is zero.
    capacity : (R,) units of each resource.
    successors : per activity, the activities that wait for it.

    Raises
    ------
    ValueError
        If there is no activity, a number breaks these rules, a demand exceeds its capacity, or
        precedence has a cycle.
    """
    times = np.array(duration, dtype=np.float64)
    releases = np.zeros(len(times)) if release is None else np.array(release, dtype=np.float64)
    for name, values in (("duration", times), ("release", releases)):
        for a in np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[:1]:
            raise ValueError(f"{name} must be finite and >= 0, got {values[a]} at activity {a}")
    if not len(times) == len(releases) == len(demands) == len(successors):
        raise ValueError(
            f"one of each per activity, got {len(times)} durations, {len(releases)} releases, "
            f"{len(demands)} lists of demands, {len(successors)} of successors"
        )
    if len(times) == 0:
        raise ValueError("a network must have activities, got none")
    for a, wants in enumerate(demands):
        _check_demands(a, wants, capacity)
        if wants and times[a] == 0:
            raise ValueError(f"an activity of length zero can hold no units, got {list(wants)} at activity {a}")
    predecessors = _count_predecessors(successors)
    pairs = [pair for wants in demands for pair in wants]
    network = Network(
        duration=times,
        release=releases,
        demand_from=_offsets([len(wants) for wants in demands]),
        resource=np.array([r for r, _ in pairs], dtype=np.int64),
        amount=np.array([units for _, units in pairs], dtype=np.int64),
        unit_from=_offsets(capacity),
        predecessors=predecessors,
        successor_from=_offsets([len(after) for after in successors]),
        successor=np.array([b for after in successors for b in after], dtype=np.int64),
    )
    for array in network:
        array.setflags(write=False)
    return network


def _check_demands(activity: int, wants: Sequence[tuple[int, int]], capacity: Sequence[int]) -> None:
    for resource, units in wants:
        if not 0 <= resource < len(capacity):
            raise ValueError(f"resource must be in 0..{len(capacity) - 1}, got {resource} at activity {activity}")
        if not 0 < units <= capacity[resource]:
            raise ValueError(
                f"demand must be in 1..{capacity[resource]} (the capacity of resource {resource}), "
                f"got {units} at activity {activity}"
            )
    if len({resource for resource, _ in wants}) < len(wants):
        raise ValueError(f"activity {activity} demands a resource twice: {list(wants)}")


def _count_predecessors(successors: Sequence[Sequence[int]]) -> np.ndarray:
    """Count them, and refuse a cycle: repeatedly strike out what waits for nothing (Kahn)."""
    count = [0] * len(successors)
    for a, after in enumerate(successors):
        for b in after:
            if not 0 <= b < len(successors):
                raise ValueError(f"successor must be in 0..{len(successors) - 1}, got {b} at activity {a}")
            count[b] += 1
    left = count.copy()
    open_ = [a for a, waits in enumerate(left) if waits == 0]
    for a in open_:
        for b in successors[a]:
            left[b] -= 1
            if left[b] == 0:
                open_.append(b)
    if len(open_) < len(successors):
        raise ValueError(f"precedence has a cycle through activity {next(a for a, waits in enumerate(left) if waits)}")
    return np.array(count, dtype=np.int64)


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.array(lengths, dtype=np.int64)))).astype(np.int64)
