"""What a rule of serving/prefill_decode must not know: output lengths to come, and future arrivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._disaggregation.data import Deployment, with_other_requests
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.replay import replay
from problems.serving._routing.hidden import permuted
from problems.serving._server.machine import HORIZON, TIMES


def permute(data: Deployment, solution: Disaggregation, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time, as in serving/request_routing."""
    cluster = data.cluster
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(cluster.requests.arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, cluster.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    seen = replay(data._replace(cluster=cluster._replace(time_s=cut)), np.ascontiguousarray(solution.log))
    # Steps that have begun by then end later: what they reveal stays.
    return Future(with_other_requests(data, permuted(cluster, seen.generated, max(until, seen.now_s), rng)), until)


def decided(solution: Disaggregation, until: float) -> Sequence[np.ndarray]:
    """Decisions, first tokens and ends up to a time."""
    times = (solution.first_token_s, solution.finish_s)
    taken = solution.decided_s <= until
    return [solution.log[taken], solution.decided_s[taken], *(np.where(each <= until, each, np.inf) for each in times)]


HIDDEN = Hidden("output lengths that have not shown yet, and all future arrivals", permute, decided)
