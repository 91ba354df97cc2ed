"""What a rule sees of a pool of instances, and of the fleet. Nothing that is to come is in either."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Pool(NamedTuple):
    """Instances of one kind, as they last reported, and what the router has sent to them since."""

    number: Annotated[float, "count", "of pools before it"]
    least: Annotated[float, "count", "instances that are wanted at least, >= 1"]
    most: Annotated[float, "count", "instances that there is place for"]
    wanted: Annotated[float, "count", "instances wanted at the tick before; at first, those that are up"]
    up: Annotated[float, "count", "instances that take requests"]
    loading: Annotated[float, "count", "instances that will be up"]
    draining: Annotated[float, "count", "instances that end what they have and take nothing new"]
    next_up: Annotated[float, "s", "until the next of those that load is up; 0: none loads"]
    load_time: Annotated[float, "s", "from the decision until a new instance is up"]
    price: Annotated[float, "$/h", "of an instance, from the decision to start it until it has drained"]
    since_start: Annotated[float, "s", "since an instance was last started, at most 1e6"]
    since_stop: Annotated[float, "s", "since an instance was last stopped, at most 1e6"]
    waiting: Annotated[float, "count", "requests in the queues of those that are up"]
    running: Annotated[float, "count", "requests that those that are up prefill or decode"]
    sent: Annotated[float, "count", "requests sent to them since their reports"]
    free: Annotated[float, "token", "KV cache of those that are up that running requests do not hold"]
    capacity: Annotated[float, "token", "KV cache of one instance, > 0"]
    remaining_steps: Annotated[
        float, "block", "free for each of its requests after what waits, mean of those that are up"
    ]
    output_left: Annotated[float, "token", "predicted output still to come of all their requests"]
    queue_time: Annotated[float, "s", "estimated, to prefill all that is queued, summed over those that are up"]
    longest_queue: Annotated[float, "s", "the same of the instance with the longest"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes, mean of those that are up"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]
    request_time: Annotated[
        float, "s", "of a full instance that a request takes, estimated, mean of those sent here in the long window"
    ]
    offered_short: Annotated[float, "count", "full instances that requests sent here in the short window ask for"]
    offered_long: Annotated[float, "count", "the same for the long window"]


class Fleet(NamedTuple):
    """All pools, and what arrives."""

    now: Annotated[float, "s since start", "time"]
    tick: Annotated[float, "s", "until the next decision, > 0"]
    pools: Annotated[float, "count", "of instances, each asked about by itself"]
    short_window: Annotated[float, "s", "over which short rates are measured, > 0"]
    long_window: Annotated[float, "s", "over which long rates are measured, > 0"]
    rate_short: Annotated[float, "1/s", "requests that arrived in the short window"]
    rate_long: Annotated[float, "1/s", "requests that arrived in the long window"]
    prompt: Annotated[float, "token", "mean prompt of those of the long window, 0 if there are none"]
    output: Annotated[float, "token", "mean predicted output of those of the long window, 0 if there are none"]
    backlog: Annotated[float, "count", "requests that the router has not sent yet"]
    up: Annotated[float, "count", "instances that take requests, in all pools"]
    loading: Annotated[float, "count", "instances that will be up, in all pools"]
    waiting: Annotated[float, "count", "requests in queues, in all pools"]
    running: Annotated[float, "count", "requests that are prefilled or decoded, in all pools"]
    penalty: Annotated[float, "$", "for a request whose promise is not kept"]
