"""What a rule of serving/live_migration must not know: output lengths to come, and future arrivals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._migration.data import Migrating, with_other_requests
from problems.serving._migration.engine import Migration
from problems.serving._migration.replay import replay
from problems.serving._routing.hidden import permuted
from problems.serving._server.machine import HORIZON, TIMES


def permute(data: Migrating, solution: Migration, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time, as in serving/request_routing."""
    arrival_s = data.cluster.requests.arrival_s
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, data.cluster.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    moves = np.ascontiguousarray(solution.moves[solution.decided_s < until])
    seen = replay(data._replace(cluster=data.cluster._replace(time_s=cut)), np.ascontiguousarray(solution.log), moves)
    # Steps that have begun by then end later: what they reveal stays.
    requests = permuted(data.cluster, seen.generated, max(until, seen.now_s), rng)
    return Future(with_other_requests(data, requests), until)


def decided(solution: Migration, until: float) -> Sequence[np.ndarray]:
    """Servers chosen, migrations started, first tokens and ends up to a time."""
    times = (solution.first_token_s, solution.finish_s)
    chosen = np.where(solution.sent_s <= until, solution.log, -1)
    moves = solution.moves[solution.decided_s <= until]
    return [chosen, moves, *(np.where(each <= until, each, np.inf) for each in times)]


HIDDEN = Hidden("output lengths that have not shown yet, and all future arrivals", permute, decided)
