"""What migration rules see of a server and of a request. True output lengths are in neither."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Server(NamedTuple):
    """A server as it is after its last step that has ended."""

    number: Annotated[float, "count", "of servers before it"]
    servers: Annotated[float, "count", "of the cluster"]
    waiting: Annotated[float, "count", "requests in its queue"]
    decoding: Annotated[float, "count", "requests that generate output"]
    prefilling: Annotated[float, "count", "requests whose prompt is being computed"]
    urgent: Annotated[float, "count", "requests of priority 0 among those that run or wait"]
    context: Annotated[float, "token", "KV cache that one decode step reads"]
    free: Annotated[float, "token", "KV cache that running requests do not hold"]
    capacity: Annotated[float, "token", "KV cache in all, > 0"]
    first_needs: Annotated[float, "token", "KV cache that the first of its queue takes, if nothing is cached; 0: none"]
    first_waited: Annotated[float, "s", "since that one joined the queue; 0: there is none"]
    queue_tokens: Annotated[float, "token", "to compute for all that waits, if nothing is cached"]
    queue_time: Annotated[float, "s", "estimated, to prefill all that it has to"]
    output_left: Annotated[float, "token", "predicted output still to come of all its requests"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes what is decoding, or one request"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]


class Job(NamedTuple):
    """A request that may move: it decodes, or it waits."""

    waiting: Annotated[float, "1", "1: it is in the queue, 0: it decodes"]
    context: Annotated[float, "token", "KV cache that it has, 0 if it waits"]
    prefill_left: Annotated[float, "token", "to compute before its next token, 0 if it decodes"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    generated: Annotated[float, "token", "output so far"]
    predicted_left: Annotated[float, "token", "predicted output still to come, at least 1"]
    age: Annotated[float, "s", "since it arrived"]
    idle: Annotated[float, "s", "since its last token; since it joined the queue if it waits"]
    preemptions: Annotated[float, "count", "how often it has been preempted, here or elsewhere"]
    copy_time: Annotated[float, "s", "to copy its KV cache to the target while it goes on; 0 if it waits"]
    priority: Annotated[float, "1", "class of service, 0 the most urgent"]
    ttft_slo: Annotated[float, "s", "promised time to the first token, at most 1e6"]
    tpot_slo: Annotated[float, "s", "promised time per further token, at most 1e6"]
