"""What rules of serving/preemption see besides requests and the server: a step that can be cut, and caches."""

from __future__ import annotations

from typing import Annotated, NamedTuple


class Step(NamedTuple):
    """A step with prompts: one that runs, or one that was cut and is to go on."""

    done: Annotated[float, "s", "what it has computed"]
    left: Annotated[float, "s", "what it has still to compute, > 0"]
    cost: Annotated[float, "s", "for cutting it and going on later"]
    slack: Annotated[float, "s", "least slack of its prompts' requests, < 0: one is late; 1e6 if nothing is promised"]
    priority: Annotated[float, "1", "most urgent class among its prompts, 0 the most urgent"]
    prompts: Annotated[float, "count", "requests whose prompts it computes"]
    decoding: Annotated[float, "count", "requests that decode in it"]
    token_time: Annotated[float, "s", "what one more prompt token adds to a large step, > 0"]


class Cache(NamedTuple):
    """The KV cache of a request, and what it costs to move it or to compute it again."""

    needed: Annotated[float, "token", "blocks that the request takes if it is admitted, or gives back if not"]
    cached: Annotated[float, "token", "computed so far and kept, on the GPU or on the host"]
    move: Annotated[float, "s", "to copy that to the host, or back"]
    recompute: Annotated[float, "s", "to compute prompt and output so far again, in one step"]
