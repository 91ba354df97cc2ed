"""Units of each resource in use over time, for decoders that place activities into gaps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._engines.activity_network import Network
from problems._jit import inlined, kernel


class Timeline(NamedTuple):
    """Units in use over time, a step function per resource (list decoder); after its last step nothing is in use."""

    first: np.ndarray  # (R,) int64, steps of r are first[r]:first[r] + steps[r]
    steps: np.ndarray  # (R,) int64
    time: np.ndarray  # float64, where a step begins
    used: np.ndarray  # int64, units in use from there to the next step


@kernel
def open_timeline(network: Network) -> Timeline:
    """Nothing in use, and room for two steps per demand."""
    resources, room = len(network.unit_from) - 1, len(network.unit_from) - 1 + 2 * len(network.resource)
    timeline = Timeline(
        first=np.zeros(resources, np.int64),
        steps=np.ones(resources, np.int64),
        time=np.zeros(room),
        used=np.zeros(room, np.int64),
    )
    for resource in network.resource:
        timeline.first[resource] += 2
    before = 0
    for resource in range(resources):
        before, timeline.first[resource] = before + timeline.first[resource] + 1, before
    return timeline


@inlined
def gap(network: Network, timeline: Timeline, demand: int, earliest: float, duration: float) -> float:
    """Earliest start, not before earliest, of a gap of that length for one demand."""
    resource = network.resource[demand]
    spare = network.unit_from[resource + 1] - network.unit_from[resource] - network.amount[demand]
    last = timeline.first[resource] + timeline.steps[resource] - 1
    step, start = _step_at(timeline, resource, earliest), earliest
    while timeline.used[step] > spare or (step < last and timeline.time[step + 1] < start + duration):
        if timeline.used[step] > spare:
            start = timeline.time[step + 1]
        step += 1
    return start


@inlined
def reserve(timeline: Timeline, resource: int, amount: int, start: float, finish: float) -> None:
    """Take units from start to finish; the caller has found the gap."""
    begin_step = _split(timeline, resource, start)
    end_step = _split(timeline, resource, finish)
    for step in range(begin_step, end_step):
        timeline.used[step] += amount


@inlined
def _split(timeline: Timeline, resource: int, time: float) -> int:
    """Let a step begin at time; return which."""
    step = _step_at(timeline, resource, time)
    if timeline.time[step] == time:
        return step
    last = timeline.first[resource] + timeline.steps[resource]
    for i in range(last, step, -1):
        timeline.time[i], timeline.used[i] = timeline.time[i - 1], timeline.used[i - 1]
    timeline.time[step + 1] = time
    timeline.steps[resource] += 1
    return step + 1


@inlined
def _step_at(timeline: Timeline, resource: int, time: float) -> int:
    # From the end: most placements are late.
    step = timeline.first[resource] + timeline.steps[resource] - 1
    while timeline.time[step] > time:
        step -= 1
    return step
