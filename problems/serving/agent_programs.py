"""Programs of LLM calls on one server: which calls run, and what of a program stays in the KV cache meanwhile.

An agent, a research assistant or a query workflow is a *program*: calls of a language model that wait for one
another, with tools that run between them [1]_. A call is released when all calls before it have finished and its
tool has returned. Its prompt often goes on from the context of a call before it; if that is still in the KV
cache, only what is new is computed [2]_. Calls are batched as in vLLM v1: in order of a rule, while their prompts
fit, 2048 tokens a step.

A rule decides in three places: the order of calls, how long the context of a program is pinned while a tool
runs, and which context gives way where memory is short. Minimised are the mean completion time of programs (JCT,
tools included) and that of the worst 5 %; the share of programs that take no more than twice what they would take
alone is maximised.

References
----------
.. [1] Luo et al. (2025), "Autellix: an efficient serving engine for LLM agents as general programs", arXiv.
.. [2] "Continuum: efficient and robust multi-turn LLM agent scheduling with KV cache time-to-live" (2025), arXiv.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Objective, Problem
from problems.serving._programs.claims import CLAIMS
from problems.serving._programs.data import Agents, make_calls, make_instance
from problems.serving._programs.engine import agent_programs
from problems.serving._programs.hidden import HIDDEN
from problems.serving._programs.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._programs.reader import FORMAT, read
from problems.serving._programs.replay import verify
from problems.serving._programs.rules import RULES
from problems.serving._programs.suites import SPLITS, probes, suite
from problems.serving._programs.views import Call, Context, Server
from problems.serving._server.engine import Timeline

__all__ = ["PROBLEM", "Agents", "Call", "Context", "Server", "Timeline", "make_calls", "make_instance"]

STATEMENT = """\
A server runs a large language model for *programs*: coding agents (a chain of calls with tools between them),
research assistants (a plan, parallel branches that fetch pages, a report) and text-to-SQL workflows (stages of
parallel calls). A call is released when the calls before it have finished and its tool has returned. How many calls
a program still has, how long outputs will be and how long a tool takes are unknown; predictions are off by factors
of about two.

A call has a prompt, whose tokens are computed together (`token_time` each), and then decodes, one token a step; a
step takes a few to tens of milliseconds, almost the same for one call as for dozens. All tokens of running calls lie
in the KV cache. When a call has finished and another goes on from its context, the context stays in the cache
(*parked*): if it is still there when that call is admitted, only what is new has to be computed. Parked contexts of
up to 20,000 tokens compete with running calls for memory.

Three hooks decide:

- `order(call, server)`: before admissions, for each waiting call; the **lowest** is first (ties: the earlier call).
  From the front calls are admitted while their prompts fit (with what may be evicted). When decoding needs blocks and
  no context can be evicted, the running call with the **highest** value is preempted and computed anew later.
- `keep(context, server)`: when a call has finished: for so many seconds its context is **pinned** and cannot be
  evicted; 0 or less: it may be. If the tool returns in time, the pin holds until the next call is admitted. Pins hold
  as long as two calls run at least.
- `evict(context, server)`: when blocks are needed: the parked, unpinned context with the **highest** value goes.

The queue is looked at when something has changed, and every 16 steps of pure decoding. A look costs 5 us and 0.1 us
per waiting call. What is unfinished at the end of the simulation counts as if it had run until then.

The completion time of a program counts from its arrival to the end of its last call, tools included. Loads go from
half of what the server can do to 15 % beyond it. A rule is also judged on other GPUs, models and loads, worse
predictions, burstier arrivals and slower tools: compare tokens with `capacity`, times with `mean_service` and
`decode_step`, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Programs of LLM calls, completion time",
    statement=STATEMENT,
    hooks=(
        Hook("order", {"call": Call, "server": Server}, "Place in the waiting queue; the lowest is first."),
        Hook("keep", {"context": Context, "server": Server}, "Seconds for which the context is pinned."),
        Hook("evict", {"context": Context, "server": Server}, "The context with the highest is evicted."),
    ),
    objectives=(
        Objective(
            "mean_jct", "Mean completion time of programs", "s", "mean", "mean_jct", resolution=0.005, relative=True
        ),
        Objective(
            "worst_jct",
            "Mean completion time of the worst 5 %",
            "s",
            "mean",
            "worst_jct",
            resolution=0.01,
            relative=True,
        ),
        Objective(
            "slo_attainment",
            "Programs within twice their time alone",
            "%",
            "mean",
            "slo_attainment",
            direction="max",
            resolution=0.1,
        ),
        Objective("decision_time", "Time per call", "ns", "decision_time", resolution=0.25, relative=True),
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": agent_programs},
    solution=Timeline,
    decisions=lambda data: len(data.requests.program),
    verify=verify,
    measure=measure,
    raw_units=RAW_UNITS,
    lower_bounds=lower_bounds,
    baselines=RULES,
    read=read,
    format=FORMAT,
    claims=CLAIMS,
    hidden=HIDDEN,
)
