"""KV offloading: what to keep of KV cache on the GPU, on the host and in a remote pool, and when to bring it back.

The server of serving/prefix_eviction with tiers of memory: the GPU's cache, host memory below it, and a remote pool
below that; each has a capacity of so many blocks, 0 where there is no such tier. Prompts are computed one after the
other, in order of arrival. When one is done its blocks are also written to the tiers below. A tier that is full evicts
ends of prefixes. What is gone from the GPU can be loaded from a lower tier over its link when a prompt's turn has
come [1]_ [2]_, can be fetched before while the link is idle [3]_, or can be computed again.

A transfer takes a copy per layer and block at 7 us each, and the bytes over the bandwidth of the link. Minimised are
the mean time to the first token, that mean over the kind of requests that fares worst, and the share of prompt tokens
that are computed.

References
----------
.. [1] Zheng et al. (2024), "SGLang: efficient execution of structured language model programs", NeurIPS.
.. [2] Qin et al. (2025), "Mooncake: trading more storage for less computation", FAST.
.. [3] Pan et al. (2025), "KVFlow: efficient prefix caching for accelerating LLM-based multi-agent workflows".
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Problem
from problems.serving._eviction.objectives import UNCACHED, WORST_KIND_TTFT
from problems.serving._eviction.views import Block, Cache
from problems.serving._offloading.claims import CLAIMS
from problems.serving._offloading.data import Offloading, make_instance
from problems.serving._offloading.engine import Offloaded, kv_offloading
from problems.serving._offloading.hidden import HIDDEN
from problems.serving._offloading.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._offloading.reader import FORMAT, read
from problems.serving._offloading.rules import BASELINES
from problems.serving._offloading.suites import SPLITS, probes, suite
from problems.serving._offloading.trace import explain, narrate
from problems.serving._offloading.verify import verify
from problems.serving._offloading.views import Copy, Link, Request, Session
from problems.serving._server.objectives import DECISION_TIME, MEAN_TTFT

__all__ = [
    "PROBLEM",
    "Block",
    "Cache",
    "Copy",
    "Link",
    "Offloaded",
    "Offloading",
    "Request",
    "Session",
    "make_instance",
]

STATEMENT = """\
A server computes the prompts of a language model one after the other, in order of arrival. A prompt is a sequence of
blocks of tokens; what its longest prefix on the GPU holds need not be computed. Below the GPU's cache (tier 0) lie host
memory (tier 1) and, at some servers, a remote pool (tier 2). When a prompt is done, its blocks are also written to the
lower tiers. Over PCIe a block comes 6 to 15 times as fast as it is computed at the beginning of a prompt, and more so
behind a long prefix; from the pool 0.4 to 1.5 times as fast, and up to 6 times behind a long prefix.

`evict(block, cache, copy)` is asked in each tier (`copy.tier`) that has no room for what comes. The **highest** value
goes, then the next one (ties: the block that came up first). Only *ends* of cached prefixes may go; the block before is
the new end and gets a value then. What is gone from the GPU may still lie below (`copy.below`), and is back after
`copy.reload` seconds; what is gone from all tiers is computed again.

`load(request, link)` is asked when a prompt's turn has come, about the host and then about the pool, if that tier has
blocks beyond those on the GPU. Above 0 they are loaded; the server waits for that, and computes the rest of the prompt.
Loads queue behind what the link is doing.

`prefetch(session, link)` is asked about each request that waits in the queue or is announced by its session, whenever a
link is idle (at arrivals, starts and ends of prompts, and ends of transfers). The highest value above 0 is fetched: the
next few blocks (ties: the block that came up first); if none is above 0, nothing. They take the place of other blocks
on the GPU, by `evict`. What is evicted before a request used it is not fetched ahead again until one has.

Prompts come from conversations (`kind` 0: a person reads and asks again, after a minute or five, or not at all), from
agents that run tools (kind 1: seconds, rarely minutes, and 40 turns), and from workflows of agents that take turns
(kind 2). `due` is a prediction: about people off by a factor of 2.7 either way and every fourth time wrong about
whether they return at all; about tools 1.8 and one in ten; about workflows 1.5 and one in twenty. A rule is also judged
with half and double the memory, other links, loads and workloads: compare times with times rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="KV offloading to host and remote memory, time to first token and computed prompt tokens",
    statement=STATEMENT,
    hooks=(
        Hook("evict", {"block": Block, "cache": Cache, "copy": Copy}, "The block with the highest value is evicted."),
        Hook("load", {"request": Request, "link": Link}, "Above 0 the blocks are loaded, else computed."),
        Hook("prefetch", {"session": Session, "link": Link}, "The highest value above 0 is fetched ahead."),
    ),
    objectives=(MEAN_TTFT, WORST_KIND_TTFT, UNCACHED, DECISION_TIME),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": kv_offloading},
    solution=Offloaded,
    decisions=lambda data: len(data.caching.arrival_s),
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
