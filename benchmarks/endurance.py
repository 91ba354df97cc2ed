"""What ten thousand evaluations in a row leave behind: memory, zombies, descriptors, time.

Usage: ``python benchmarks/endurance.py [--evaluations 10000] [--workers N]``.
Honest programs, all distinct, and in fixed turns ones that crash, answer NaN, do not compile, ask for
20 GB or never end. Prints the state of the trusted process and of the zygote at 100, 1,000 and 10,000
evaluations, and exits 1 if memory has grown by more than 50 MB since the first, if a process or zombie is left, or a
descriptor more is open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from evaluators.evaluator import Evaluator
from evaluators.sandbox.limits import Limits

_PROBLEM = "shop/job_shop"
_INSTANCE = "3 3\n0 3 1 2 2 2\n0 2 2 1 1 4\n1 4 2 3 0 1\n"
_MILESTONES = (100, 1_000, 10_000)
_GROWTH_BYTES = 50 * 10**6
_LIMITS = Limits(timeout_s=1.0)
# Every so many evaluations, this body of a rule instead of an honest one.
_TURNS = {
    500: "x = 1.0\n    while x > 0.0:\n        x = x + 1.0\n    return x",
    50: "return np.zeros(20 * 10**9 // 8)[0]",
    20: "return op.duration, 1.0",
    10: "return np.zeros(3)[int(op.duration) + 3]",
    5: "return (op.duration - op.duration) / 0.0",
}


class State(NamedTuple):
    """What a process holds."""

    memory_bytes: int  # resident
    descriptors: int
    children: int
    zombies: int


def state(process: int) -> State:
    """Of a process that this user may look into."""
    folder = Path(f"/proc/{process}")
    pages = int((folder / "statm").read_text().split()[1])
    children = (folder / "task" / str(process) / "children").read_text().split()
    return State(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list((folder / "fd").iterdir())),
        len(children),
        sum(_is_zombie(child) for child in children),
    )


def _is_zombie(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False


def program(number: int) -> str:
    """The source of one evaluation."""
    body = next(
        (body for turn, body in _TURNS.items() if number % turn == turn - 1), f"return op.duration * {number}.5"
    )
    return f"import numpy as np\n\ndef priority(op, shop):\n    {body}\n"


async def endure(evaluator: Evaluator, evaluations: int, workers: int) -> list[str]:
    """Evaluate, print at milestones, and return what has leaked since the first of them."""
    ends: Counter[str] = Counter()
    first: dict[str, State] = {}
    leaks: list[str] = []
    begun = time.perf_counter()
    print("evaluations  ms each  process        MB  descriptors  children  zombies")
    done = 0
    for milestone in sorted({m for m in _MILESTONES if m < evaluations} | {evaluations}):
        numbers = iter(range(done, milestone))

        async def keep_busy(numbers: object = numbers) -> None:
            for number in numbers:  # shared: each takes the next
                ends[(await evaluator.evaluate(program(number), "own")).kind] += 1

        await asyncio.gather(*(keep_busy() for _ in range(workers)))
        each_ms = (time.perf_counter() - begun) / (milestone - done) * 1e3
        assert evaluator.zygote_pid is not None
        for name, process in (("trusted", os.getpid()), ("zygote", evaluator.zygote_pid)):
            now = state(process)
            print(
                f"{milestone:>11,} {each_ms:>8.1f}  {name:<8} {now.memory_bytes / 1e6:>8.1f} {now.descriptors:>12} "
                f"{now.children:>9} {now.zombies:>8}"
            )
            leaks += _leaks(f"{name} at {milestone:,}", first.setdefault(name, now), now)
        done, begun = milestone, time.perf_counter()
    print("outcomes:", ", ".join(f"{count:,} {kind}" for kind, count in ends.most_common()))
    return leaks


def _leaks(where: str, first: State, now: State) -> list[str]:
    found = []
    if now.memory_bytes > first.memory_bytes + _GROWTH_BYTES:
        found.append(f"{where}: memory grew by {(now.memory_bytes - first.memory_bytes) / 1e6:.1f} MB")
    if now.descriptors > first.descriptors:
        found.append(f"{where}: {now.descriptors - first.descriptors} descriptors more")
    if now.children > first.children or now.zombies:
        found.append(f"{where}: {now.children - first.children} processes more, {now.zombies} zombies")
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        instance = Path(folder) / "own.txt"
        instance.write_text(_INSTANCE)
        evaluator = Evaluator(_PROBLEM, workers=given.workers, limits=_LIMITS, sets={"own": instance})
        async with evaluator:
            leaks = await endure(evaluator, given.evaluations, given.workers)
    print("\n".join(leaks) or "nothing leaks")
    raise SystemExit(1 if leaks else 0)


if __name__ == "__main__":
    asyncio.run(main())
