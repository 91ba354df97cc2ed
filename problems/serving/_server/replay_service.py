"""The books of a replay on clients: service given to each, and how much it differs; apart from the engine's.

Service is what the server spends: uncached prompt tokens at the first admission of a request, and twice its output
tokens [1]_. Of two clients that both have had requests waiting since some time, the difference of service since
then ranges over an interval; the gap is the longest one of any pair.

References
----------
.. [1] Sheng et al. (2024), "Fairness in serving large language models", OSDI.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._server.ledger import Ledger
from problems.serving._server.machine import MAX_RUNNING, POOL, Serving

OUTPUT_WEIGHT = 2.0


class Service(NamedTuple):
    """Service by client, and the prefixes that are kept. Empty where requests have no clients."""

    given: np.ndarray  # (clients,) float64
    waiting: np.ndarray  # (clients,) int64, requests
    since: np.ndarray  # (clients, clients) float64, difference when both began to wait; NaN: they do not
    low: np.ndarray  # (clients, clients) float64, lowest and
    high: np.ndarray  # (clients, clients) float64, highest difference since then
    used: np.ndarray  # (prefixes,) int64, number of the last admission, 0: not kept
    size: np.ndarray  # (prefixes,) int64, tokens kept
    total: np.ndarray  # (3,) float64: gap, prefix tokens that were cached, admissions
    counted: np.ndarray  # (n,) int64, output tokens of each request that are in given
    batch: np.ndarray  # (max_running + 1,) int64, how many requests ran when last looked at, and which


GAP, HITS, ADMISSIONS = 0, 1, 2


@kernel
def open_service(data: Serving) -> Service:
    """Nothing has been given."""
    clients = data.requests.tenant.max() + 1 if data.limit[POOL] >= 0 else 0
    prefixes = data.requests.prefix.max() + 1
    pairs = np.zeros((clients, clients))
    return Service(
        np.zeros(clients),
        np.zeros(clients, np.int64),
        pairs + np.nan,
        pairs.copy(),
        pairs.copy(),
        np.zeros(prefixes, np.int64),
        np.zeros(prefixes, np.int64),
        np.zeros(3),
        np.zeros(len(data.requests.arrival_s) if clients > 0 else 0, np.int64),
        np.zeros(data.limit[MAX_RUNNING] + 1, np.int64),
    )


@inlined
def count_output(data: Serving, ledger: Ledger, service: Service) -> None:
    """Count what has been put out since the last time, of those that ran then."""
    if len(service.given) == 0:
        return
    for k in range(1, service.batch[0] + 1):
        r = service.batch[k]
        service.given[data.requests.tenant[r]] += OUTPUT_WEIGHT * (ledger.job[r].generated - service.counted[r])
        service.counted[r] = ledger.job[r].generated
    service.batch[0] = ledger.book[0].running
    for k in range(ledger.book[0].running):
        service.batch[k + 1] = ledger.running[k]


@inlined
def count_waiting(data: Serving, service: Service, r: int, change: int) -> None:
    """A request begins to wait, or waits no more."""
    if len(service.given) > 0:
        service.waiting[data.requests.tenant[r]] += change


@inlined
def find_prefix(data: Serving, service: Service, r: int) -> int:
    """Tokens of request r that are cached when it is admitted; its prefix is the last one used then."""
    p, length, hit = data.requests.prefix[r], data.requests.prefix_tokens[r], 0
    service.total[ADMISSIONS] += 1
    if p < 0:
        return 0
    if service.used[p] > 0:
        hit = min(min(service.size[p], length), data.requests.prompt_tokens[r] - 1)
    if length > data.limit[POOL]:
        return hit
    service.used[p] = int(service.total[ADMISSIONS])
    service.size[p] = max(service.size[p], length)
    while service.size.sum() > data.limit[POOL]:
        oldest, first = p, service.used[p]
        for q in range(len(service.used)):
            if service.used[q] > 0 and service.used[q] < first:
                oldest, first = q, service.used[q]
        service.used[oldest], service.size[oldest] = 0, 0
    return hit


@inlined
def compare(service: Service) -> None:
    """Note the differences between all clients that wait."""
    for a in range(len(service.given)):
        for b in range(a):
            if service.waiting[a] == 0 or service.waiting[b] == 0:
                service.since[a, b] = np.nan
                continue
            difference = service.given[a] - service.given[b]
            if np.isnan(service.since[a, b]):
                service.since[a, b] = service.low[a, b] = service.high[a, b] = difference
            service.low[a, b] = min(service.low[a, b], difference)
            service.high[a, b] = max(service.high[a, b], difference)
            service.total[GAP] = max(service.total[GAP], service.high[a, b] - service.low[a, b])
