"""What rules see of requests, server and memory. True output lengths are in none of them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

# Stands for "no promise": a slack that never matters, and yet a number.
NO_PROMISE_S = 1e6
# Before the first request has finished.
MEAN_OUTPUT_AT_START = 256.0


class Request(NamedTuple):
    """A request, waiting or running."""

    waiting: Annotated[float, "s", "since its arrival"]
    queued: Annotated[float, "s", "since it last joined the waiting queue"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    prefill_left: Annotated[float, "token", "still to prefill; after a preemption what was generated counts too"]
    generated: Annotated[float, "token", "output so far"]
    predicted_output: Annotated[float, "token", "predicted length of its output, > 0; wrong by a factor of about two"]
    predicted_left: Annotated[float, "token", "predicted output less generated, at least 1"]
    held: Annotated[float, "token", "KV cache it holds, 0 while it waits"]
    preemptions: Annotated[float, "count", "how often it has been preempted"]
    slack: Annotated[float, "s", "until its next token is due by its promise, < 0: late; 1e6 if nothing is promised"]
    tpot_slo: Annotated[float, "s", "promised time per output token, at most 1e6"]
    priority: Annotated[float, "1", "class of service, 0 the most urgent"]


class Server(NamedTuple):
    """The server as a whole."""

    now: Annotated[float, "s since start", "time"]
    waiting: Annotated[float, "count", "requests in the waiting queue"]
    waiting_tokens: Annotated[float, "token", "prefill that the waiting queue needs"]
    decoding: Annotated[float, "count", "running requests that generate output"]
    prefilling: Annotated[float, "count", "running requests whose prompt is not done"]
    prefill_left: Annotated[float, "token", "what is left of those prompts"]
    context: Annotated[float, "token", "KV cache that one decode step reads"]
    free: Annotated[float, "token", "KV cache that is free"]
    capacity: Annotated[float, "token", "KV cache in all, > 0"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes what is decoding now"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]
    max_output: Annotated[float, "token", "longest output that any request may have"]
    mean_output: Annotated[float, "token", "mean output of the requests that have finished, 256 before the first"]


class Memory(NamedTuple):
    """KV cache if the request in question were admitted, all in tokens."""

    needed: Annotated[float, "token", "blocks that the request takes at once"]
    used_after: Annotated[float, "token", "held by all running requests, once all admitted prompts are in"]
    predicted_total: Annotated[float, "token", "if each running request kept all of its predicted length at once"]
    predicted_peak: Annotated[float, "token", "most that is ever held, if each finishes at its predicted length"]
    reserved: Annotated[float, "token", "if each running request were to reach the longest output"]
