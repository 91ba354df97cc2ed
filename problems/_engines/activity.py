"""Activity engine: a precedence network whose activities occupy units of renewable resources.

Covers machine shops (one unit each), resource-constrained projects (several units, several
resources) and task graphs. Activities are not preempted. Two decoders turn priorities into a
schedule; a problem's own loop composes them from the verbs below and asks its hook in between.

Event decoder (parallel generation scheme), with or without delays::

    state = begin(network)
    while startable(network, state) > 0:  # or conflict_set(network, state, delay)
        chosen = ...  # the problem's choice among state.candidate[: state.tally[CANDIDATES]]
        schedule(network, state, chosen)

List decoder (serial generation scheme, places activities into gaps)::

    state, timeline = begin(network), open_timeline(network)  # of activity_timeline
    while eligible(network, state) > 0:
        chosen = ...
        insert(network, state, timeline, chosen)

Times are float64, exact for integers below 2**53. Every verb is linear in the eligible
activities and allocates nothing; only ``begin`` and ``open_timeline`` do.

References
----------
.. [1] Giffler and Thompson (1960), "Algorithms for solving production-scheduling problems",
   Operations Research 8(4):487-503.
.. [2] Storer, Wu and Vaccari (1992), "New search spaces for sequencing problems with application
   to job shop scheduling", Management Science 38(10):1495-1509 (the delay between [1] and non-delay).
.. [3] Kolisch (1996), "Serial and parallel resource-constrained project scheduling methods
   revisited", European Journal of Operational Research 90(2):320-333.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._engines.activity_network import Network
from problems._engines.activity_timeline import Timeline, gap, reserve
from problems._jit import inlined, kernel

ELIGIBLE, CANDIDATES, SCHEDULED = 0, 1, 2  # positions in State.tally


class State(NamedTuple):
    """A partial schedule. An activity is eligible when all its predecessors are scheduled."""

    start: np.ndarray  # (A,) float64, of scheduled activities; -1 for the others
    ready: np.ndarray  # (A,) float64, release and predecessors allow it from then on
    earliest: np.ndarray  # (A,) float64, earliest start of the present candidates (event decoder)
    waits_for: np.ndarray  # (A,) int64, predecessors that are not scheduled
    eligible: np.ndarray  # (A,) int64, the first tally[ELIGIBLE] are eligible, in no order
    position: np.ndarray  # (A,) int64, where an eligible activity stands in that list
    bound: np.ndarray  # (A,) float64, bound[i] <= earliest start of eligible[i] (event decoder)
    completion: np.ndarray  # (A,) float64, bound[i] + duration of eligible[i] (event decoder)
    candidate: np.ndarray  # (A,) int64, the first tally[CANDIDATES] compete, in no order
    unit_free: np.ndarray  # (U,) float64, when each unit falls free, ascending per resource (event decoder)
    tally: np.ndarray  # (3,) int64, how many are eligible, candidates, scheduled
    now: np.ndarray  # (1,) float64, time of the decision, never decreasing


@kernel
def begin(network: Network) -> State:
    """Schedule nothing yet."""
    activities = len(network.duration)
    state = State(
        start=np.full(activities, -1.0),
        ready=network.release.copy(),
        earliest=np.zeros(activities),
        waits_for=network.predecessors.copy(),
        eligible=np.empty(activities, np.int64),
        position=np.empty(activities, np.int64),
        bound=np.empty(activities),
        completion=np.empty(activities),
        candidate=np.empty(activities, np.int64),
        unit_free=np.zeros(network.unit_from[-1]),
        tally=np.zeros(3, np.int64),
        now=np.zeros(1),
    )
    for a in range(activities):
        if state.waits_for[a] == 0:
            _admit(network, state, a)
    return state


@inlined
def startable(network: Network, state: State) -> int:
    """Non-delay: all that can start first compete, on whatever resource; now is that time.

    Fills candidate and earliest; returns how many compete (0: done).
    """
    # Starts only move later. So the values of earlier calls are lower bounds, and it is enough to
    # bring those up to date that seem to be the first, until some prove to be.
    count = 0
    while count == 0 and state.tally[ELIGIBLE] > 0:
        first, stale = np.inf, 0
        for i in range(state.tally[ELIGIBLE]):
            bound = state.bound[i]
            if bound < first:
                first, stale = bound, 0
            if bound == first:
                state.candidate[stale] = i
                stale += 1
        for k in range(stale):
            i = state.candidate[k]
            a = state.eligible[i]
            _refresh(network, state, i)
            if state.bound[i] == first:
                state.earliest[a] = first
                state.candidate[count] = a
                count += 1
        state.now[0] = first
    state.tally[CANDIDATES] = count
    return count


@inlined
def conflict_set(network: Network, state: State, delay: float) -> int:
    """Let those compete that want the resources on which something can complete first.

    Take the activity that can complete first (ties: lowest index), at time c. Those that share a
    resource with it compete if they can start before c, and no later than s + delay * (c - s),
    where s is the earliest start among them. Delay 1 is Giffler and Thompson's rule: every active
    schedule of a shop can be generated; delay near 0 builds non-delay schedules. now is the
    earliest start of any eligible activity. Fills candidate and earliest; returns how many compete.
    """
    quickest, completes = _first_to_complete(network, state)
    count, first = 0, np.inf
    for i in range(state.tally[ELIGIBLE]):
        # The quickest competes even if it has no length and no demands.
        if state.bound[i] < completes or state.completion[i] == completes:
            a = state.eligible[i]
            if a == quickest or _share_resource(network, a, quickest):
                _refresh(network, state, i)
                if a == quickest or state.bound[i] < completes:
                    state.earliest[a] = state.bound[i]
                    state.candidate[count] = a
                    count += 1
                    first = min(first, state.bound[i])
    kept = 0
    for i in range(count):
        a = state.candidate[i]
        if state.earliest[a] <= first + delay * (completes - first):
            state.candidate[kept] = a
            kept += 1
    state.tally[CANDIDATES] = kept
    return kept


@inlined
def _first_to_complete(network: Network, state: State) -> tuple[int, float]:
    """The activity that can complete first (ties: lowest index), and when; now is the earliest start of any.

    As in startable, only those are brought up to date that seem to be the first, and the candidates of
    the last decision, most of which have changed.
    """
    for k in range(state.tally[CANDIDATES]):
        a = state.candidate[k]
        if state.start[a] < 0.0:
            _refresh(network, state, state.position[a])
    quickest, completes, starts = -1, np.inf, False
    while state.tally[ELIGIBLE] > 0 and not (quickest >= 0 and starts):
        completes, now = np.inf, np.inf
        for i in range(state.tally[ELIGIBLE]):
            if state.completion[i] < completes:
                completes = state.completion[i]
            if state.bound[i] < now:
                now = state.bound[i]
        quickest, starts = -1, False
        for i in range(state.tally[ELIGIBLE]):
            if state.completion[i] == completes or state.bound[i] == now:
                _refresh(network, state, i)
                a = state.eligible[i]
                if state.completion[i] == completes and (quickest < 0 or a < quickest):
                    quickest = a
                starts = starts or state.bound[i] == now
        state.now[0] = now
    return quickest, completes


@inlined
def schedule(network: Network, state: State, activity: int) -> None:
    """Start a candidate at its earliest start, on the units that fell free last."""
    start = state.earliest[activity]
    finish = start + network.duration[activity]
    for d in range(network.demand_from[activity], network.demand_from[activity + 1]):
        resource, amount = network.resource[d], network.amount[d]
        end = network.unit_from[resource + 1]
        # Units stand in the order they fall free: shift those that are free between start and finish.
        u = network.unit_from[resource] + amount
        while u < end and state.unit_free[u] <= start:
            u += 1
        while u < end and state.unit_free[u] <= finish:
            state.unit_free[u - amount] = state.unit_free[u]
            u += 1
        for taken in range(u - amount, u):
            state.unit_free[taken] = finish
    _commit(network, state, activity, start)


@inlined
def eligible(network: Network, state: State) -> int:
    """List decoder: all eligible activities compete; now is the earliest time that one is ready."""
    count = state.tally[ELIGIBLE]
    now = np.inf
    for i in range(count):
        a = state.eligible[i]
        state.candidate[i] = a
        now = min(now, state.ready[a])
    state.now[0] = now
    state.tally[CANDIDATES] = count
    return count


@kernel
def insert(network: Network, state: State, timeline: Timeline, activity: int) -> None:
    """Start an eligible activity as early as all its resources allow, in gaps too."""
    start, duration = state.ready[activity], network.duration[activity]
    first, end = network.demand_from[activity], network.demand_from[activity + 1]
    d, agreed = first, 0
    while agreed < end - first:  # until all demands agree on a start
        later = gap(network, timeline, d, start, duration)
        agreed = agreed + 1 if later == start else 1
        start = later
        d = d + 1 if d + 1 < end else first
    for d in range(first, end):
        reserve(timeline, network.resource[d], network.amount[d], start, start + duration)
    _commit(network, state, activity, start)


@inlined
def _earliest_start(network: Network, state: State, activity: int) -> float:
    earliest = state.ready[activity]
    for d in range(network.demand_from[activity], network.demand_from[activity + 1]):
        # Units stand in the order they fall free, so the last of the first `amount` decides.
        free = state.unit_free[network.unit_from[network.resource[d]] + network.amount[d] - 1]
        earliest = max(earliest, free)
    return earliest


@inlined
def _refresh(network: Network, state: State, i: int) -> None:
    """Bring up to date what is known of eligible[i]."""
    a = state.eligible[i]
    state.bound[i] = _earliest_start(network, state, a)
    state.completion[i] = state.bound[i] + network.duration[a]


@inlined
def _share_resource(network: Network, a: int, b: int) -> bool:
    for i in range(network.demand_from[a], network.demand_from[a + 1]):
        for j in range(network.demand_from[b], network.demand_from[b + 1]):
            if network.resource[i] == network.resource[j]:
                return True
    return False


@inlined
def _admit(network: Network, state: State, activity: int) -> None:
    count = state.tally[ELIGIBLE]
    state.eligible[count] = activity
    state.position[activity] = count
    state.bound[count] = state.ready[activity]
    state.completion[count] = state.ready[activity] + network.duration[activity]
    state.tally[ELIGIBLE] = count + 1


@inlined
def _commit(network: Network, state: State, activity: int, start: float) -> None:
    """Fix a start; release the successors."""
    state.start[activity] = start
    state.tally[SCHEDULED] += 1
    last = state.tally[ELIGIBLE] - 1
    moved, hole = state.eligible[last], state.position[activity]
    state.eligible[hole], state.position[moved] = moved, hole
    state.bound[hole], state.completion[hole] = state.bound[last], state.completion[last]
    state.tally[ELIGIBLE] = last
    finish = start + network.duration[activity]
    for s in range(network.successor_from[activity], network.successor_from[activity + 1]):
        after = network.successor[s]
        state.ready[after] = max(state.ready[after], finish)
        state.waits_for[after] -= 1
        if state.waits_for[after] == 0:
            _admit(network, state, after)
