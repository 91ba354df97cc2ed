"""Prefix eviction: which blocks of KV cache to keep for requests to come.

Prompts arrive over time at a server that computes them one after the other, in order of arrival. A prompt is a
path through a tree of blocks; what its longest cached prefix holds need not be computed [1]_. The cache has C
blocks. When a prompt starts and the rest of it does not fit, blocks are evicted: only such that the prompt does
not repeat, and that no other block in the cache continues. A rule scores them; the highest go first. When the
prompt is done (its first token comes), its blocks stay and may go.

Prompts come from conversations, from agents that call tools, and from workflows of several agents, so that blocks
are used again after thinking, after a tool, or in the next round; predictions of when are known and often wrong.
Minimised are the share of prompt tokens that are computed, the mean time to the first token, and that mean over
the kind of requests that fares worst. With all requests known beforehand, farthest next use [2]_ is a strong bound.

References
----------
.. [1] Zheng et al. (2024), "SGLang: efficient execution of structured language model programs", NeurIPS.
.. [2] Belady (1966), "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2).
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Problem
from problems.serving._eviction.claims import CLAIMS
from problems.serving._eviction.data import Caching, make_instance
from problems.serving._eviction.engine import Cached, prefix_caching
from problems.serving._eviction.hidden import HIDDEN
from problems.serving._eviction.objectives import UNCACHED, WORST_KIND_TTFT
from problems.serving._eviction.reader import FORMAT, read
from problems.serving._eviction.replay import RAW_UNITS, lower_bounds, measure, verify
from problems.serving._eviction.rules import BASELINES
from problems.serving._eviction.suites import SPLITS, probes, suite
from problems.serving._eviction.trace import explain, narrate
from problems.serving._eviction.views import Block, Cache
from problems.serving._server.objectives import DECISION_TIME, MEAN_TTFT

__all__ = ["PROBLEM", "Block", "Cache", "Cached", "Caching", "make_instance"]

STATEMENT = """\
A server computes the prompts of a language model one after the other, in order of arrival. A prompt is a sequence of
blocks of tokens; the KV cache of blocks stays after the prompt is done, and a later prompt that begins with the same
blocks skips them. The cache is far smaller than all that comes by. When a prompt starts and its missing blocks do not
fit, others are evicted. Only the *ends* of cached prefixes may go: a block without what comes before it is worthless.

`evict(block, cache)` gives a value to each block that may go; the **highest** is evicted, then the next one, until
there is room (ties: the block that came up first). When the end of a prefix goes, the block before it is the new
end and gets a value then. All values are asked for anew at each prompt that needs room, so they may change with time.

Prompts come from conversations (`block.kind` 0: a person reads and asks again, after a minute or five, or not at all),
from agents that run tools (kind 1: seconds, rarely minutes, and 40 turns), and from workflows of agents that take
turns (kind 2); some share system prompts (`block.sharers`). `block.due` is a prediction of when a block is used
again: about people it is off by a factor of 2.7 either way and every fourth time wrong about whether they return at
all; about tools 1.8 and one in ten; about workflows 1.5 and one in twenty.

What the best rule wants to know is when a block will be used again: it should keep what comes back soon, and not what
comes back after it would be evicted anyway (`cache.turnover` says how long that takes). A rule is also judged with
half and double the cache, other loads, worse predictions, bursts, and other workloads: compare times with
`turnover` and `gap`, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Prefix eviction, computed prompt tokens and time to first token",
    statement=STATEMENT,
    hooks=(Hook("evict", {"block": Block, "cache": Cache}, "The block with the highest value is evicted."),),
    objectives=(
        UNCACHED,
        MEAN_TTFT,
        WORST_KIND_TTFT,
        DECISION_TIME,
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": prefix_caching},
    solution=Cached,
    decisions=lambda data: len(data.arrival_s),
    verify=verify,
    measure=measure,
    raw_units=RAW_UNITS,
    lower_bounds=lower_bounds,
    baselines=BASELINES,
    read=read,
    format=FORMAT,
    claims=CLAIMS,
    hidden=HIDDEN,
    explain=explain,
    narrate=narrate,
)
