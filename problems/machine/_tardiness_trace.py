"""What went on in an order of jobs on one machine, in words: who was late, and behind whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.machine._jobs import Jobs

_SHOWN = 3


def explain(data: Jobs, solution: Any) -> str:
    """The most tardy jobs, each with the longest job before it that is due later, and how many jobs are late.

    Jobs and positions count from 1.
    """
    order = solution.order
    duration, due = data.duration[order], data.due[order]
    completion = np.cumsum(duration)
    tardiness = np.maximum(completion - due, 0)
    parts = [
        f"total tardiness {int(tardiness.sum())}, {int((tardiness > 0).sum())} of {len(order)} jobs late, the first at "
        f"position {int(np.argmax(tardiness > 0)) + 1}"
        if tardiness.any()
        else "no job is late"
    ]
    for p in np.argsort(-tardiness, kind="stable")[:_SHOWN]:
        if tardiness[p] == 0:
            break
        later = np.flatnonzero(due[:p] > due[p])
        behind = ""
        if later.size:
            q = int(later[np.argmax(duration[later])])
            behind = f", behind {later.size} jobs due later (longest: {duration[q]}, due {due[q]})"
        parts.append(
            f"job {order[p] + 1} (duration {duration[p]}, due {due[p]}) ran at position {p + 1} and was "
            f"{tardiness[p]} late{behind}"
        )
    return "; ".join(parts) + "."


def narrate(data: Jobs, solution: Any) -> Sequence[str]:
    """Jobs in the order in which they run."""
    completion = np.cumsum(data.duration[solution.order])
    return [
        f"takes job {j + 1} (duration {data.duration[j]}, due {data.due[j]}) at time {end - data.duration[j]}"
        for j, end in zip(solution.order.tolist(), completion.tolist(), strict=True)
    ]
