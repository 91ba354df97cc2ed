"""Counters of clients, and the pool of shared prefixes that a server keeps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.serving._fair.views import Client, Prefix
from problems.serving._server.machine import MAX_RUNNING, POOL, Serving
from problems.serving._server.state import State


class Clients(NamedTuple):
    """What is kept of clients and prefixes besides the engine's state."""

    counter: np.ndarray  # (clients,) float64
    waiting: np.ndarray  # (clients,) int64, requests after the last look, and what has come since
    running: np.ndarray  # (clients,) int64, requests after the last look
    output: np.ndarray  # (clients,) int64, tokens to be charged
    charged: np.ndarray  # (n,) int64, output tokens of each request that have been charged
    batch: np.ndarray  # (max_running,) int64, requests that ran after the last look
    used: np.ndarray  # (prefixes,) int64, number of the last admission with it; 0: not in the pool
    size: np.ndarray  # (prefixes,) int64, tokens of it that are in the pool
    tally: np.ndarray  # (4,) int64: requests seen, requests in batch, admissions, tokens in the pool
    least: np.ndarray  # (1,) float64, least counter of those that wait, or when one last did


SEEN, BATCH, ADMISSIONS, KEPT = range(4)


@kernel
def open_clients(data: Serving) -> Clients:
    """Nobody has come, and nothing is kept."""
    n, clients = len(data.requests.arrival_s), data.requests.tenant.max() + 1
    prefixes = max(data.requests.prefix.max() + 1, 1)
    return Clients(
        np.zeros(clients),
        np.zeros(clients, np.int64),
        np.zeros(clients, np.int64),
        np.zeros(clients, np.int64),
        np.zeros(n, np.int64),
        np.zeros(data.limit[MAX_RUNNING], np.int64),
        np.zeros(prefixes, np.int64),
        np.zeros(prefixes, np.int64),
        np.zeros(4, np.int64),
        np.zeros(1),
    )


@inlined
def update_least(clients: Clients) -> None:
    """The least counter of those that wait; as it was if nobody does."""
    least = np.inf
    for c in range(len(clients.counter)):
        if clients.waiting[c] > 0:
            least = min(least, clients.counter[c])
    if least < np.inf:
        clients.least[0] = least


@inlined
def describe_client(clients: Clients, c: int) -> Client:
    """All that hooks see of a client."""
    waiting = 0
    for other in range(len(clients.counter)):
        waiting += 1 if clients.waiting[other] > 0 else 0
    return Client(
        counter=clients.counter[c],
        least=clients.least[0],
        waiting=float(clients.waiting[c]),
        running=float(clients.running[c]),
        clients=float(waiting),
    )


@inlined
def cached_tokens(data: Serving, clients: Clients, r: int) -> int:
    """Prompt tokens of request r that need not be computed now; its last one always is."""
    p = data.requests.prefix[r]
    if p < 0 or clients.used[p] == 0:
        return 0
    return min(clients.size[p], data.requests.prefix_tokens[r], data.requests.prompt_tokens[r] - 1)


@inlined
def describe_prefix(data: Serving, clients: Clients, r: int) -> Prefix:
    """All that hooks see of a request's prefix."""
    return Prefix(float(data.requests.prefix_tokens[r]), float(cached_tokens(data, clients, r)))


@inlined
def keep_prefix(data: Serving, clients: Clients, r: int) -> None:
    """Keep the prefix of an admitted request in the pool, in place of those used longest ago."""
    p, tokens = data.requests.prefix[r], data.requests.prefix_tokens[r]
    clients.tally[ADMISSIONS] += 1
    if p < 0 or tokens > data.limit[POOL]:
        return
    clients.used[p] = clients.tally[ADMISSIONS]
    if tokens > clients.size[p]:
        clients.tally[KEPT] += tokens - clients.size[p]
        clients.size[p] = tokens
    while clients.tally[KEPT] > data.limit[POOL]:
        oldest = -1
        for q in range(len(clients.used)):
            if clients.used[q] > 0 and (oldest < 0 or clients.used[q] < clients.used[oldest]):
                oldest = q
        clients.tally[KEPT] -= clients.size[oldest]
        clients.used[oldest] = 0
        clients.size[oldest] = 0


@inlined
def spare(data: Serving, state: State, clients: Clients, i: int, r: int) -> int:
    """Let an admitted request begin behind what is cached of its prompt; how many tokens that are."""
    hit = cached_tokens(data, clients, r)
    state.request[r].context += hit
    state.request[r].prefill_left -= hit
    state.server[i].prefill_left -= hit
    keep_prefix(data, clients, r)
    return hit
