"""What a rule of serving/fleet_scaling must not know: outputs to come, future arrivals, and failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._fleet.data import Elastic, with_failures, with_requests
from problems.serving._fleet.engine import Scaling
from problems.serving._fleet.log import TIME_SHIFT
from problems.serving._fleet.replay import replay
from problems.serving._server.machine import HORIZON, MAX_OUTPUT, TIMES
from problems.serving._server.requests import Requests, make_requests


def permute(data: Elastic, solution: Scaling, rng: np.random.Generator) -> Future:
    """Permute what a solution has not revealed by a random time.

    Among the requests that have arrived and not finished: the output still to come. Of the others, which is
    which, and the gaps between their arrivals. Of failures to come: the places, and the gaps.
    """
    requests = data.cluster.requests
    finished = solution.finish_s[np.isfinite(solution.finish_s)]
    until = float(rng.uniform(0.0, finished.max(initial=float(requests.arrival_s[-1]))))
    cut = np.where(np.arange(TIMES) == HORIZON, until, data.cluster.time_s)
    cut.setflags(write=False)  # another type, and compiled anew, else
    log, moves = np.ascontiguousarray(solution.log), np.ascontiguousarray(solution.moves)
    seen = replay(data._replace(cluster=data.cluster._replace(time_s=cut)), log, moves)
    # Steps that have begun by then end later: what they reveal stays.
    now_s = max(until, seen.now_s)
    changed = with_requests(data, _permuted(data, seen.generated, now_s, rng))
    return Future(_other_failures(changed, now_s, rng), until)


def _permuted(data: Elastic, generated: np.ndarray, now_s: float, rng: np.random.Generator) -> Requests:
    """Requests of which so many tokens are known at a time, and all else is permuted."""
    columns = {name: np.array(column) for name, column in data.cluster.requests._asdict().items()}
    output, arrival_s = columns["output_tokens"], data.cluster.requests.arrival_s
    arrived = int(np.searchsorted(arrival_s, now_s, side="right"))
    running = np.flatnonzero((np.arange(len(output)) < arrived) & (generated < output))
    left = rng.permutation(output[running] - generated[running])
    output[running] = np.minimum(generated[running] + left, data.cluster.limit[0, MAX_OUTPUT])
    order = np.arange(len(output))
    order[arrived:] = rng.permutation(order[arrived:])
    gaps = rng.permutation(np.diff(arrival_s[arrived:], prepend=now_s))
    moved = {name: columns[name][order] for name in Requests._fields}
    moved["arrival_s"] = columns["arrival_s"]
    moved["arrival_s"][arrived:] = np.minimum(now_s + np.cumsum(gaps), arrival_s[-1])
    return make_requests(**moved)


def _other_failures(data: Elastic, now_s: float, rng: np.random.Generator) -> Elastic:
    """The same fleet, where other places fail at other times from now on."""
    past = int(np.searchsorted(data.fail_s, now_s, side="right"))
    if past == len(data.fail_s):
        return data
    gaps = rng.permutation(np.diff(data.fail_s[past:], prepend=now_s))
    times = np.minimum(now_s + np.cumsum(gaps), data.fail_s[-1])
    places = rng.permutation(data.fail_place[past:])
    return with_failures(
        data, np.concatenate([data.fail_s[:past], times]), np.concatenate([data.fail_place[:past], places])
    )


def decided(solution: Scaling, until: float) -> Sequence[np.ndarray]:
    """Where requests were sent, instances started and stopped, first tokens and ends up to a time."""
    times = (solution.first_token_s, solution.finish_s)
    sent = solution.log[solution.sent_s <= until]
    moves = solution.moves[1e-3 * (solution.moves >> TIME_SHIFT) <= until]
    return [sent, moves, *(np.where(each <= until, each, np.inf) for each in times)]


HIDDEN = Hidden("output lengths that have not shown yet, all future arrivals, and failures", permute, decided)
