"""What a rule of serving/request_routing must not know: output lengths to come, and future arrivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._cluster.data import Cluster, with_requests
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.replay import replay
from problems.serving._server.machine import HORIZON, MAX_OUTPUT, TIMES
from problems.serving._server.requests import Requests, make_requests


def permute(data: Cluster, solution: Routing, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time.

    Among the requests that have arrived and not finished: the output still to come. Of the others, which is
    which, and the gaps between their arrivals.
    """
    arrival_s = data.requests.arrival_s
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, data.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    seen = replay(data._replace(time_s=cut), np.ascontiguousarray(solution.log))
    # Steps that have begun by then end later: what they reveal stays.
    return Future(with_requests(data, permuted(data, seen.generated, max(until, seen.now_s), rng)), until)


def permuted(data: Cluster, generated: np.ndarray, now_s: float, rng: np.random.Generator) -> Requests:
    """The requests of a cluster, with what is hidden at a time permuted, given the output that has shown."""
    arrival_s = data.requests.arrival_s
    arrived = int(np.searchsorted(arrival_s, now_s, side="right"))
    columns = {name: np.array(column) for name, column in data.requests._asdict().items()}
    output = columns["output_tokens"]
    running = np.flatnonzero((np.arange(len(output)) < arrived) & (generated < output))
    left = rng.permutation(output[running] - generated[running])
    output[running] = np.minimum(generated[running] + left, data.limit[0, MAX_OUTPUT])
    order = np.arange(len(output))
    order[arrived:] = rng.permutation(order[arrived:])
    gaps = rng.permutation(np.diff(arrival_s[arrived:], prepend=now_s))
    moved = {name: columns[name][order] for name in Requests._fields}
    moved["arrival_s"] = columns["arrival_s"]
    moved["arrival_s"][arrived:] = np.minimum(now_s + np.cumsum(gaps), arrival_s[-1])
    return make_requests(**moved)


def decided(solution: Routing, until: float) -> Sequence[np.ndarray]:
    """Servers chosen, first tokens and ends up to a time."""
    times = (solution.first_token_s, solution.finish_s)
    chosen = np.where(solution.sent_s <= until, solution.log, -1)
    return [chosen, *(np.where(each <= until, each, np.inf) for each in times)]


HIDDEN = Hidden("output lengths that have not shown yet, and all future arrivals", permute, decided)
