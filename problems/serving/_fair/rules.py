"""Published rules for the order in which clients are served.

D2LPM needs several servers and is left out; on one server it is DLPM.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._fair.views import Client, Prefix, Service
from problems.serving._server.views import Request


def arrival(request: Request, client: Client, prefix: Prefix) -> float:
    """First come, first served; what was preempted keeps its place."""
    return -request.waiting


def longest_prefix(request: Request, client: Client, prefix: Prefix) -> float:
    """Most cached prompt tokens first."""
    return -prefix.cached


def least_counter(request: Request, client: Client, prefix: Prefix) -> float:
    """The client with the least counter; of its requests, the one that came first."""
    return client.counter


def prefix_in_quantum(request: Request, client: Client, prefix: Prefix) -> float:
    """Among clients that have not used up the quantum of 8192 tokens, most cached prompt tokens first."""
    return 1e6 * math.floor(client.counter / 8192.0) - prefix.cached


def tokens(service: Service, client: Client) -> float:
    """Uncached prompt tokens, and twice the output."""
    return service.computed + 2.0 * service.output


def whole_tokens(service: Service, client: Client) -> float:
    """All prompt tokens, cached or not, and twice the output."""
    return service.computed + service.cached + 2.0 * service.output


def turns(service: Service, client: Client) -> float:
    """One for each request."""
    return 1.0 if service.output == 0.0 else 0.0


def to_least(client: Client) -> float:
    """Who comes back is no better off than the client that waits with the least counter."""
    return max(client.counter, client.least)


def unchanged(client: Client) -> float:
    """What was not used is kept."""
    return client.counter


_VTC = 'Sheng et al. (2024), "Fairness in serving large language models", OSDI'
_DLPM = 'Cao et al. (2025), "Locality-aware fair scheduling in LLM serving", arXiv:2501.14312'
_LPM = 'Zheng et al. (2024), "SGLang: efficient execution of structured language model programs", NeurIPS'
_RR = 'Nagle (1987), "On packet switches with infinite storage", IEEE Transactions on Communications 35(4)'
_FCFS = 'Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP'

Order = Callable[[Request, Client, Prefix], float]
Charge = Callable[[Service, Client], float]
Lift = Callable[[Client], float]


def _rule(
    name: str, title: str, citation: str, order: Order, *, charge: Charge = tokens, lift: Lift = to_least
) -> Baseline:
    return Baseline(name, title, citation, hooks={"order": order, "charge": charge, "lift": lift})


RULES = (
    _rule("fcfs", "First come, first served", _FCFS, arrival),
    _rule("lpm", "Longest cached prefix first", _LPM, longest_prefix),
    _rule("round_robin", "Clients in turn, a request each", _RR, least_counter, charge=turns),
    _rule("vtc", "VTC: virtual token counters on whole prompts", _VTC, least_counter, charge=whole_tokens),
    _rule("dlpm", "DLPM: longest prefix within a quantum", _DLPM, prefix_in_quantum),
    _rule("no_lift", "VTC on uncached tokens, counters not lifted", _VTC, least_counter, lift=unchanged),
)
