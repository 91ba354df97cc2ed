"""Job-shop instances, and what a dispatching rule sees of them.

Every quantity of an operation is kept up to date in constant time per decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np

from problems._engines import activity, noise
from problems._engines.activity import State
from problems._engines.activity_network import Network, make_network
from problems._jit import inlined, kernel


class JobShop(NamedTuple):
    """One instance. Operation k of job j is activity a = j * m + k of the network."""

    machine: np.ndarray  # (n, m) int64, machine[j, k] runs the k-th operation of job j
    duration: np.ndarray  # (n, m) int64, its processing time, > 0
    network: Network  # the same for the engine: n * m activities, m resources of one unit
    work_done: np.ndarray  # (n * m,) float64, work of the job before activity a
    work_left: np.ndarray  # (n * m,) float64, work of the job from activity a on, a included
    operations_left: np.ndarray  # (n * m,) float64, likewise
    machine_work: np.ndarray  # (m,) float64, total work per machine
    mean_duration: np.ndarray  # (1,) float64
    seed: np.ndarray  # (1,) uint64, of the noise; a digest of machine and duration


def make_instance(
    machine: Sequence[Sequence[int]] | np.ndarray, duration: Sequence[Sequence[int]] | np.ndarray
) -> JobShop:
    """Check and freeze an instance: two (n, m) tables of integers, as in JobShop.

    Raises
    ------
    ValueError
        If a processing time is not positive, or a job does not visit every machine once.
    """
    machines, durations = np.array(machine, dtype=np.int64), np.array(duration, dtype=np.int64)
    if machines.ndim != 2 or machines.size == 0 or machines.shape != durations.shape:
        raise ValueError(f"machine and duration must be two (n, m) tables, got {machines.shape} and {durations.shape}")
    n, m = machines.shape
    # Zero is refused too: rules divide by the work left.
    for j, k in np.argwhere(durations <= 0)[:1]:
        raise ValueError(f"duration must be positive, got {durations[j, k]} at job {j}, operation {k}")
    if (total := durations.astype(np.float64).sum()) >= 2.0**53:
        raise ValueError(f"durations must sum to less than 2**53, got {total:g}")
    for j in np.flatnonzero((np.sort(machines, axis=1) != np.arange(m)).any(axis=1))[:1]:
        raise ValueError(
            f"a job must visit each of the machines 0..{m - 1} once, got {machines[j].tolist()} at job {j}"
        )
    done = np.cumsum(durations, axis=1) - durations
    data = JobShop(
        machine=machines,
        duration=durations,
        network=make_network(
            durations.ravel(),
            demands=[[(resource, 1)] for resource in machines.ravel().tolist()],
            capacity=[1] * m,
            successors=[[a + 1] if (a + 1) % m else [] for a in range(n * m)],
        ),
        work_done=done.ravel().astype(np.float64),
        work_left=(durations.sum(axis=1, keepdims=True) - done).ravel().astype(np.float64),
        operations_left=np.tile(np.arange(m, 0, -1.0), n),
        machine_work=np.bincount(machines.ravel(), durations.ravel(), m),
        mean_duration=np.array([durations.mean()]),
        seed=np.frombuffer(hashlib.sha256(machines.tobytes() + durations.tobytes()).digest()[:8], np.uint64).copy(),
    )
    for array in data:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return data


class Operation(NamedTuple):
    """One operation that a rule ranks. "Next" is its job's next operation: 0 where there is none."""

    duration: Annotated[float, "time", "processing time, > 0"]
    work_done: Annotated[float, "time", "work of its job before this operation"]
    work_left: Annotated[float, "time", "work of its job from this operation on, itself included, > 0"]
    tail: Annotated[float, "time", "work of its job after this operation"]
    operations_left: Annotated[float, "count", "operations of its job from this one on, >= 1"]
    waiting: Annotated[float, "time", "how long it has been ready (< 0: still to arrive, never so in non-delay)"]
    machine_work_left: Annotated[float, "time", "unscheduled work on its machine, itself included"]
    machine_queue: Annotated[float, "time", "work that waits for its machine now, itself included"]
    next_duration: Annotated[float, "time", "processing time of the next operation"]
    next_machine_queue: Annotated[float, "time", "work that waits for the next machine now"]
    next_machine_free_in: Annotated[float, "time", "until the next machine has done what is scheduled on it"]
    next_machine_work_left: Annotated[float, "time", "unscheduled work on the next machine, next operation included"]
    noise: Annotated[float, "1", "uniform in [0, 1), drawn afresh for each operation and decision"]


