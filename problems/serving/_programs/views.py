"""What rules of programs see: a call, a context that waits for its tool, and the server."""

from __future__ import annotations

from typing import Annotated, NamedTuple

# Of a class of tools, before the second of it has returned.
TOOL_MEAN_AT_START = 5.0
MEAN_SERVICE_AT_START = 10.0


class Call(NamedTuple):
    """A call of a program: one request to the model, waiting or running."""

    waiting: Annotated[float, "s", "since it was released: its tool returned, and all it waits for finished"]
    age: Annotated[float, "s", "since its program arrived"]
    attained: Annotated[float, "s", "service of its program: time in the batch, summed over calls that have left it"]
    critical: Annotated[float, "s", "service along the longest chain of calls before it"]
    served: Annotated[float, "s", "time that this call itself has been in the batch"]
    calls: Annotated[float, "count", "calls of the program that have finished"]
    siblings: Annotated[float, "count", "calls of the program that wait or run now, this one included"]
    prompt: Annotated[float, "token", "length of its prompt, > 0"]
    prefill_left: Annotated[float, "token", "to compute if it runs now: what lies in the KV cache is not counted"]
    cached: Annotated[float, "token", "context of its program that lies in the KV cache for it, while it waits"]
    pinned: Annotated[float, "1", "1 if that context is pinned, else 0"]
    generated: Annotated[float, "token", "output so far"]
    predicted_output: Annotated[float, "token", "predicted length of its output, > 0"]
    predicted_calls: Annotated[float, "count", "predicted calls of the program from this one on, > 0"]
    predicted_tokens: Annotated[float, "token", "predicted output of all these calls, > 0"]
    preemptions: Annotated[float, "count", "how often it has been preempted"]


class Context(NamedTuple):
    """What a finished call leaves in the KV cache for the next one."""

    tokens: Annotated[float, "token", "its length, in whole blocks"]
    idle: Annotated[float, "s", "since the call has finished"]
    returned: Annotated[float, "1", "1 if the next call has been released and waits, else 0"]
    tool: Annotated[float, "1", "class of the tool that runs, 0 to 7"]
    predicted_tool: Annotated[float, "s", "predicted duration of the tool, from the end of all calls before it"]
    tool_mean: Annotated[float, "s", "mean duration of the class's tools that have returned, 5 before the first"]
    tool_deviation: Annotated[float, "s", "their standard deviation; the mean before the second"]
    age: Annotated[float, "s", "since the program arrived"]
    attained: Annotated[float, "s", "service of the program, as of a call"]
    calls: Annotated[float, "count", "calls of the program that have finished"]
    predicted_calls: Annotated[float, "count", "as predicted for the call that has finished, itself included"]
    predicted_tokens: Annotated[float, "token", "as predicted for the call that has finished, its own included"]


class Server(NamedTuple):
    """The server as a whole."""

    now: Annotated[float, "s since start", "time"]
    programs: Annotated[float, "count", "programs that have arrived and not finished"]
    waiting: Annotated[float, "count", "calls in the waiting queue"]
    running: Annotated[float, "count", "calls in the batch"]
    prefill_left: Annotated[float, "token", "prompt tokens that the batch has still to compute"]
    context: Annotated[float, "token", "KV cache that one decode step reads"]
    free: Annotated[float, "token", "KV cache that is free"]
    parked: Annotated[float, "token", "KV cache of contexts whose next call does not run yet"]
    pinned: Annotated[float, "token", "the pinned part of it"]
    capacity: Annotated[float, "token", "KV cache in all, > 0"]
    decode_step: Annotated[float, "s", "duration of a step that only decodes what is decoding now"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]
    mean_wait: Annotated[float, "s", "moving mean (weight 0.1 on the last call) of the time from release to admission"]
    mean_service: Annotated[float, "s", "mean service of the programs that have finished, 10 before the first"]
