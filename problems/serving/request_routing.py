"""Routing requests to servers of language models: load against cached prefixes.

Requests arrive over time at a router, which sends each to one of several servers at once: it knows their load
from reports that are up to 50 ms old, and takes 50 us for a decision. Servers work by themselves, first come, first
served, with continuous batching and chunked prefill [1]_; what they have computed of a prompt stays in their prefix
cache while there is memory, and the next request that begins alike need not compute it again [2]_. To follow the
cache fills one server while others idle; to follow the load computes the same prompt everywhere [3]_.

Minimised are mean and 99th percentile of the time to first token; the share of requests whose promises are
kept is maximised.

References
----------
.. [1] Agrawal et al. (2024), "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", OSDI.
.. [2] Zheng et al. (2024), "SGLang: efficient execution of structured language model programs", NeurIPS.
.. [3] Qin et al. (2025), "Mooncake: trading more storage for less computation", FAST.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Problem
from problems.serving._cluster.data import Cluster, make_cluster
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.engine import request_routing as simulate
from problems.serving._cluster.replay import verify
from problems.serving._cluster.views import Instance, Request
from problems.serving._routing.claims import CLAIMS
from problems.serving._routing.hidden import HIDDEN
from problems.serving._routing.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._routing.reader import FORMAT, read
from problems.serving._routing.rules import RULES
from problems.serving._routing.suites import SPLITS, probes, suite
from problems.serving._routing.trace import explain, narrate
from problems.serving._server.objectives import DECISION_TIME, MEAN_TTFT, P99_TTFT, SLO_ATTAINMENT

__all__ = ["PROBLEM", "Cluster", "Instance", "Request", "Routing", "make_cluster"]

STATEMENT = """\
Several servers run the same large language model, on GPUs of one kind or several. Requests arrive over time at a
router, and `route(request, instance)` is asked about every server: the request goes to the one with the **lowest**
score (ties: the lower number), and stays there.

A server works by itself in steps, first come, first served: it decodes one token for each running request, and fills
the step with prompt tokens up to 2048. A prompt's blocks stay in the server's prefix cache after it is computed, and
those of the output after the request has ended; least recently used blocks go when running requests need the memory. A
request computes only what its server has not cached of its prompt (`cached_tokens`, `prefill_time`). Prompts begin with
shared system prompts, and those of a conversation with the turns before.

So there are two goals that conflict: to send a request where its beginning is cached, and to send it where the queue
is short (`queue_time` + `prefill_time` is about the time to its first token). What is sent there also makes the cache
there, and pushes out other blocks: copies of one conversation on many servers waste memory.

The router knows servers by reports, taken every 50 ms and 5 ms on their way, and counts what it has sent since
(`queue_time` and `output_left` include that). It takes 50 us per request. True output lengths are unknown;
`predicted_output` is off by a factor of about 1.6 either way.

Hashes and draws: `hash_1` is 0 for the server that a hash of the conversation (or else of the system prompt) names, 1
for the next one, and so on around; `hash_2` the same for a second hash; `draw_1` and `draw_2` for servers drawn by lot.

Requests that are unfinished at the end of the simulation count as if they had run until then. Promises: 1 to 5 s to the
first token and 0.1 s for each further one for two of three requests (priority 0), five and three times that for the
others. Loads go from 60 % of what the servers can do to 10 % beyond it. A rule is also judged on other GPUs, other
models, other loads, worse predictions and burstier arrivals: compare times with times, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Request routing, time to first token and promises",
    statement=STATEMENT,
    hooks=(
        Hook(
            "route",
            {"request": Request, "instance": Instance},
            "Asked about each server; the request goes to the one with the lowest.",
        ),
    ),
    objectives=(MEAN_TTFT, P99_TTFT, SLO_ATTAINMENT, DECISION_TIME),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"cluster": simulate},
    solution=Routing,
    decisions=lambda data: len(data.requests.arrival_s),
    verify=verify,
    measure=measure,
    raw_units=RAW_UNITS,
    lower_bounds=lower_bounds,
    baselines=RULES,
    read=read,
    format=FORMAT,
    claims=CLAIMS,
    hidden=HIDDEN,
    explain=explain,
    narrate=narrate,
)
