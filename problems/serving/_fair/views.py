"""What rules of serving/fair_sharing see: a client with its counter, a prefix, and service to be charged."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Client(NamedTuple):
    """Who a request is from. Counters start at 0 and change by ``charge`` and ``lift`` only."""

    counter: Annotated[float, "1", "what it has been charged so far, by the rule's own measure"]
    least: Annotated[float, "1", "least counter of the clients that wait; if none does, when one last did"]
    waiting: Annotated[float, "count", "its requests in the waiting queue"]
    running: Annotated[float, "count", "its running requests at the last look at the queue"]
    clients: Annotated[float, "count", "clients that have requests waiting"]


class Prefix(NamedTuple):
    """The part of a prompt that other requests of the client share."""

    tokens: Annotated[float, "token", "its length, 0: none"]
    cached: Annotated[float, "token", "of these, what the server keeps and need not compute now"]


class Service(NamedTuple):
    """Work done for a client: a prompt that is admitted, or output since the last look at the queue."""

    computed: Annotated[float, "token", "prompt tokens to compute, 0 for output"]
    cached: Annotated[float, "token", "prompt tokens that are in the cache, 0 for output"]
    output: Annotated[float, "token", "tokens put out, 0 for a prompt"]
