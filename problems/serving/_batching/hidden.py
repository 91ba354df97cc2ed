"""What a rule of serving/continuous_batching must not know: output lengths to come, and future arrivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import HORIZON, MAX_OUTPUT, TIMES, Serving
from problems.serving._server.replay import replay
from problems.serving._server.requests import Requests, make_requests


def permute(data: Serving, solution: Timeline, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time.

    Among the requests that have arrived and not finished: the output still to come. Of the others, which is
    which, and the gaps between their arrivals.
    """
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(data.requests.arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, data.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    seen = replay(data._replace(time_s=cut), np.ascontiguousarray(solution.log), False)
    columns = {name: np.array(column) for name, column in data.requests._asdict().items()}
    output = columns["output_tokens"]
    running = np.flatnonzero((np.arange(len(output)) < seen.arrived) & (seen.generated < output))
    left = rng.permutation(output[running] - seen.generated[running])
    output[running] = np.minimum(seen.generated[running] + left, data.limit[MAX_OUTPUT])
    order = np.arange(len(output))
    order[seen.arrived :] = rng.permutation(order[seen.arrived :])
    gaps = rng.permutation(np.diff(columns["arrival_s"][seen.arrived :], prepend=seen.now_s))
    moved = {name: columns[name][order] for name in Requests._fields}
    moved["arrival_s"] = columns["arrival_s"]
    moved["arrival_s"][seen.arrived :] = np.minimum(seen.now_s + np.cumsum(gaps), data.requests.arrival_s[-1])
    return Future(data._replace(requests=make_requests(**moved)), until)


def decided(solution: Timeline, until: float) -> Sequence[np.ndarray]:
    """First tokens and ends up to a time: what admissions, chunks and preemptions have led to."""
    return [np.where(times <= until, times, np.inf) for times in (solution.first_token_s, solution.finish_s)]


HIDDEN = Hidden("output lengths that have not shown yet, and all future arrivals", permute, decided)
