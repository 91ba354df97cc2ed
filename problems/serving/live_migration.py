"""Live migration of requests between servers of language models: dispatch, and second thoughts.

Requests arrive at a router, which sends each to one of several servers at once. Outputs of unknown length then fill
some servers and leave others half empty: requests wait for memory here, or are preempted, while there is room there.
A request that decodes can move: its KV cache is copied while it goes on, and it pauses only for what came last
[1]_. One that waits moves at once, as from hot to cold servers [2]_, or to one that idles [3]_.

Minimised are the mean latency per output token and the 99th percentile of the time to the first token; the share of
requests whose promises are kept is maximised.

References
----------
.. [1] Sun et al. (2024), "Llumnix: dynamic scheduling for large language model serving", OSDI.
.. [2] DualMap (2026), "Enabling both cache affinity and load balancing for distributed LLM serving".
.. [3] Blumofe and Leiserson (1999), "Scheduling multithreaded computations by work stealing", JACM 46(5):720-748.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Problem
from problems.serving._cluster.views import Instance, Request
from problems.serving._migration.claims import CLAIMS
from problems.serving._migration.data import Migrating, make_migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.engine import live_migration as simulate
from problems.serving._migration.hidden import HIDDEN
from problems.serving._migration.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._migration.reader import FORMAT, read
from problems.serving._migration.rules import RULES
from problems.serving._migration.suites import SPLITS, probes, suite
from problems.serving._migration.trace import explain, narrate
from problems.serving._migration.verify import verify
from problems.serving._migration.views import Job, Server
from problems.serving._server.objectives import DECISION_TIME, NORMALISED_LATENCY, P99_TTFT, SLO_ATTAINMENT

__all__ = ["PROBLEM", "Instance", "Job", "Migrating", "Migration", "Request", "Server", "make_migrating"]

STATEMENT = """\
Several servers run the same large language model. Requests arrive over time at a router, and `route(request, instance)`
is asked about every server: the request goes to the one with the **lowest** score (ties: the lower number). Later it
may move.

A server works by itself in steps, first come, first served: it decodes one token for each running request, and fills
the step with prompt tokens up to 2048. A request holds KV cache for its prompt and output so far. If a request in the
queue does not fit, all behind it wait; if decoding lacks memory, the latest request is preempted, loses its cache, and
is computed anew. In two of three scenarios a server's memory holds about 13,000 tokens, and lengths differ by a
factor of a hundred; in the third, prompts begin alike, and what is computed of them stays in the server's prefix cache.

Four times a second `pair(source, target)` is asked about all pairs of servers that take part in no migration (a source
has something that waits or decodes). The pair with the **highest positive** value comes first: `pick(job, source,
target)` is asked about each request of the source that decodes or waits, and the one with the **highest positive**
value moves (0 or less: nothing moves). Then the next pair, of which both servers are still free.

A request that decodes goes on while its cache is copied (`job.copy_time`, tens of milliseconds), and then pauses for
about a millisecond. If it ends or is preempted before, or the target had no room at the last tick, nothing happens. If
the target's room is gone when it comes, it joins the front of the queue there and is computed anew. A request that
waits joins the end of the other queue after 5 ms.

The router knows servers by reports that are up to 50 ms old; `pair` and `pick` see them as they are. True output
lengths are unknown; `predicted_output` and `predicted_left` are off by a factor of about 1.6 either way.

Requests that are unfinished at the end of the simulation count as if they had run until then. Promises: 1 or 2 s to the
first token and 0.06 or 0.1 s for each further one for two of three requests (priority 0), five and three times that
for the others. Loads go from 60 % of what the servers can do to 10 % beyond it. A rule is also judged on other GPUs,
other models, other loads, worse predictions, burstier arrivals, and slower links between servers.
"""

PROBLEM = Problem(
    module=__name__,
    title="Live migration, latency per token and time to first token",
    statement=STATEMENT,
    hooks=(
        Hook(
            "route",
            {"request": Request, "instance": Instance},
            "Asked about each server; the request goes to the one with the lowest.",
        ),
        Hook("pair", {"source": Server, "target": Server}, "The pair with the highest positive value hands on first."),
        Hook(
            "pick",
            {"job": Job, "source": Server, "target": Server},
            "The request with the highest positive value moves; 0 or less: none.",
        ),
    ),
    objectives=(NORMALISED_LATENCY, P99_TTFT, SLO_ATTAINMENT, DECISION_TIME),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"cluster": simulate},
    solution=Migration,
    decisions=lambda data: len(data.cluster.requests.arrival_s),
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
