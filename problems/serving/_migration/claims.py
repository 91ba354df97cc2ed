"""What papers claim of requests that move between servers, and our experiments.

Each experiment has fixed seeds and takes seconds, but for compiling.
"""

from __future__ import annotations

import numpy as np

from problems.claims import Claim, Solve
from problems.serving._migration.data import with_other_requests
from problems.serving._migration.rules import RULES
from problems.serving._migration.suites import SCENARIOS, make
from problems.serving._routing.suites import Traffic
from problems.serving._server.requests import make_requests

BY_NAME = {rule.name: rule for rule in RULES}
TAILS = SCENARIOS["a10-tails"]
SEEDS = (1, 2, 3, 4, 5)
URGENT = 0.1  # share of requests


def _tail_s(solve: Solve, rule: str) -> float:
    """P99 of TTFT near saturation, mean of the seeds."""
    found = []
    for seed in SEEDS:
        data = make(TAILS, 0.875, Traffic(), seed)
        found.append(np.quantile(solve(BY_NAME[rule], data).first_token_s - data.cluster.requests.arrival_s, 0.99))
    return float(np.mean(found))


def _over_round_robin(solve: Solve) -> float:
    return _tail_s(solve, "round_robin") / _tail_s(solve, "llumnix")


def _over_dispatch(solve: Solve) -> float:
    return _tail_s(solve, "llumnix_dispatch") / _tail_s(solve, "llumnix")


def _urgent(solve: Solve) -> float:
    """Mean latency of the urgent, one in ten: without headroom for them over with it."""
    means = []
    for rule in ("llumnix", "llumnix_priorities"):
        found = []
        for seed in SEEDS:
            data = make(TAILS, 0.8, Traffic(), seed)
            requests = data.cluster.requests
            urgent = np.random.default_rng(seed).random(len(requests.arrival_s)) < URGENT
            columns = requests._asdict() | {"priority": np.where(urgent, 0, 1)}
            solution = solve(BY_NAME[rule], with_other_requests(data, make_requests(**columns)))
            found.append(np.mean((solution.finish_s - requests.arrival_s)[urgent]))
        means.append(float(np.mean(found)))
    return means[0] / means[1]


CLAIMS = (
    Claim(
        "Llumnix (2024)",
        "dispatch and live migration over round robin: P99 time to first token",
        "10x lower",
        10.0,
        10.0,
        setting="Llama-2-7B on eight A10, lengths with tails up to 6000 tokens, 88 % load, five seeds",
        experiment=_over_round_robin,
        slow=True,
        why="how far beyond what round robin can serve the load is sets the factor",
    ),
    Claim(
        "Llumnix (2024)",
        "live migration over dispatch alone: P99 time to first token",
        "part of the above; no figure taken",
        1.02,
        100.0,
        setting="as above",
        experiment=_over_dispatch,
        tolerance=0.0,
        slow=True,
    ),
    Claim(
        "Llumnix (2024)",
        "headroom for urgent requests: their latency",
        "up to 1.5x lower",
        1.5,
        1.5,
        setting="as above, 80 % load, one request in ten is urgent; headroom of a fifth of the memory for each",
        experiment=_urgent,
        slow=True,
        why="servers here serve in order of arrival, so that headroom is all that priority means, and a decode step "
        "of this model reads weights more than anything else",
    ),
)
