"""Prefill and decode on instances of their own: where each phase of a request runs, and what each instance does.

Computing a prompt keeps a GPU busy for as long as tens of decode steps, so requests that decode beside it are held
up, and both promises, on the time to the first token and on the time per further token, are hard to keep on one
instance. Disaggregated serving gives each phase instances of its own, and moves the KV cache of each request from
one to the other [1]_ [2]_. Then instances of one kind may idle while the others have too much to do: their number
must suit the load [3]_, and who is sent where must suit what is there [4]_.

Minimised is the mean over requests of the larger of the time to first token over its promise and the time per further
token over its own: it is 1 where both are just kept, and says for a request that is late by how much. The
share of requests that keep both, the usual goodput, is an objective besides; alone it is flat where all or
none are kept, and there a search would not see which rule is closer.

References
----------
.. [1] Zhong et al. (2024), "DistServe: disaggregating prefill and decoding for goodput-optimized large language model
   serving", OSDI.
.. [2] Patel et al. (2024), "Splitwise: efficient generative LLM inference using phase splitting", ISCA.
.. [3] Jin et al. (2024), "P/D-Serve: serving disaggregated large language model at scale", arXiv:2408.08147.
.. [4] Hu et al. (2024), "Inference without interference: disaggregate LLM inference for mixed downstream workloads",
   arXiv:2401.11181.
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Objective, Problem
from problems.serving._disaggregation.claims import CLAIMS
from problems.serving._disaggregation.data import Deployment, make_deployment
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.engine import prefill_decode as simulate
from problems.serving._disaggregation.hidden import HIDDEN
from problems.serving._disaggregation.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._disaggregation.reader import FORMAT, read
from problems.serving._disaggregation.replay import verify
from problems.serving._disaggregation.rules import RULES
from problems.serving._disaggregation.suites import SPLITS, probes, suite
from problems.serving._disaggregation.trace import explain, narrate
from problems.serving._disaggregation.views import Cluster, Instance, Request
from problems.serving._server.objectives import DECISION_TIME, SLO_ATTAINMENT

__all__ = ["PROBLEM", "Cluster", "Deployment", "Disaggregation", "Instance", "Request", "make_deployment"]

STATEMENT = """\
Several instances run the same large language model, on GPUs of one kind or two. Each has a role: it prefills, it
decodes, or it does both.

1. When a request arrives, `prefill(request, instance)` is asked about each instance that prefills (or does both); the
   request goes to the one with the **lowest** score (ties: the first) and queues there, first come, first served.
2. An instance that only prefills computes whole prompts, as many in a step as fit 2048 tokens. At the end of the step
   each puts out its first token, and `decode(request, instance)` is asked about each instance that decodes (or does
   both); the lowest gets it. Its KV cache is moved there: over the link of both, one transfer at a time, and only once
   there is room for it, in the order of decisions. Until it has left it takes memory where it was prefilled.
3. An instance that decodes puts out a token for each of its requests in each step. Where memory runs out, the latest
   request is preempted, and computed anew on the spot. An instance that does both decodes what it has prefilled, and
   what is handed to it, and fills each step with prompt tokens up to 2048: nothing is moved, but steps take longer.
4. Every second `role(instance, cluster)` is asked about each instance in order: **above 0.5** it shall prefill, **below
   -0.5** decode, in between do both; `instance.role` leaves it as it is. An instance that changes takes nothing new,
   finishes what it has, and is back half a second later. At time 0, before anything has come, roles change at once
   (`cluster.now` is 0 then). A change that would leave nobody to prefill or nobody to decode is not made.

Instances are known by reports, taken every 50 ms and 5 ms on their way, and by what was sent and handed to them since.
A decision takes 50 us. True output lengths are unknown; `predicted_output` is off by a factor of about 1.6 either way.

`prompt_time` and `output_time` say what a mean request of the last seconds costs an instance in either phase: of n
instances, n prompt_time / (prompt_time + output_time) can prefill as many requests a second as the others decode.
`place` numbers the instances that can be chosen, `turn` the decisions: (place - turn) % instances is round robin.

Requests that are unfinished at the end of the simulation count as if they had run until then. Promises: 1 or 2 s to the
first token and 0.05 to 0.1 s for each further one for two of three requests (priority 0), five and three times that for
the others. Loads go from 60 % of what the instances can do to 10 % beyond it; in some instances long prompts with short
outputs and short prompts with long ones take turns. A rule is also judged on other GPUs, other models, other loads,
worse predictions and burstier arrivals: compare times with times, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Separate prefill and decode, promises on first and further tokens",
    statement=STATEMENT,
    hooks=(
        Hook(
            "prefill",
            {"request": Request, "instance": Instance},
            "Asked about each instance that prefills; the request goes to the one with the lowest.",
        ),
        Hook(
            "decode",
            {"request": Request, "instance": Instance},
            "Asked about each instance that decodes, when the prompt is done; the one with the lowest gets it.",
        ),
        Hook(
            "role",
            {"instance": Instance, "cluster": Cluster},
            "Above 0.5: it shall prefill; below -0.5: decode; in between: both. instance.role: as it is.",
        ),
    ),
    objectives=(
        Objective(
            "promise_ratio",
            "Times over what was promised, the larger of both",
            "1",
            "mean",
            "promise_ratio",
            resolution=0.005,
            relative=True,
        ),
        SLO_ATTAINMENT,
        Objective(
            "p99_tpot",
            "99th percentile of time per further token",
            "s",
            "mean",
            "p99_tpot",
            resolution=0.01,
            relative=True,
        ),
        DECISION_TIME,
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"deployment": simulate},
    solution=Disaggregation,
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
"""Several instances with roles, and links between them."""
