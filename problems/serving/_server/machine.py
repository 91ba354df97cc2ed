"""A server as data: what it costs to compute, what fits, and the requests that it gets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._hardware.devices import DEFAULT_ENGINE
from problems._hardware.step_cost import COARSE, StepCost, kv_capacity_tokens, step_cost
from problems._jit import inlined
from problems.serving._server.requests import Requests

# Entries of Serving.limit
BLOCK_TOKENS = 0  # tokens of a block of KV cache
BLOCKS = 1  # blocks of an instance
MAX_RUNNING = 2  # requests in a batch
MAX_PREFILL = 3  # prompt tokens in a step
MAX_OUTPUT = 4  # tokens that a request may generate: known to schedulers
PATIENCE = 5  # iterations of pure decoding after which a waiting queue is looked at again
SEGMENTS = 6  # parts of a step with prompts, at whose ends it may be cut; 0: requests are only preempted for blocks
GROUP_BLOCKS = 7  # contiguous blocks that one copy moves
POOL = 8  # tokens of shared prefixes that are kept beside the blocks; negative: requests have no clients
LIMITS = 9

# Entries of Serving.time_s
HORIZON = 0  # nothing starts from then on
DECISION = 1  # charged for each look at the waiting queue,
CANDIDATE = 2  # and for each request in it
TICK = 3  # an idle server looks again at a queue that it refused after this; each further wait is longer by as much
SWAP_BLOCK = 4  # moving a block to the host or back; negative: preempted requests are recomputed
CUT = 5  # cutting a step, and again going on with it
SWAP_GROUP = 6  # issuing the copies of a group of contiguous blocks
TIMES = 7

LONGEST_WAIT = 20  # ticks, and no later than this

_COST = (
    "prefill_pair_s",
    "decode_context_s",
    "attention_floor_s",
    "launch_s",
    "step_s",
    "sequence_s",
    "prefill_launch_s",
)


class Serving(NamedTuple):
    """One instance of a serving problem: requests, and the server they come to."""

    requests: Requests
    layers_s: np.ndarray  # float64, as in StepCost
    head_s: np.ndarray  # float64, as in StepCost
    cost: np.ndarray  # (7,) float64, its scalars, in the order of _COST
    token_s: np.ndarray  # (1,) float64, what one more token adds to a large step
    limit: np.ndarray  # (LIMITS,) int64
    time_s: np.ndarray  # (TIMES,) float64


class Limits(NamedTuple):
    """What an instance may hold and do."""

    blocks: int
    horizon_s: float
    block_tokens: int = 16
    max_running: int = 256
    max_prefill: int = 8192
    max_output: int = 2048
    patience: int = 16
    decision_s: float = 5e-6
    candidate_s: float = 1e-7
    tick_s: float = 0.05
    swap_block_s: float = -1.0
    segments: int = 0
    group_blocks: int = 1
    cut_s: float = 0.0
    swap_group_s: float = 0.0
    pool: int = -1


def make_instance(requests: Requests, cost: StepCost, limits: Limits) -> Serving:
    """Check and freeze an instance.

    Raises
    ------
    ValueError
        If a limit is not positive, a request can never fit, or the horizon comes before the last arrival.
    """
    server = server_arrays(cost, limits)
    check_fit(requests.arrival_s[-1], requests.prompt_tokens, requests.output_tokens, limits)
    for i in np.flatnonzero((requests.tenant < 0) & (limits.pool >= 0))[:1]:
        raise ValueError(
            f"tenant must not be negative where clients share a server, got {requests.tenant[i]} at request {i}"
        )
    return Serving(requests, **server)


def server_arrays(cost: StepCost, limits: Limits) -> dict[str, np.ndarray]:
    """The fields of an instance that describe its server, frozen.

    Raises
    ------
    ValueError
        If a limit or a coefficient is impossible.
    """
    _check_host(cost, limits)
    whole = ("block_tokens", "blocks", "max_running", "max_prefill", "max_output", "patience")
    seconds = ("horizon_s", "decision_s", "candidate_s", "tick_s", "swap_block_s", "cut_s", "swap_group_s")
    arrays = {
        "layers_s": np.array(cost.layers_s, dtype=np.float64),
        "head_s": np.array(cost.head_s, dtype=np.float64),
        "cost": np.array([getattr(cost, name) for name in _COST], dtype=np.float64),
        "token_s": np.array([max((cost.layers_s[-1] - cost.layers_s[-2]) / COARSE, 1e-12)]),
        "limit": np.array(
            [getattr(limits, name) for name in (*whole, "segments", "group_blocks", "pool")], dtype=np.int64
        ),
        "time_s": np.array([getattr(limits, name) for name in seconds], dtype=np.float64),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _check_host(cost: StepCost, limits: Limits) -> None:
    for name in (
        "blocks",
        "block_tokens",
        "max_running",
        "max_prefill",
        "max_output",
        "patience",
        "tick_s",
        "group_blocks",
    ):
        if not (value := getattr(limits, name)) > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    for name in ("decision_s", "candidate_s", "cut_s", "swap_group_s", "segments"):
        if not 0 <= (value := getattr(limits, name)) < np.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    if limits.block_tokens & (limits.block_tokens - 1):
        raise ValueError(f"block_tokens must be a power of two, got {limits.block_tokens}")
    for name in ("layers_s", "head_s", *_COST):
        if not (np.isfinite(value := np.asarray(getattr(cost, name))) & (value >= 0)).all():
            raise ValueError(f"{name} of the step cost must be finite and not negative")
    fixed = cost.attention_floor_s + cost.launch_s + cost.step_s
    if fixed + cost.layers_s[1] + cost.head_s[1] <= 0.0:
        raise ValueError("a step must take time, got a step cost of zero")


def check_fit(last: float, prompt_tokens: np.ndarray, output_tokens: np.ndarray, limits: Limits) -> None:
    """Raise ValueError where what arrives last comes after the horizon, or a request can never fit."""
    if not last < limits.horizon_s < np.inf:
        raise ValueError(f"horizon_s must be after the last arrival at {last}, got {limits.horizon_s}")
    for i in np.flatnonzero(output_tokens > limits.max_output)[:1]:
        raise ValueError(
            f"output_tokens must be at most max_output = {limits.max_output}, got {output_tokens[i]} at request {i}"
        )
    capacity = limits.blocks * limits.block_tokens
    needed = prompt_tokens + limits.max_output
    for i in np.flatnonzero(needed > capacity)[:1]:
        raise ValueError(
            f"prompt and longest output must fit the KV cache of {capacity} tokens, got {needed[i]} at request {i}: "
            "use a larger device, a smaller model, or drop the request"
        )


class Host(NamedTuple):
    """What serves: so many GPUs of a kind with a model on them, and the share of KV cache left to it."""

    device: str
    model: str
    tp: int = 1
    share: float = 1.0
    max_output: int = 1024
    engine: str = DEFAULT_ENGINE

    def __str__(self) -> str:
        return f"{self.device}{f' x{self.tp}' if self.tp > 1 else ''}, {self.model}"


def on_host(requests: Requests, host: Host, horizon_s: float) -> Serving:
    """An instance on a known device and model.

    Raises
    ------
    ValueError
        As make_instance, and if the model does not fit the device.
    """
    cost = step_cost(host.device, host.model, host.tp, engine=host.engine)
    return make_instance(requests, cost, limits_of(host, horizon_s))


def limits_of(host: Host, horizon_s: float) -> Limits:
    """What fits on a known device beside a known model.

    Raises
    ------
    ValueError
        As blocks_on.
    """
    return Limits(blocks=blocks_on(host), horizon_s=horizon_s, max_output=host.max_output)


def blocks_on(host: Host) -> int:
    """Blocks of 16 tokens that a host's KV cache holds.

    Raises
    ------
    ValueError
        If the model does not fit the device, or the share is impossible.
    """
    if not 0 < host.share <= 1:
        raise ValueError(f"share of the KV cache must be in (0, 1], got {host.share}")
    return int(host.share * kv_capacity_tokens(host.device, host.model, host.tp)) // 16


@inlined
def unpack_cost(data: Serving) -> StepCost:
    """The coefficients as step_seconds wants them."""
    return StepCost(
        data.layers_s,
        data.head_s,
        data.cost[0],
        data.cost[1],
        data.cost[2],
        data.cost[3],
        data.cost[4],
        data.cost[5],
        data.cost[6],
    )


@inlined
def blocks_for(tokens: int, block_tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block_tokens - 1) // block_tokens


@inlined
def swap_seconds(data: Serving, blocks: int) -> float:
    """Moving so many blocks to the host or back: the copies issued, and the bytes."""
    groups = blocks_for(blocks, data.limit[GROUP_BLOCKS])
    return data.time_s[SWAP_BLOCK] * blocks + data.time_s[SWAP_GROUP] * groups
