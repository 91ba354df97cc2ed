"""Fair sharing of one server among clients: whose request is admitted next.

Clients of unequal demand share a server for a language model, as in serving/continuous_batching. First come, first
served gives most to who asks most, and lets everybody else wait. Fair queueing counts the service that each client
has had, here tokens: of prompts, and with a higher weight of output, which is known only as it comes [1]_. Prompts
begin with documents that the server keeps for a while; to serve requests about the same document together saves
computing, and works against fairness [2]_.

A rule decides which waiting request is admitted next, what a client's counter is charged, and where the counter of
a client stands that comes back. Minimised are the largest difference of service between two clients while both wait,
the 99th percentile of the time to first token, and normalised latency.

References
----------
.. [1] Sheng et al. (2024), "Fairness in serving large language models", OSDI.
.. [2] Cao et al. (2025), "Locality-aware fair scheduling in LLM serving", arXiv:2501.14312.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Objective, Problem
from problems.serving._batching.hidden import HIDDEN
from problems.serving._fair.claims import CLAIMS
from problems.serving._fair.engine import fair_batching
from problems.serving._fair.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._fair.rules import RULES
from problems.serving._fair.suites import SPLITS, on_host, probes, suite
from problems.serving._fair.views import Client, Prefix, Service
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Serving, make_instance
from problems.serving._server.objectives import DECISION_TIME, NORMALISED_LATENCY, P99_TTFT
from problems.serving._server.replay import verify
from problems.serving._server.trace import explain, narrate
from problems.serving._server.views import Request
from problems.serving._traces.reader import FORMAT, read

__all__ = ["PROBLEM", "Client", "Prefix", "Request", "Service", "Serving", "Timeline", "make_instance"]

STATEMENT = """\
Eight clients share a server that runs a large language model. How much each asks for is unequal: a few send most of
the requests. A request has a prompt, whose tokens are *prefilled*, and then *decodes*: one output token a step, until
the output ends. Its true length is unknown; `predicted_output` is off by a factor of about 1.6 either way. Running
requests hold KV cache; when none is free, requests wait.

A prompt begins with a document of the client (`prefix.tokens`), and then asks about it. The server keeps documents
that were used last; of a request about a kept one (`prefix.cached` tokens) only the rest is computed. Which documents
are kept changes with every admission: requests about the same document are cheap one after the other.

Three hooks decide; all else is fixed (2048 tokens a step, decoding goes on, the latest request is preempted):

- `order(request, client, prefix)`: for each waiting request; the **lowest** is admitted if its blocks are free (ties:
  arrival), then all are asked again, until the first of them does not fit.
- `charge(service, client)`: what is **added to the client's counter**: for the prompt of a request when it is
  first admitted (before the next one is chosen), and for output, added up since the last look at the queue.
- `lift(client)`: the **new counter** of a client that had nothing waiting when a request of it arrives.
  `client.least` is the least counter of those that wait: a client that stays below it takes all for a while.

Objectives: the **service gap**, the largest difference of service (uncached prompt tokens, and twice the output)
between two clients over any time in which both had requests waiting; the tail of the time to first token over all
requests; and mean latency per output token. Loads go from 80 % of what the server can do to 60 % beyond it. A rule is
also judged on other GPUs, other models, other loads, worse predictions and burstier arrivals.
"""

PROBLEM = Problem(
    module=__name__,
    title="Fair sharing among clients, with shared prefixes",
    statement=STATEMENT,
    hooks=(
        Hook("order", {"request": Request, "client": Client, "prefix": Prefix}, "The lowest is admitted next."),
        Hook("charge", {"service": Service, "client": Client}, "Added to the client's counter."),
        Hook("lift", {"client": Client}, "The counter of a client whose first waiting request arrives."),
    ),
    objectives=(
        Objective(
            "service_gap",
            "Largest difference of service between waiting clients",
            "ktoken",
            "mean",
            "service_gap",
            resolution=0.01,
            relative=True,
        ),
        P99_TTFT,
        NORMALISED_LATENCY,
        DECISION_TIME,
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": fair_batching},
    solution=Timeline,
    decisions=lambda data: len(data.requests.arrival_s),
    verify=verify,
    measure=measure,
    raw_units=RAW_UNITS,
    lower_bounds=lower_bounds,
    baselines=RULES,
    read=partial(read, build=on_host),
    format=FORMAT,
    claims=CLAIMS,
    explain=explain,
    narrate=narrate,
    hidden=HIDDEN,
)
