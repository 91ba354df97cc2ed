"""Instances of prefix caching: requests whose prompts share blocks, and the server that keeps them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from problems._hardware.step_cost import StepCost, step_cost, step_seconds
from problems._jit import inlined
from problems.serving._prefix.store import NOBODY

NONE = -1
MOST_TOKENS = 2**40  # of a prompt
NEVER_S = 1e6  # stands for "not again", and yet a number
KINDS = ("person", "tool", "workflow")  # who takes the answer, and will ask again

# Entries of Caching.limit
BLOCK_TOKENS = 0
BLOCKS = 1

_COST = (
    "prefill_pair_s",
    "decode_context_s",
    "attention_floor_s",
    "launch_s",
    "step_s",
    "sequence_s",
    "prefill_launch_s",
)


class Caching(NamedTuple):
    """n requests over a tree of b blocks, in order of arrival; prompts, hints, and the server's cost.

    The path of request r is the blocks of its prompt that can be cached: all full ones, but for the last token.
    A hint is made when a request is done: a block that will be asked for again, and in how many seconds.
    """

    arrival_s: np.ndarray  # (n,) float64, >= 0, ascending
    prompt_tokens: np.ndarray  # (n,) int64, more than its path holds
    session: np.ndarray  # (n,) int64, 0..n-1, requests of one conversation, agent or workflow
    kind: np.ndarray  # (n,) int64, index of KINDS
    path_start: np.ndarray  # (n + 1,) int64, request r has path[path_start[r]:path_start[r + 1]]
    path: np.ndarray  # int64 nodes, each the child of the one before
    hint_start: np.ndarray  # (n + 1,) int64, likewise of hint_node and hint_s
    hint_node: np.ndarray  # int64, the deepest block that will be asked for again
    hint_s: np.ndarray  # float64, predicted seconds from the end of the request until then; NEVER_S: not again
    parent: np.ndarray  # (b,) int64, node before it, smaller than its own number, or NOBODY
    layers_s: np.ndarray  # float64, as in StepCost
    head_s: np.ndarray  # float64, as in StepCost
    cost: np.ndarray  # (7,) float64, its scalars, in the order of _COST
    limit: np.ndarray  # (2,) int64, BLOCK_TOKENS and BLOCKS


class Prompts(NamedTuple):
    """The columns of requests, before they are checked; as in Caching."""

    arrival_s: ArrayLike
    prompt_tokens: ArrayLike
    session: ArrayLike
    kind: ArrayLike
    path_start: ArrayLike
    path: ArrayLike
    hint_start: ArrayLike
    hint_node: ArrayLike
    hint_s: ArrayLike
    parent: ArrayLike


_REAL = ("arrival_s", "hint_s")


def make_instance(prompts: Prompts, cost: StepCost, *, block_tokens: int, blocks: int) -> Caching:
    """Check and freeze an instance with a cache of so many blocks.

    Raises
    ------
    ValueError
        Naming the field, the rule, the value and the request.
    """
    columns = {name: _column(name, values) for name, values in prompts._asdict().items()}
    for name, value in (("block_tokens", block_tokens), ("blocks", blocks)):
        if not 0 < value < 2**30:
            raise ValueError(f"{name} must be between 1 and {2**30 - 1}, got {value}")
    data = Caching(
        **columns,
        layers_s=np.array(cost.layers_s, dtype=np.float64),
        head_s=np.array(cost.head_s, dtype=np.float64),
        cost=np.array([getattr(cost, name) for name in _COST], dtype=np.float64),
        limit=np.array([block_tokens, blocks], dtype=np.int64),
    )
    _check_requests(data)
    _check_stretches(data)
    _check_tree(data)
    for array in data:
        array.setflags(write=False)
    return data


def on_host(prompts: Prompts, host: tuple[str, str, int], *, block_tokens: int, blocks: int) -> Caching:
    """An instance on a known device and model, spread over so many GPUs."""
    device, model, tp = host
    return make_instance(prompts, step_cost(device, model, tp), block_tokens=block_tokens, blocks=blocks)


def _column(name: str, values: ArrayLike) -> np.ndarray:
    raw = np.asarray(values)
    if raw.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers, got shape {raw.shape}")
    if name in _REAL:
        return np.array(raw, dtype=np.float64)
    for k in np.flatnonzero(~(np.abs(raw) < MOST_TOKENS) | (raw != np.rint(raw)))[:1]:
        raise ValueError(f"{name} must be whole numbers below {MOST_TOKENS}, got {raw[k]} at entry {k}")
    return np.array(raw, dtype=np.int64)


def _check_requests(data: Caching) -> None:
    n = len(data.arrival_s)
    if not 0 < n < 2**30:
        raise ValueError(f"there must be between 1 and {2**30 - 1} requests, got {n}")
    for name in ("prompt_tokens", "session", "kind"):
        if (count := len(getattr(data, name))) != n:
            raise ValueError(f"{name} must have one entry for each of the {n} requests, got {count}")
    for r in np.flatnonzero(~(data.arrival_s >= 0) | ~np.isfinite(data.arrival_s))[:1]:
        raise ValueError(f"arrival_s must be finite and not negative, got {data.arrival_s[r]} at request {r}")
    for r in np.flatnonzero(np.diff(data.arrival_s) < 0)[:1]:
        raise ValueError(
            f"arrival_s must be ascending, got {data.arrival_s[r + 1]} at request {r + 1} after {data.arrival_s[r]}: "
            "sort the requests by arrival"
        )
    for name, most in (("session", n), ("kind", len(KINDS))):
        column = getattr(data, name)
        for r in np.flatnonzero((column < 0) | (column >= most))[:1]:
            raise ValueError(f"{name} must be between 0 and {most - 1}, got {column[r]} at request {r}")


def _check_stretches(data: Caching) -> None:
    n = len(data.arrival_s)
    for name, of in (("path_start", data.path), ("hint_start", data.hint_node)):
        start = getattr(data, name)
        if len(start) != n + 1 or start[0] != 0 or start[-1] != len(of) or (np.diff(start) < 0).any():
            raise ValueError(f"{name} must rise from 0 to {len(of)} in {n + 1} entries")
    if len(data.hint_s) != len(data.hint_node):
        raise ValueError(f"hint_s must have one entry for each of the {len(data.hint_node)} hints")
    for k in np.flatnonzero(~((data.hint_s >= 0) & (data.hint_s <= NEVER_S)))[:1]:
        raise ValueError(f"hint_s must be between 0 and {NEVER_S:g}, got {data.hint_s[k]} at hint {k}")
    held = np.diff(data.path_start) * data.limit[BLOCK_TOKENS]
    for r in np.flatnonzero(data.prompt_tokens <= held)[:1]:
        raise ValueError(
            f"prompt_tokens must exceed the {held[r]} tokens of its path (the last token is always computed), got "
            f"{data.prompt_tokens[r]} at request {r}"
        )


def _check_tree(data: Caching) -> None:
    count = len(data.parent)
    for k in np.flatnonzero((data.parent < NOBODY) | (data.parent >= np.arange(count)))[:1]:
        raise ValueError(f"parent must be smaller than the node, or -1, got {data.parent[k]} at node {k}")
    for name in ("path", "hint_node"):
        nodes = getattr(data, name)
        for k in np.flatnonzero((nodes < 0) | (nodes >= count))[:1]:
            raise ValueError(f"{name} must be between 0 and {count - 1}, got {nodes[k]} at entry {k}")
    before = np.concatenate([[NOBODY], data.path[:-1]]) if len(data.path) else data.path
    starts = data.path_start[:-1]
    before[starts[starts < len(data.path)]] = NOBODY
    for k in np.flatnonzero(data.parent[data.path] != before)[:1]:
        raise ValueError(f"path must go from a root to its child and so on, got node {data.path[k]} after {before[k]}")


@inlined
def unpack(data: Caching) -> StepCost:
    """The coefficients as step_seconds wants them."""
    c = data.cost
    return StepCost(data.layers_s, data.head_s, c[0], c[1], c[2], c[3], c[4], c[5], c[6])


@inlined
def prefill_seconds(data: Caching, cost: StepCost, r: int, hits: int) -> float:
    """Time to compute what the cache lacks of the prompt of request r, in one step; more hits never take longer."""
    prompt, cached = data.prompt_tokens[r], hits * data.limit[BLOCK_TOKENS]
    computed = prompt - cached
    return step_seconds(cost, computed, computed * (cached + 0.5 * computed), 0, 0.0)
