"""What rules of serving/kv_offloading see besides blocks and caches. Future requests are in none of it."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Copy(NamedTuple):
    """Where the block lies that may go, and what losing it there costs."""

    tier: Annotated[float, "1", "of the cache it may go from; 0: GPU, 1: host, 2: remote pool"]
    above: Annotated[float, "1", "1 if a higher tier has it too, else 0"]
    below: Annotated[float, "1", "1 if a lower tier has it too, else 0"]
    reload: Annotated[float, "s", "to bring it to the GPU from the next lower tier that has it, or to compute it, > 0"]


class Request(NamedTuple):
    """The request whose turn has come, and what a lower tier has of its prompt beyond what the GPU has."""

    waited: Annotated[float, "s", "since it arrived"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    cached: Annotated[float, "token", "of these, on the GPU or already being loaded"]
    tokens: Annotated[float, "token", "that this tier has behind them, > 0"]
    load: Annotated[float, "s", "until they are loaded, waiting for the link included"]
    compute: Annotated[float, "s", "to compute them instead"]
    kind: Annotated[float, "1", "0: a person reads the answer, 1: a tool runs, 2: a workflow"]
    turns: Annotated[float, "count", "requests of its session so far, this one included"]


class Link(NamedTuple):
    """The way from one lower tier to the GPU, and the queue of the server."""

    tier: Annotated[float, "1", "1: host, 2: remote pool"]
    block: Annotated[float, "s", "to bring up one block, > 0"]
    busy: Annotated[float, "1", "share of the time so far that it was in use"]
    waiting: Annotated[float, "count", "requests in the queue"]
    computing: Annotated[float, "1", "1 while the server computes a prompt or loads for it, else 0"]
    gap: Annotated[float, "s", "mean time between arrivals so far"]
    empty: Annotated[float, "token", "blocks of the GPU's cache that hold nothing"]
    turnover: Annotated[float, "s", "mean idle time of blocks when evicted from the GPU, lately; 0 before the first"]


class Session(NamedTuple):
    """A request that waits or is announced, and what a lower tier has of its prompt beyond what the GPU has."""

    place: Annotated[float, "count", "its place in the queue, from 1; 0: it has not arrived"]
    due: Annotated[float, "s", "until it is predicted to arrive; < 0: overdue, or since it arrived"]
    notice: Annotated[float, "s", "from the announcement to the predicted arrival; 0 if it has arrived"]
    cached: Annotated[float, "token", "of the prompt as far as it is known, on the GPU"]
    missing: Annotated[float, "token", "behind them, in this tier, > 0"]
    fetch: Annotated[float, "s", "to bring all of these up, > 0"]
    compute: Annotated[float, "s", "to compute them instead, > 0"]
    kind: Annotated[float, "1", "0: a person reads the answer, 1: a tool runs, 2: a workflow"]
    turns: Annotated[float, "count", "requests of its session that have started, or had when it was announced"]
