"""Preemption on one server: urgent requests beside long ones that can wait.

A server for a language model works in steps, as in serving/continuous_batching. Two classes of requests come:
urgent ones, short, with a tight promise for the first token, and best effort ones with long prompts. A long
prompt makes a long step, and whoever comes meanwhile waits for its end, unless the step can be *cut*: it is a
row of operators (layers), and between two of them others may go before [1]_ [2]_. Between steps a running
request can be preempted for another one; its KV cache is computed anew or swapped to the host and back [3]_,
which takes as many copies as there are contiguous pieces, and then the bytes over the link [4]_.

A rule ranks requests, admits them (in place of others, if need be), sets the prompt tokens of a step, cuts
steps, and says what becomes of a preempted cache. The share of requests whose promises are kept is maximised;
the 99th percentile of the time to first token of urgent requests and the normalised latency of the others are
minimised.

References
----------
.. [1] "FlowPrefill" (2026): preemption of prefill at operator boundaries, scheduled at arrivals and ends.
.. [2] Siddique et al. (2025), "Priority-aware preemptive scheduling for mixed-priority workloads in MoE
   inference" (QLLM), EuroMLSys.
.. [3] Zhao and Wang (2024), "ALISE: accelerating large language model serving with speculative scheduling", ICCAD.
.. [4] Shen et al. (2024), "FastSwitch: optimizing context switching efficiency in fairness-aware large language
   model serving", arXiv:2411.18424.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Objective, Problem
from problems.serving._batching.hidden import HIDDEN
from problems.serving._preemption.claims import CLAIMS
from problems.serving._preemption.engine import preemptive_batching
from problems.serving._preemption.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._preemption.rules import RULES
from problems.serving._preemption.suites import SPLITS, on_host, probes, suite
from problems.serving._preemption.views import Cache, Step
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Serving, make_instance
from problems.serving._server.objectives import DECISION_TIME, SLO_ATTAINMENT
from problems.serving._server.replay import verify
from problems.serving._server.trace import explain, narrate
from problems.serving._server.views import Request, Server
from problems.serving._traces.reader import FORMAT, read

__all__ = ["PROBLEM", "Cache", "Request", "Server", "Serving", "Step", "Timeline", "make_instance"]

STATEMENT = """\
A server runs a large language model. Requests arrive over time; each has a prompt, whose tokens are *prefilled*
(computed together, in one step or in several), and then *decodes*: one output token a step, until the output ends. Its
true length is unknown; `predicted_output` is off by a factor of about 1.6 either way. All tokens of running requests
lie in the KV cache (blocks of 16 tokens).

Two classes: **urgent** requests (priority 0, prompts up to 2048 tokens) are promised a first token within 0.5 s and
0.1 s for each further one; **best effort** (priority 1, prompts up to 16384 tokens) 15 s and 0.5 s. A step costs a
few milliseconds, the reading of all weights (tens of milliseconds), and `token_time` for each prompt token beyond a few
hundred: a long prompt in one step takes a second or more. Prompts in small chunks hold nobody up for long, but take
more time in all.

Five hooks decide:

- `order(request, server)`: rank; the **lowest** is first (ties: arrival). Asked for all that waits and for
  prompts in progress when something has changed; for running requests, when one has to be preempted: the last goes.
- `admit(request, server, cache)`: for the first of the queue. **Above 1: admitted, and if it has no room, running
  requests that stand behind it are preempted; up to 1: admitted if there is room** (else it and all behind it wait);
  **0: passed over**; **negative: that was all** for now.
- `chunk(server)`: while admitted prompts are not done: prompt tokens of the next step (16 at least), by rank.
  **Positive: decoding goes on beside them; negative: that many, and decoding pauses; 0: only decoding.**
- `cut(request, step)`: **positive: the request goes before the step.** Asked for each request that arrives during a
  step with prompts, at the next boundary between operators: the step is cut there, and its requests keep their blocks
  and wait. Then asked before each step for all that runs; when none goes before, the step goes on. Both ends cost half
  of `step.cost`. Only one step at a time waits like that, and those that run meanwhile are not cut.
- `save(request, cache)`: of a preempted request: **positive: its cache is swapped to the host** (`cache.move`, and
  again when it comes back: the server waits for both); else it is lost, and prompt and output so far are computed anew.

A look at the queue costs 5 us and 0.1 us per waiting request. What is refused or unfinished at the end of the
simulation counts as if it had run until then. Loads go from 60 % of what the server can do to 15 % beyond it. A rule is
also judged on other GPUs, other models, other loads, worse predictions and burstier arrivals: compare tokens with
`capacity`, times with `decode_step`, `token_time`, `step.left` and `slack`, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Preemption within and between steps, two classes",
    statement=STATEMENT,
    hooks=(
        Hook("order", {"request": Request, "server": Server}, "Rank; the lowest is first, and the last is preempted."),
        Hook(
            "admit",
            {"request": Request, "server": Server, "cache": Cache},
            "Above 1 admits, in place of others behind it; positive admits if it fits; 0 passes over; negative ends.",
        ),
        Hook(
            "chunk",
            {"server": Server},
            "Prompt tokens of the next step: beside decoding if positive, instead of it if negative.",
        ),
        Hook("cut", {"request": Request, "step": Step}, "Positive: the request goes before the step, which is cut."),
        Hook("save", {"request": Request, "cache": Cache}, "Positive: a preempted cache is swapped out, else lost."),
    ),
    objectives=(
        SLO_ATTAINMENT,
        Objective(
            "urgent_p99_ttft",
            "99th percentile of time to first token, urgent",
            "s",
            "mean",
            "urgent_p99_ttft",
            resolution=0.01,
            relative=True,
        ),
        Objective(
            "best_effort_latency",
            "Mean latency per output token, best effort",
            "ms/token",
            "mean",
            "best_effort_latency",
            resolution=0.005,
            relative=True,
        ),
        DECISION_TIME,
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"one-server": preemptive_batching},
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
