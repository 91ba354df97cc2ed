"""Replay of one instance from its start to its end, with the requests that it got."""

from __future__ import annotations

import numpy as np

from problems._borrow import borrow
from problems._jit import kernel
from problems.serving._cluster.cache import leave, trim
from problems.serving._cluster.data import Cluster
from problems.serving._cluster.service import Shared, begin, serve_until
from problems.serving._prefix.store import NOBODY
from problems.serving._server.ledger import DONE, RUNNING, TO_COME, Ledger


@kernel
def serve(
    data: Cluster,
    ledger: Ledger,
    shared: Shared,
    i: int,
    mine: np.ndarray,
    at_s: np.ndarray,
    life_s: tuple[float, float],
) -> float:
    """All that happens at place i to some requests, in the order in which they are sent to it.

    It is up from the first time of ``life_s`` on, and fails at the second. Requests that are not done then keep
    what they have put out, and nothing else. Changes the order of ``mine``; returns when the last step has ended.
    """
    data, ledger, shared, mine, at_s = borrow(data), borrow(ledger), borrow(shared), borrow(mine), borrow(at_s)
    begin(ledger, life_s[0])
    last_s = serve_until(data, ledger, shared, i, mine, at_s, life_s[1])
    for k in range(len(mine)):
        r = mine[k]
        job = ledger.job[r]
        if job.status == DONE or not np.isfinite(life_s[1]):  # at the horizon all stays as it is
            continue
        if job.status == RUNNING:
            shared.computed[r] -= max(job.target - job.cached, 0)
            leave(shared.caches, i, shared.tail[r], last_s)
            shared.tail[r] = NOBODY
        job.status, job.cached, job.target = TO_COME, 0, data.requests.prompt_tokens[r] + job.generated
    if data.cache_tokens[0] > 0:
        trim(data, shared.caches, i, 0)
    return last_s
