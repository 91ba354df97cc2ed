"""Published ways to keep, reload and fetch ahead KV cache over tiers of memory, as three hooks."""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._eviction.rules import CONTINUUM, KVFLOW, LOOK_AHEAD, SAGA, SGLANG
from problems.serving._eviction.views import Block, Cache
from problems.serving._offloading.views import Copy, Link, Request, Session


def least_recently_used(block: Block, cache: Cache, copy: Copy) -> float:
    """LRU in every tier, tails first."""
    return block.idle


def recent_or_wanted(block: Block, cache: Cache, copy: Copy) -> float:
    """LRU, but what requests in the queue repeat is kept."""
    return block.idle - 1e6 * block.wanted


def steps_to_execution(block: Block, cache: Cache, copy: Copy) -> float:
    """The block whose next use is predicted farthest away; what is not announced goes first."""
    return block.due


def workflow_aware(block: Block, cache: Cache, copy: Copy) -> float:
    """Recency weighed with predicted reuse; what has ended goes first, and what is overdue is doubted."""
    return 0.3 * block.idle + 0.7 * abs(block.due)


def continuum(block: Block, cache: Cache, copy: Copy) -> float:
    """On the GPU, LRU but for what waits for a tool: that is kept until its time to live ends; LRU below.

    That time is where one more second, which costs the value of the memory, no longer pays: where the density of
    a log-normal return time around the predicted one, times the share of the cost of a miss that a copy in a lower
    tier leaves, falls to hit_rate / turnover.
    """
    if copy.tier > 0.0 or block.kind == 0.0 or block.due > 1e5:
        return block.idle
    if block.due + block.idle <= 0.0 or cache.turnover <= 0.0:
        return block.idle
    spread = 0.6
    price = max(cache.hit_rate, 0.01) / cache.turnover * block.recompute / max(copy.reload, 1e-9)
    middle = math.log(block.due + block.idle)
    room = spread * spread - 2.0 * (middle + math.log(price * spread * 2.5066))
    if room <= 0.0:
        return block.idle
    lifetime = math.exp(middle - spread * spread + spread * math.sqrt(room))
    if block.idle < lifetime:
        return block.idle - 1e6
    return block.idle


def never_load(request: Request, link: Link) -> float:
    """Compute again what the GPU lacks."""
    return 0.0


def always_load(request: Request, link: Link) -> float:
    """Load whatever a lower tier has."""
    return 1.0


def load_if_faster(request: Request, link: Link) -> float:
    """Load what is sooner loaded than computed."""
    return request.compute - request.load


def no_prefetch(session: Session, link: Link) -> float:
    """Wait until a prompt's turn has come."""
    return 0.0


def queue_first(session: Session, link: Link) -> float:
    """Fetch for requests that wait, in their order, what is sooner fetched than computed."""
    if session.place > 0.0 and session.fetch < session.compute:
        return 1.0 / session.place
    return 0.0


def soonest_due(session: Session, link: Link) -> float:
    """Fetch for who waits, then for who is predicted to come next, before what is fetched would be evicted again."""
    if session.place > 0.0:
        return 2.0 + 1.0 / session.place
    if session.due > link.turnover:
        return 0.0
    return 1.0 / (1.0 + abs(session.due))


def due_before_evicted(session: Session, link: Link) -> float:
    """As the soonest due first, but only what is faster fetched than computed and due within half a turnover."""
    if session.fetch >= session.compute:
        return 0.0
    if session.place > 0.0:
        return 2.0 + 1.0 / session.place
    if abs(session.due) > 0.5 * link.turnover:
        return 0.0
    return 1.0 / (1.0 + abs(session.due))


def _rule(name: str, title: str, citation: str, *hooks: Callable[..., float]) -> Baseline:
    return Baseline(name, title, citation, hooks=dict(zip(("evict", "load", "prefetch"), hooks, strict=True)))


_MOONCAKE = 'Qin et al. (2025), "Mooncake: trading more storage for less computation for serving LLM chatbot", FAST'
_LMCACHE = (
    'Liu et al. (2025), "LMCache: an efficient KV cache layer for enterprise-scale LLM inference", arXiv:2510.09665'
)

BASELINES = (
    # first one that does all there is to do: contract tests damage its solutions
    _rule(
        "saga_prefetch",
        "SAGA's eviction, KVFlow's fetches if due soon",
        SAGA,
        workflow_aware,
        load_if_faster,
        due_before_evicted,
    ),
    _rule("recompute", "LRU, lower tiers not used", SGLANG, least_recently_used, never_load, no_prefetch),
    _rule("hicache", "LRU, loads when the turn comes", SGLANG, least_recently_used, always_load, no_prefetch),
    _rule("mooncake", "LRU, loads if that is faster", _MOONCAKE, least_recently_used, load_if_faster, no_prefetch),
    _rule("lmcache", "LRU, fetches for the queue", _LMCACHE, least_recently_used, load_if_faster, queue_first),
    _rule(
        "look_ahead",
        "LRU but for the queue's blocks, and fetches them",
        LOOK_AHEAD,
        recent_or_wanted,
        load_if_faster,
        queue_first,
    ),
    _rule("continuum", "Continuum: time to live that pays", CONTINUUM, continuum, load_if_faster, no_prefetch),
    _rule("kvflow", "KVFlow: farthest use goes, next is fetched", KVFLOW, steps_to_execution, always_load, soonest_due),
    _rule("saga", "SAGA: LRU and predicted reuse, loads if faster", SAGA, workflow_aware, load_if_faster, no_prefetch),
)
