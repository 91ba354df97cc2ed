"""What a router sees of a request and of each server. True output lengths are in neither."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Request(NamedTuple):
    """The request that is to be sent somewhere."""

    number: Annotated[float, "count", "of requests before it"]
    now: Annotated[float, "s since start", "time"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    predicted_output: Annotated[float, "token", "predicted length of its output, > 0; wrong by a factor of about two"]
    ttft_slo: Annotated[float, "s", "promised time to the first token, at most 1e6"]
    tpot_slo: Annotated[float, "s", "promised time per further token, at most 1e6"]
    priority: Annotated[float, "1", "class of service, 0 the most urgent"]
    prefix_hash: Annotated[float, "1", "of its system prompt, a whole number below 2**32"]
    session_hash: Annotated[float, "1", "of its conversation, or else its system prompt; a whole number below 2**32"]
    longest_cached: Annotated[float, "token", "the most that any server has of its prompt"]
    shortest_queue: Annotated[float, "s", "the least queue_time of all servers"]
    longest_queue: Annotated[float, "s", "the greatest queue_time of all servers"]
    fastest_prefill: Annotated[float, "s", "the least prefill_time of all servers"]


class Instance(NamedTuple):
    """A server, as it last reported, and what the router has sent to it since."""

    number: Annotated[float, "count", "of servers before it"]
    instances: Annotated[float, "count", "servers that can be chosen"]
    age: Annotated[float, "s", "time since its report"]
    waiting: Annotated[float, "count", "requests in its queue"]
    decoding: Annotated[float, "count", "requests that generate output"]
    prefilling: Annotated[float, "count", "requests whose prompt is being computed"]
    sent: Annotated[float, "count", "requests sent to it since its report"]
    context: Annotated[float, "token", "KV cache that one decode step reads"]
    free: Annotated[float, "token", "KV cache that running requests do not hold"]
    capacity: Annotated[float, "token", "KV cache in all, > 0"]
    output_left: Annotated[float, "token", "predicted output still to come of all its requests, sent ones included"]
    queue_time: Annotated[float, "s", "estimated, to prefill all that it has to, sent requests included"]
    prefill_time: Annotated[float, "s", "estimated, to prefill what it has not cached of this request"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes what is decoding, or one request"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]
    cached_tokens: Annotated[float, "token", "of this request's prompt, in its prefix cache"]
    hash_1: Annotated[float, "count", "places on the ring of servers after the one that session_hash names; 0: it"]
    hash_2: Annotated[float, "count", "the same for a second hash, which names another server"]
    draw_1: Annotated[float, "count", "the same for a server drawn at random for this request"]
    draw_2: Annotated[float, "count", "the same for a second draw, of another server"]
