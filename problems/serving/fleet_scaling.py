"""The size of a fleet that serves a language model: instances paid for against promises broken.

Instances of one kind or two serve requests whose rate changes over the day, and in bursts. At each tick a rule says
how many are wanted; a new one loads its weights first, one that is stopped ends what it has [1]_. To follow the
load saves what idle instances cost, and breaks promises where it comes too late; the oldest rules hold a margin
of a root of the load [2]_, those of container platforms hold utilisation at a target [3]_.

Minimised is the cost: what instances cost, and a penalty for each request whose promise is not kept; then the time
paid for. The share of promises that are kept is maximised.

References
----------
.. [1] Sun et al. (2024), "Llumnix: dynamic scheduling for large language model serving", OSDI.
.. [2] Halfin and Whitt (1981), "Heavy-traffic limits for queues with many exponential servers", Operations
   Research 29(3):567-588.
.. [3] Kubernetes documentation, "Horizontal Pod Autoscaling".
"""

from __future__ import annotations

from functools import partial

from problems.problem import Hook, Objective, Problem
from problems.serving._cluster.views import Instance, Request
from problems.serving._fleet.claims import CLAIMS
from problems.serving._fleet.data import Elastic, make_elastic
from problems.serving._fleet.engine import Scaling
from problems.serving._fleet.engine import fleet_scaling as simulate
from problems.serving._fleet.hidden import HIDDEN
from problems.serving._fleet.metrics import RAW_UNITS, lower_bounds, measure
from problems.serving._fleet.reader import FORMAT, read
from problems.serving._fleet.rules import RULES
from problems.serving._fleet.suites import SPLITS, probes, suite
from problems.serving._fleet.trace import explain, narrate
from problems.serving._fleet.verify import verify
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._server.objectives import DECISION_TIME, SLO_ATTAINMENT

__all__ = ["PROBLEM", "Elastic", "Fleet", "Instance", "Pool", "Request", "Scaling", "make_elastic"]

STATEMENT = """\
A fleet of instances runs one large language model, in one pool of equal instances or in two pools on different GPUs.
The rate of requests swings over a day of eight minutes, with bursts in which it is two to four times as high.

Every 5 s `scale(pool, fleet)` is asked about each pool, and returns how many instances are **wanted** there: rounded,
and at least `pool.least`, at most `pool.most`. An instance that is started takes requests after `pool.load_time`
(10 to 20 s). Those stopped are first the ones that still load, then those with the fewest requests: they take nothing
new, end what they have, and are gone; they are not called back. Each is paid for, `pool.price` dollars an hour, from
its start until it has drained.

The cost to be minimised is what is paid for instances, and `fleet.penalty` dollars for each request whose promise is
not kept, which is ten times what it costs to serve one in a full fleet; it is compared with a lower bound. Requests
that are unfinished at the end count as not kept. Promises: 1 or 5 s to the first token and 0.1 s for each further one
for two of three requests, five and three times that for the others.

`route(request, instance)` is asked about every instance that is up, and the request goes to the one with the **lowest**
score (ties: the lower number). An instance serves first come, first served, decodes one token for each running request
a step, and fills the step with prompt tokens up to 2048. `queue_time` + `prefill_time` is about the time to the first
token there. In one of three scenarios prompts repeat earlier ones, which are cached where those ran (`cached_tokens`).

Reports are up to 50 ms old. `pool.offered_short` and `offered_long` say how many **full** instances the requests sent
to the pool within 15 and 90 s ask for; promises are kept well below that, at 50 to 80 %. True output lengths are
unknown (predictions are off by a factor of about 1.6), and so is what will arrive. A rule is also judged on other
GPUs, other models, other loads, worse predictions, burstier arrivals, and where instances fail: compare times with
times, and instances with instances, rather than with constants.
"""

PROBLEM = Problem(
    module=__name__,
    title="Fleet scaling, cost of instances and of broken promises",
    statement=STATEMENT,
    hooks=(
        Hook("scale", {"pool": Pool, "fleet": Fleet}, "Asked about each pool at a tick: instances wanted, rounded."),
        Hook(
            "route",
            {"request": Request, "instance": Instance},
            "Asked about each instance that is up; the request goes to the one with the lowest.",
        ),
    ),
    objectives=(
        Objective("cost", "Cost with penalties, over its bound", "%", "gap", "cost", resolution=0.5),
        Objective("instance_time", "Instance time paid, of all places", "%", "mean", "instance_time", resolution=0.1),
        SLO_ATTAINMENT,
        DECISION_TIME,
    ),
    splits={split: partial(suite, split) for split in SPLITS},
    probes=probes,
    simulators={"fleet": simulate},
    solution=Scaling,
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
