"""What rules see of a request, an instance and the whole. True output lengths are in none of them."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Request(NamedTuple):
    """The request that is to be prefilled or decoded somewhere."""

    turn: Annotated[float, "count", "decisions of this kind before this one"]
    now: Annotated[float, "s since start", "time"]
    waited: Annotated[float, "s", "since it arrived"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    predicted_output: Annotated[float, "token", "predicted length of its output, > 0; wrong by a factor of about 1.6"]
    ttft_slo: Annotated[float, "s", "promised time to the first token, at most 1e6"]
    tpot_slo: Annotated[float, "s", "promised time per further token, at most 1e6"]
    priority: Annotated[float, "1", "class of service, 0 the most urgent"]


class Instance(NamedTuple):
    """An instance, as it last reported, and what was sent and handed to it since."""

    place: Annotated[float, "count", "of instances before it among those that can be chosen"]
    instances: Annotated[float, "count", "that can be chosen"]
    role: Annotated[float, "1", "1: prefill, -1: decode, 0: both"]
    age: Annotated[float, "s", "time since its report"]
    waiting: Annotated[float, "count", "prompts in its queue or on their way"]
    prefilling: Annotated[float, "count", "prompts that are being computed"]
    queue_time: Annotated[float, "s", "estimated, to prefill all that it has to"]
    prefill_time: Annotated[float, "s", "estimated, to prefill the request at hand; 0 if there is none"]
    decoding: Annotated[float, "count", "requests that generate output"]
    context: Annotated[float, "token", "KV cache that one decode step reads"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes what is decoding, or one request"]
    output_left: Annotated[float, "token", "predicted output still to come of all that it decodes or will"]
    heavy: Annotated[float, "count", "of these, requests whose predicted output is beyond 128 tokens"]
    pending: Annotated[float, "count", "requests handed to it whose KV cache has not come yet"]
    pending_tokens: Annotated[float, "token", "their KV cache"]
    held: Annotated[float, "token", "KV cache of prompts done here that has not left yet"]
    free: Annotated[float, "token", "KV cache that is not taken"]
    capacity: Annotated[float, "token", "KV cache in all, > 0"]
    transfer_time: Annotated[float, "s", "to move the cache of the request at hand here; 0 if there is none"]
    prompt_time: Annotated[float, "s", "to prefill a mean prompt here, > 0"]
    output_time: Annotated[float, "s", "to decode a mean output here, divided by the largest batch that fits, > 0"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]
    draw_1: Annotated[float, "count", "places after one drawn at random, around; 0: it"]
    draw_2: Annotated[float, "count", "the same for a second draw, of another one"]


class Cluster(NamedTuple):
    """All instances together, and the load; means are of about the last four ticks, at first as planned."""

    now: Annotated[float, "s since start", "time"]
    instances: Annotated[float, "count", "in all"]
    prefill: Annotated[float, "count", "instances that only prefill, or will"]
    decode: Annotated[float, "count", "instances that only decode, or will"]
    switching: Annotated[float, "count", "instances that change their role: they take nothing new"]
    arrival_rate: Annotated[float, "1/s", "requests"]
    mean_prompt: Annotated[float, "token", "prompts, > 0"]
    mean_output: Annotated[float, "token", "outputs of requests that finished, > 0"]
    queue_time: Annotated[float, "s", "queue_time of all instances"]
    pending_tokens: Annotated[float, "token", "KV cache that has been handed over and not come yet"]
    free: Annotated[float, "token", "KV cache not taken on instances that decode"]
    late_first: Annotated[float, "1", "share of first tokens that broke their promise"]
    late_output: Annotated[float, "1", "share of finished requests whose further tokens broke theirs"]