class Shop(NamedTuple):
    """The shop as a whole, at the time of a decision."""

    now: Annotated[float, "time", "earliest time at which an operation can start"]
    mean_duration: Annotated[float, "time", "mean processing time of all operations, > 0"]
    jobs: Annotated[float, "count", "number of jobs"]
    machines: Annotated[float, "count", "number of machines"]
    scheduled_share: Annotated[float, "1", "share of all operations scheduled so far, in [0, 1)"]


class Floor(NamedTuple):
    """What hooks see and the engine does not keep."""

    queue: np.ndarray  # (m,) float64, work that waits for the machine now
    work_left: np.ndarray  # (m,) float64, unscheduled work of the machine
    free_at: np.ndarray  # (m,) float64, when the machine has done what is scheduled on it
    arrived: np.ndarray  # (n * m,) bool, the operation is or was in the queue
    coming: np.ndarray  # (n + 1,) int64, the first comings[0] are next operations that have not arrived
    comings: np.ndarray  # (1,) int64


@kernel
def open_floor(data: JobShop) -> Floor:
    """Nothing scheduled, all jobs on their way to their first machine."""
    jobs, machines = data.machine.shape
    return Floor(
        queue=np.zeros(machines),
        work_left=data.machine_work.copy(),
        free_at=np.zeros(machines),
        arrived=np.zeros(jobs * machines, np.bool_),
        # An operation that is scheduled before it arrives stays listed until the next decision.
        coming=np.arange(jobs + 1) * machines,
        comings=np.array([jobs]),
    )


@inlined
def arrive(data: JobShop, state: State, floor: Floor) -> None:
    """Queue the operations that have become ready by now."""
    i = 0
    while i < floor.comings[0]:
        a = floor.coming[i]
        scheduled = state.start[a] >= 0.0
        if not scheduled and state.ready[a] > state.now[0]:
            i += 1
            continue
        if not scheduled:
            floor.arrived[a] = True
            floor.queue[data.network.resource[a]] += data.network.duration[a]
        floor.comings[0] -= 1
        floor.coming[i] = floor.coming[floor.comings[0]]


@inlined
def leave(data: JobShop, state: State, floor: Floor, a: int) -> None:
    """Take a scheduled operation out of queue and work left; its successor is on its way."""
    machine, duration = data.network.resource[a], data.network.duration[a]
    if floor.arrived[a]:
        floor.queue[machine] -= duration
    floor.work_left[machine] -= duration
    floor.free_at[machine] = max(floor.free_at[machine], state.start[a] + duration)
    if data.operations_left[a] > 1.0:
        floor.coming[floor.comings[0]] = a + 1
        floor.comings[0] += 1


@inlined
def describe_shop(data: JobShop, state: State) -> Shop:
    """All that hooks see of the whole."""
    jobs, machines = data.machine.shape
    return Shop(
        now=state.now[0],
        mean_duration=data.mean_duration[0],
        jobs=float(jobs),
        machines=float(machines),
        scheduled_share=state.tally[activity.SCHEDULED] / data.machine.size,
    )


@inlined
def describe(data: JobShop, state: State, floor: Floor, seed: np.uint64, a: int) -> Operation:
    """All that hooks see of operation a."""
    machine, duration, now = data.network.resource[a], data.network.duration[a], state.now[0]
    next_duration, next_queue, next_free_in, next_work_left = 0.0, 0.0, 0.0, 0.0
    if data.operations_left[a] > 1.0:
        next_machine = data.network.resource[a + 1]
        next_duration = data.network.duration[a + 1]
        next_queue = floor.queue[next_machine]
        next_free_in = max(0.0, floor.free_at[next_machine] - now)
        next_work_left = floor.work_left[next_machine]
    return Operation(
        duration=duration,
        work_done=data.work_done[a],
        work_left=data.work_left[a],
        tail=data.work_left[a] - duration,
        operations_left=data.operations_left[a],
        waiting=now - state.ready[a],
        machine_work_left=floor.work_left[machine],
        machine_queue=floor.queue[machine] + (0.0 if floor.arrived[a] else duration),
        next_duration=next_duration,
        next_machine_queue=next_queue,
        next_machine_free_in=next_free_in,
        next_machine_work_left=next_work_left,
        noise=noise.uniform(seed, state.tally[activity.SCHEDULED], a),
    )
