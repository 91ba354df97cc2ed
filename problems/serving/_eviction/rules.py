"""Published eviction rules for prefix caches, as one hook: the block with the highest value goes first."""

from __future__ import annotations

import math
from collections.abc import Callable

from problems.problem import Baseline
from problems.serving._eviction.bound import farthest_next_use
from problems.serving._eviction.views import Block, Cache


def least_recently_used(block: Block, cache: Cache) -> float:
    """LRU, tails first: what engines with prefix caches do."""
    return block.idle


def first_in_first_out(block: Block, cache: Cache) -> float:
    """FIFO: the block that was computed first."""
    return block.age


def least_frequently_used(block: Block, cache: Cache) -> float:
    """LFU: what the fewest requests had, evicted or not; of these the longest idle."""
    return 0.5 * block.idle / (block.idle + 60.0) - block.seen


def hyperbolic(block: Block, cache: Cache) -> float:
    """The fewest uses per time in the cache."""
    return block.age / block.uses


def time_to_live(block: Block, cache: Cache) -> float:
    """LRU, but what waits for a tool is kept for 30 s."""
    if block.kind == 1.0 and block.idle < 30.0:
        return block.idle - 1e6
    return block.idle


def look_ahead(block: Block, cache: Cache) -> float:
    """LRU, but what requests in the queue repeat is kept."""
    return block.idle - 1e6 * block.wanted


def continuum(block: Block, cache: Cache) -> float:
    """LRU, but what waits for a tool is kept until its time to live ends.

    That time is where one more second, which costs the value of the memory, no longer pays: where the density
    of a log-normal return time around the predicted one falls to hit_rate / turnover.
    """
    if block.kind == 0.0 or block.due > 1e5 or block.due + block.idle <= 0.0 or cache.turnover <= 0.0:
        return block.idle
    spread = 0.6
    price = max(cache.hit_rate, 0.01) / cache.turnover
    middle = math.log(block.due + block.idle)
    room = spread * spread - 2.0 * (middle + math.log(price * spread * 2.5066))
    if room <= 0.0:
        return block.idle
    lifetime = math.exp(middle - spread * spread + spread * math.sqrt(room))
    if block.idle < lifetime:
        return block.idle - 1e6
    return block.idle


def steps_to_execution(block: Block, cache: Cache) -> float:
    """The block whose next use is predicted farthest away; what is not announced goes first."""
    return block.due


def workflow_aware(block: Block, cache: Cache) -> float:
    """Recency weighed with predicted reuse; what has ended goes first, and what is overdue is doubted."""
    return 0.3 * block.idle + 0.7 * abs(block.due)


SGLANG = 'Zheng et al. (2024), "SGLang: efficient execution of structured language model programs", NeurIPS'
_VLLM = 'Kwon et al. (2023), "Efficient memory management for large language model serving with PagedAttention", SOSP'
_LFU = 'Aho, Denning and Ullman (1971), "Principles of optimal page replacement", Journal of the ACM 18(1):80-93'
_HYPERBOLIC = 'Blankstein, Sen and Freedman (2017), "Hyperbolic caching: flexible caching for web applications", ATC'
LOOK_AHEAD = (
    'Gao et al. (2024), "Cost-efficient large language model serving for multi-turn '
    'conversations with CachedAttention", ATC'
)
CONTINUUM = (
    'Li et al. (2025), "Continuum: efficient and robust multi-turn LLM agent '
    'scheduling with KV cache time-to-live", arXiv:2511.02230'
)
KVFLOW = (
    'Pan et al. (2025), "KVFlow: efficient prefix caching for accelerating LLM-based '
    'multi-agent workflows", arXiv:2507.07400'
)
SAGA = '"SAGA: workflow-atomic scheduling for AI agent inference on GPU clusters" (2026)'
_BELADY = (
    'Belady (1966), "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2):78-101'
)


def _rule(name: str, title: str, citation: str, evict: Callable[[Block, Cache], float]) -> Baseline:
    return Baseline(name, title, citation, hooks={"evict": evict})


RULES = (
    _rule("lru", "LRU, tails first", SGLANG, least_recently_used),
    _rule("fifo", "FIFO", _VLLM, first_in_first_out),
    _rule("lfu", "LFU", _LFU, least_frequently_used),
    _rule("hyperbolic", "Fewest uses per time", _HYPERBOLIC, hyperbolic),
    _rule("ttl", "LRU, 30 s for tools", CONTINUUM, time_to_live),
    _rule("look_ahead", "LRU, but not what the queue needs", LOOK_AHEAD, look_ahead),
    _rule("continuum", "Continuum: time to live that pays", CONTINUUM, continuum),
    _rule("kvflow", "KVFlow: farthest predicted use", KVFLOW, steps_to_execution),
    _rule("saga", "SAGA: LRU and predicted reuse", SAGA, workflow_aware),
)

BASELINES = (
    *RULES,
    Baseline("farthest_next_use", "Farthest next use, knows the future", _BELADY, solve=farthest_next_use),
)
