"""What an eviction rule sees of a block and of the cache. Future requests are in neither."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Block(NamedTuple):
    """A block that may go: no request runs on it, and no other block in the cache continues it."""

    idle: Annotated[float, "s", "since a request last held it"]
    age: Annotated[float, "s", "since it was computed"]
    uses: Annotated[float, "count", "requests that have used it since then, at least 1"]
    seen: Annotated[float, "count", "requests so far that had it in their prompt, also before it was last computed"]
    sharers: Annotated[float, "count", "how often another session than the one before came to it, at least 1"]
    depth: Annotated[float, "token", "length of the prefix that ends with it, > 0"]
    recompute: Annotated[float, "s", "time to compute it again, given what comes before it, > 0"]
    beyond: Annotated[float, "token", "what its last request had behind it, all gone by now or never cached"]
    kind: Annotated[float, "1", "of its last request; 0: a person reads the answer, 1: a tool runs, 2: a workflow"]
    turns: Annotated[float, "count", "requests of its last session so far"]
    pause: Annotated[float, "s", "between the last two requests of that session; 1e6 if there is only one"]
    returns: Annotated[float, "1", "share of requests of its kind so far that continue a session"]
    usual: Annotated[float, "s", "mean time between requests of a session of its kind so far; 0 before the first"]
    due: Annotated[float, "s", "until it is predicted to be used again; < 0: overdue; 1e6: not again. Often wrong"]
    wanted: Annotated[float, "count", "requests in the queue that repeat it"]


class Cache(NamedTuple):
    """The cache and its server as a whole."""

    capacity: Annotated[float, "token", "blocks it has, > 0"]
    needed: Annotated[float, "token", "still to be evicted for the request that starts now"]
    evictable: Annotated[float, "count", "blocks that may go now"]
    waiting: Annotated[float, "count", "requests in the queue"]
    gap: Annotated[float, "s", "mean time between arrivals so far"]
    hit_rate: Annotated[float, "1", "share of prompt tokens that were cached so far"]
    turnover: Annotated[float, "s", "mean idle time of blocks when evicted, lately; 0 before the first"]
