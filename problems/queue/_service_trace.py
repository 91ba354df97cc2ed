"""What went on at a server, in words: how long the queue got, and who waited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.queue._jobs import Jobs

_SHOWN = 3


def explain(data: Jobs, solution: Any) -> str:
    """The queue's peak, what made up flow time by size, and who waited longest with size and prediction.

    Sizes are in multiples of the mean size of the instance. They are known here, after the end, and to no rule.
    """
    completion = np.zeros(len(data.size), np.int64)
    np.maximum.at(completion, solution.job, solution.end)
    flow = completion - data.arrival
    mean = float(data.size.mean())
    times = np.concatenate([data.arrival, completion])
    steps = np.concatenate([np.ones(len(flow)), -np.ones(len(flow))])
    by_time = np.lexsort((steps, times))
    present = np.cumsum(steps[by_time])
    peak = int(np.argmax(present))
    large = data.size > np.quantile(data.size, 0.9)
    misled = data.predicted < data.size / 2
    share = 100 * flow[large].sum() / flow.sum()
    resumed = len(solution.job) - len(flow)
    parts = [
        f"mean flow time {flow.mean() / mean:.3g} mean sizes; queue peak {int(present[peak])} jobs at "
        f"{int(times[by_time][peak])}; the largest tenth of jobs has {share:.0f} % of all flow time; jobs predicted at "
        f"less than half their size, {100 * misled.mean():.0f} % of all, have "
        f"{100 * flow[misled].sum() / flow.sum():.0f} % of it; {resumed} resumptions"
    ]
    waits = flow - data.size
    for r in np.argsort(-waits, kind="stable")[:_SHOWN]:
        parts.append(
            f"a job of size {data.size[r] / mean:.2g} predicted {data.predicted[r] / mean:.2g} waited "
            f"{waits[r] / mean:.3g}"
        )
    return "; ".join(parts) + "."


def narrate(data: Jobs, solution: Any) -> Sequence[str]:
    """Services in order of time."""
    return [
        f"serves job {j + 1} (predicted {data.predicted[j]}, arrived {data.arrival[j]}) from {start} to {end}"
        for j, start, end in zip(*(part.tolist() for part in solution), strict=True)
    ]
