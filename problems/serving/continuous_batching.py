"""Continuous batching on one server: which requests run, and what each step computes.

Requests for text arrive over time at one server, a model on one or several GPUs. The prompt of a request
is *prefilled* (all its tokens can be computed together), which yields its first output token; then it
*decodes*, one token a step, until its output ends: nobody knows beforehand where. All tokens so far lie in
the KV cache, in blocks of 16 tokens. The server works in steps; a step computes prompt tokens and one
token for each decoding request, and its duration follows from the roofline of the GPU [1]_.

A rule decides in four places: the order of the waiting queue, whether the first of it is admitted to the
batch, how many prompt tokens the next step computes, and which request is preempted where blocks run out;
a preempted request loses its KV cache and is computed anew [2]_. Minimised are normalised latency
(mean of latency over output length [3]_) and the 99th percentile of the time to first token; the share of
requests whose promises are kept is maximised.

References
----------
.. [1] Agrawal et al. (2024), "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", OSDI.
.. [2] Kwon et al. (2023), "Efficient memory management for large language model serving with
   PagedAttention", SOSP.
.. [3] Yu et al. (2022), "Orca: a distributed serving system for Transformer-based generative models", OSDI.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Problem
from problems.serving._batching.claims import CLAIMS
from problems.serving._batching.hidden import HIDDEN
from problems.serving._batching.rules import RULES
from problems.serving._batching.suites import SPLITS, probes, suite
from problems.serving._server.engine import Timeline, continuous_batching
from problems.serving._server.machine import Serving, make_instance
from problems.serving._server.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._server.objectives import DECISION_TIME, NORMALISED_LATENCY, P99_TTFT, SLO_ATTAINMENT
from problems.serving._server.replay import verify
from problems.serving._server.trace import explain, narrate
from problems.serving._server.views import Memory, Request, Server
from problems.serving._traces.reader import FORMAT, read

__all__ = ["PROBLEM", "Memory", "Request", "Server", "Serving", "Timeline", "make_instance"]

STATEMENT = """\
A server runs a large language model. Requests arrive over time; each has a prompt, whose tokens are *prefilled*
(computed together, in one step or in several), and then *decodes*: one output token a step, until the output ends. Its
true length is unknown; `predicted_output` is off by a factor of about 1.6 either way. All tokens of running requests
lie in the KV cache (blocks of 16 tokens); memory, more than speed, limits how many can run.

Time goes in steps. A step costs a few milliseconds of overhead, the reading of all weights (tens of milliseconds), a
little for each context token that is decoded, and `token_time` for each prompt token beyond a few hundred. So
decoding many requests together is almost free, a long prompt holds up all that decode beside it, and a request that
is refused waits.

Four hooks decide:

- `order(request, server)`: before admissions, for each waiting request; the **lowest** is first (ties: arrival).
- `admit(request, server, memory)`: for the first of the queue. **Positive: admitted** to the batch if its blocks are
  free (else it and all behind it wait); **0: passed over**, the next one is asked; **negative: that was all** for now.
  `memory` says what the KV cache would hold with it. Admitting too much ends in preemptions, too little in waiting.
- `chunk(server)`: while admitted prompts are not done: prompt tokens of the next step (16 at least), by admission.
  **Positive: decoding goes on beside them; negative: that many, and decoding pauses; 0: only decoding.**
- `evict(request, server)`: when decoding needs a block and none is free: the running request with the **highest**
  value is preempted; it loses its KV cache, waits again, and prompt and output so far are computed anew.

The queue is looked at when something has changed, and every 16 steps of pure decoding. A look costs 5 us and 0.1 us
per waiting request. What is refused or unfinished at the end of the simulation counts as if it had run until then.

Promises: interactive requests (priority 0) a first token within 2 s and 0.1 s for each further one; others (priority 1)
20 s and 0.3 s. Loads go from 60 % of what the server can do to 15 % beyond it. A rule is also judged on other GPUs,
other models, other loads, worse predictions and burstier arrivals: compare tokens with `capacity`, times with
`decode_step` and `token_time`, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Continuous batching, latency and promises",
    statement=STATEMENT,
    hooks=(
        Hook("order", {"request": Request, "server": Server}, "Place in the waiting queue; the lowest is first."),
        Hook(
            "admit",
            {"request": Request, "server": Server, "memory": Memory},
            "Positive admits the request, 0 passes over it, negative ends admissions for now.",
        ),
        Hook(
            "chunk",
            {"server": Server},
            "Prompt tokens of the next step: beside decoding if positive, instead of it if negative.",
        ),
        Hook("evict", {"request": Request, "server": Server}, "The running request with the highest is preempted."),
    ),
    objectives=(NORMALISED_LATENCY, P99_TTFT, SLO_ATTAINMENT, DECISION_TIME),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": continuous_batching},
    solution=Timeline,
    decisions=lambda data: len(data.requests.arrival_s),
    verify=verify,
    measure=measure,
    raw_units=RAW_UNITS,
    lower_bounds=lower_bounds,
    baselines=RULES,
    read=read,
    format=FORMAT,
    claims=CLAIMS,
    explain=explain,
    narrate=narrate,
    hidden=HIDDEN,
)
