"""Job-shop instances by split, each drawn when first asked for.

References
----------
.. [1] Taillard (1993), "Benchmarks for basic scheduling problems", European Journal of
   Operational Research 64(2):278-285.
.. [2] Demirkol, Mehta and Uzsoy (1998), "Benchmarks for shop scheduling problems", European
   Journal of Operational Research 109(1):137-141.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from problems.problem import BadInstance, Instance, Reference
from problems.shop._bounds import one_machine_bound
from problems.shop._floor import JobShop, make_instance
from problems.shop._jsplib import read_text
from problems.shop._taillard import TAILLARD, Routing, generate, seeds


def lower_bounds(data: JobShop) -> dict[str, float]:
    """Best preemptive one-machine bound; it covers every job's work and every machine's load."""
    by_machine = np.argsort(data.machine.ravel(), kind="stable").reshape(len(data.machine_work), -1)
    duration = data.network.duration
    tail = data.work_left - duration
    return {"makespan": max(one_machine_bound(data.work_done[a], duration[a], tail[a]) for a in by_machine)}


def _instance(name: str, routing: Routing) -> Instance:
    """Refer to the lower bound, for want of a best known makespan."""
    n, m = routing.machine.shape
    data = make_instance(*routing)
    bound = Reference(lower_bounds(data)["makespan"], "lower bound")
    return Instance(name, f"{n}x{m}", data, {"makespan": bound})


def _generated(
    split: str, count: int, sizes: Sequence[tuple[int, int]], *, longest: int = 99, sets: int = 1
) -> Iterator[Instance]:
    """Draw count instances of each size (jobs, machines), each from the digest of its own name."""
    for n, m in sizes:
        for i in range(count):
            name = f"{split}-{n}x{m}-{i}"
            yield _instance(name, generate(n, m, *seeds(name), longest=longest, sets=sets))


@cache
def train() -> Sequence[Instance]:
    """Eight sizes in Taillard's distribution, fewer of the large ones: what they cost grows faster than they differ."""
    counts = {60: ((15, 15), (20, 15), (20, 20)), 48: ((30, 15), (30, 20)), 24: ((50, 15), (50, 20)), 12: ((100, 20),)}
    return tuple(instance for count, sizes in counts.items() for instance in _generated("train", count, sizes))


@cache
def valid() -> Sequence[Instance]:
    """Eight sizes, partly others than in train, fifty each."""
    sizes = ((15, 15), (20, 15), (25, 20), (30, 15), (30, 20), (40, 15), (60, 20), (100, 20))
    return tuple(_generated("valid", 50, sizes))


@cache
def test() -> Sequence[Instance]:
    """Taillard's 80 instances [1]_, against the best known makespans."""
    return tuple(
        Instance(
            p.name,
            f"{p.jobs}x{p.machines}",
            make_instance(*p.routing()),
            {"makespan": Reference(p.best_known, "optimum" if p.best_known == p.lower_bound else "best known")},
        )
        for p in TAILLARD
    )


@cache
def shift_large() -> Sequence[Instance]:
    """More jobs than in any other split, or as many on fewer machines."""
    return tuple(_generated("shift-large", 4, ((100, 10), (100, 20), (150, 20), (200, 20))))


@cache
def shift_two_set() -> Sequence[Instance]:
    """Two machine sets and times up to 200, in the manner of [2]_."""
    sizes = ((20, 15), (20, 20), (30, 15), (30, 20), (40, 15), (40, 20), (50, 15), (50, 20))
    return tuple(_generated("shift-two-set", 5, sizes, longest=200, sets=2))


@cache
def probes() -> Sequence[Instance]:
    """Instances small enough to run in microseconds, wide enough to tell rules apart."""
    return tuple(_generated("probe", 1, ((6, 4), (8, 5), (10, 5), (8, 8), (12, 6), (15, 8))))


def read(path: Path) -> Sequence[Instance]:
    """Instances of a file or folder in the standard or in Taillard's text format; see _jsplib.

    Raises
    ------
    BadInstance
        Naming file, line and rule.
    """
    found = []
    for text in read_text(path):
        try:
            routing = Routing(np.array(text.machine, dtype=np.int64), np.array(text.duration, dtype=np.int64))
            found.append(_instance(text.name, routing))
        except ValueError as error:
            raise BadInstance(f"{path}: {text.name}: {error}") from error
    return found


SPLITS: Mapping[str, Callable[[], Sequence[Instance]]] = {
    "train": train,
    "valid": valid,
    "test": test,
    "shift-large": shift_large,
    "shift-two-set": shift_two_set,
}
