"""What went on in a job-shop schedule, in words: idle machines, the bottleneck, what ended last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.shop._floor import JobShop


def explain(data: JobShop, solution: Any) -> str:
    """Idle shares, the machine that ends last, and the chain of operations that makes the makespan.

    Machines and jobs count from 1. The chain is one critical path, traced back from the last completion: each
    operation starts when its job or its machine was released by the one before (ties: its machine).
    """
    start, finish = solution.start, solution.start + data.duration
    makespan = int(finish.max())
    work = data.machine_work.astype(np.int64)
    ends = np.zeros(len(work), np.int64)
    begins = np.full(len(work), makespan)
    np.maximum.at(ends, data.machine.ravel(), finish.ravel())
    np.minimum.at(begins, data.machine.ravel(), start.ravel())
    busiest = int(np.argmax(work))
    chain = _critical(data, start, finish)
    waited = [int(start[j, k] - (finish[j, k - 1] if k else 0)) for j, k in chain]
    by_machine = sum(1 for (j, k), (g, _) in zip(chain[1:], chain, strict=False) if j != g)
    last = int(np.argmax(finish[:, -1]))
    job_waits = int(start[last, 0]) + int((start[last, 1:] - finish[last, :-1]).sum())
    longest = max(range(len(chain)), key=lambda i: waited[i])
    j, k = chain[longest]
    path = f"{len(chain)} operations and changes job {by_machine} times"
    idle = 1.0 - work.sum() / (makespan * len(work))
    return (
        f"makespan {makespan}; machines idle {100 * idle:.0f} % of it on average. The busiest, machine {busiest + 1}, "
        f"has {work[busiest]} of work, starts at {begins[busiest]} and ends at {ends[busiest]}, idle "
        f"{ends[busiest] - begins[busiest] - work[busiest]} in between. Job {last + 1} ends last: work "
        f"{int(data.duration[last].sum())}, waited {job_waits}. The critical path has {path}; its longest "
        f"wait is {waited[longest]}, of operation {k + 1} of job {j + 1} for machine {data.machine[j, k] + 1}."
    )


def narrate(data: JobShop, solution: Any) -> Sequence[str]:
    """Starts in order of time, ties in order of jobs."""
    jobs, steps = np.indices(solution.start.shape)
    order = np.lexsort((jobs.ravel(), solution.start.ravel()))
    found = []
    for a in order:
        j, k = int(jobs.flat[a]), int(steps.flat[a])
        found.append(
            f"starts operation {k + 1} of job {j + 1} on machine {data.machine[j, k] + 1} at {solution.start[j, k]} "
            f"(duration {data.duration[j, k]}, work left in the job {int(data.duration[j, k:].sum())})"
        )
    return found


def _critical(data: JobShop, start: np.ndarray, finish: np.ndarray) -> list[tuple[int, int]]:
    """Operations (job, step) of one critical path, in order of time."""
    ends_at: dict[tuple[int, int], tuple[int, int]] = {}
    for j, k in np.ndindex(start.shape):
        ends_at[int(data.machine[j, k]), int(finish[j, k])] = (j, k)
    j = int(np.argmax(finish[:, -1]))
    chain = [(j, start.shape[1] - 1)]
    while start[chain[-1]] > 0:
        j, k = chain[-1]
        before = ends_at.get((int(data.machine[j, k]), int(start[j, k])))
        if before is None:
            # a schedule with a gap that nothing explains ends the path
            if k == 0 or finish[j, k - 1] != start[j, k]:
                break
            before = (j, k - 1)
        chain.append(before)
    return chain[::-1]
