"""What a rule of serving/prefix_eviction must not know: requests that have not arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from problems.problem import Future, Hidden
from problems.serving._eviction.data import Caching
from problems.serving._eviction.engine import Cached

WHAT = "all requests that have not arrived"


def reordered(data: Caching, order: np.ndarray, arrival_s: np.ndarray) -> Caching:
    """The requests in another order, each with its path and hints, at other times."""
    columns = {name: getattr(data, name)[order] for name in ("prompt_tokens", "session", "kind")}
    columns["arrival_s"] = np.array(arrival_s)
    for start, names in (("path_start", ("path",)), ("hint_start", ("hint_node", "hint_s"))):
        old = getattr(data, start)
        size = np.diff(old)[order]
        columns[start] = np.concatenate([[0], np.cumsum(size)])
        entries = np.repeat(old[order] - columns[start][:-1], size) + np.arange(size.sum())
        columns |= {name: getattr(data, name)[entries] for name in names}
    for array in columns.values():
        array.setflags(write=False)
    return data._replace(**columns)


def permuted(data: Caching, rng: np.random.Generator) -> tuple[Caching, float]:
    """Permute all that has not arrived by a random time, which request comes when and the gaps between; that time."""
    until = float(rng.uniform(0.0, data.arrival_s[-1]))
    arrived = int(np.searchsorted(data.arrival_s, until, side="right"))
    order = np.arange(len(data.arrival_s))
    order[arrived:] = rng.permutation(order[arrived:])
    gaps = rng.permutation(np.diff(data.arrival_s[arrived:], prepend=until))
    arrival_s = data.arrival_s.copy()
    arrival_s[arrived:] = np.minimum(until + np.cumsum(gaps), data.arrival_s[-1])
    return reordered(data, order, arrival_s), until


def permute(data: Caching, solution: Cached, rng: np.random.Generator) -> Future:
    """As permuted."""
    return Future(*permuted(data, rng))


def decided(solution: Cached, until: float) -> Sequence[np.ndarray]:
    """Starts up to a time, and what was evicted for them."""
    started = solution.start_s <= until
    return [np.where(started, solution.start_s, np.inf), solution.evicted[started[solution.evicted >> 32]]]


HIDDEN = Hidden(WHAT, permute, decided)
