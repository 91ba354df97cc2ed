"""Programs: calls of a language model that wait for one another, and for tools between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from problems._hardware.step_cost import StepCost, step_cost
from problems.serving._server.machine import Host, Limits, blocks_on, check_fit, server_arrays
from problems.serving._server.requests import NONE

TOOLS = 8  # classes of tools
STEP_TOKENS = 2048  # a step of vLLM v1: what decodes, and prompt tokens up to this many in all

# Sums of tokens are kept as floats, and must be exact.
_MOST_TOKENS = 2**40
# Entries of a log pack a call's number into 24 bits.
_MOST_CALLS = 2**24


class Calls(NamedTuple):
    """n calls. Hooks see those that are released, and of those whose tool runs, the tool: never outputs or tool_s."""

    prompt_tokens: np.ndarray  # (n,) int64, >= 1
    output_tokens: np.ndarray  # (n,) int64, >= 1, true number of tokens generated: hidden
    predicted_output: np.ndarray  # (n,) float64, > 0, tokens
    program: np.ndarray  # (n,) int64, 0..p-1
    continues: np.ndarray  # (n,) int64, the call before it whose prompt and output it repeats, or NONE
    repeated_tokens: np.ndarray  # (n,) int64, 0..prompt_tokens: how much of them
    tool: np.ndarray  # (n,) int64, class of the tool that runs before the call, 0..TOOLS-1
    tool_s: np.ndarray  # (n,) float64, >= 0, how long: hidden
    predicted_tool_s: np.ndarray  # (n,) float64, >= 0
    predicted_calls: np.ndarray  # (n,) float64, > 0, calls of the program from this one on
    predicted_tokens: np.ndarray  # (n,) float64, > 0, output of these calls
    waits_for: np.ndarray  # (n,) int64, number of calls that must have finished
    next_start: np.ndarray  # (n + 1,) int64, where the calls that wait for a call start in next_call
    next_call: np.ndarray  # (edges,) int64


class Agents(NamedTuple):
    """One instance: programs, their calls, and the server they come to (as in Serving)."""

    arrival_s: np.ndarray  # (p,) float64, >= 0, ascending, of programs
    requests: Calls
    layers_s: np.ndarray
    head_s: np.ndarray
    cost: np.ndarray
    token_s: np.ndarray
    limit: np.ndarray
    time_s: np.ndarray


_REAL = ("predicted_output", "tool_s", "predicted_tool_s", "predicted_calls", "predicted_tokens")
_POSITIVE = ("prompt_tokens", "output_tokens", "predicted_output", "predicted_calls", "predicted_tokens")
_DEFAULTS: dict[str, float] = {"continues": NONE, "repeated_tokens": 0, "tool": 0, "tool_s": 0.0}
_COLUMNS = Calls._fields[:-3]


def make_calls(after: ArrayLike, **columns: ArrayLike) -> Calls:
    """Check and freeze calls.

    Parameters
    ----------
    after : (edges, 2) array of int
        Pairs (a, b): call b waits for call a, a < b, both of the same program.
    columns
        The columns of Calls by name, up to predicted_tokens, each an array or one number for all. Without
        ``continues``, ``repeated_tokens``, ``tool`` and ``tool_s`` there is no context to go on from, and no tool;
        predictions that are not given are the truth.

    Raises
    ------
    ValueError
        Naming the field, the rule, the value and the call.
    """
    count = np.asarray(columns["program"]).size
    given: dict[str, Any] = _DEFAULTS | columns
    edges = np.asarray(after, dtype=np.int64).reshape(-1, 2)
    found = {name: _column(name, given[name], count) for name in _COLUMNS if name in given}
    _check_edges(edges, found["program"], found["continues"])
    found.setdefault("predicted_output", found["output_tokens"].astype(np.float64))
    found.setdefault("predicted_tool_s", found["tool_s"].copy())
    left = remaining(found["program"], found["output_tokens"])
    found.setdefault("predicted_calls", left[0])
    found.setdefault("predicted_tokens", left[1])
    calls = link(Calls(*(found[name] for name in _COLUMNS), *[edges[:0, 0]] * 3), edges)
    _check(calls)
    return calls


def link(calls: Calls, edges: np.ndarray) -> Calls:
    """The same calls with other predecessors, frozen."""
    order, n = np.lexsort((edges[:, 1], edges[:, 0])), len(calls.program)
    waits_for = np.bincount(edges[:, 1], minlength=n).astype(np.int64)
    next_start = np.concatenate([[0], np.cumsum(np.bincount(edges[:, 0], minlength=n))]).astype(np.int64)
    linked = calls._replace(
        waits_for=waits_for, next_start=next_start, next_call=np.ascontiguousarray(edges[order, 1], dtype=np.int64)
    )
    for array in linked:
        array.setflags(write=False)
    return linked


def edges_of(calls: Calls) -> np.ndarray:
    """(edges, 2) int64, pairs (a, b) of which b waits for a."""
    before = np.repeat(np.arange(len(calls.program)), np.diff(calls.next_start))
    return np.stack([before, calls.next_call], axis=1)


def remaining(program: np.ndarray, output_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Calls of the same program from each on, and their output: two (n,) float64."""
    calls, tokens = np.zeros(len(program)), np.zeros(len(program))
    left: dict[int, tuple[float, float]] = {}
    for c in range(len(program) - 1, -1, -1):
        number, output = left.get(int(program[c]), (0.0, 0.0))
        left[int(program[c])] = calls[c], tokens[c] = number + 1.0, output + float(output_tokens[c])
    return calls, tokens


def _column(name: str, values: ArrayLike, count: int) -> np.ndarray:
    raw = np.full(count, values) if np.ndim(values) == 0 else np.asarray(values)
    if raw.shape != (count,) or count == 0:
        raise ValueError(f"{name} must have one entry for each of the calls, got shape {raw.shape} for {count}")
    if raw.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers, got {raw.dtype}")
    if name in _REAL:
        return np.array(raw, dtype=np.float64)
    for c in np.flatnonzero(raw != np.floor(raw))[:1]:
        raise ValueError(f"{name} must be whole numbers, got {raw[c]} at call {c}")
    return np.array(raw, dtype=np.int64)


def _check_edges(edges: np.ndarray, program: np.ndarray, continues: np.ndarray) -> None:
    n = len(program)
    for a, b in edges[(edges[:, 0] < 0) | (edges[:, 1] >= n) | (edges[:, 0] >= edges[:, 1])][:1]:
        raise ValueError(f"a call waits for calls before it in the list of {n}, got {a} for call {b}")
    for a, b in edges[program[edges[:, 0]] != program[edges[:, 1]]][:1]:
        raise ValueError(f"a call waits for calls of its own program, got call {a} for call {b}")
    if len(np.unique(edges, axis=0)) < len(edges):
        raise ValueError("a call waits for another only once")
    known = {(int(a), int(b)) for a, b in edges}
    for c in np.flatnonzero(continues != NONE):
        if (int(continues[c]), int(c)) not in known:
            raise ValueError(f"continues must be a call that call {c} waits for, got {continues[c]}")
    used = continues[continues != NONE]
    if len(np.unique(used)) < len(used):
        raise ValueError("continues must name each call once: the context of a call goes to one other")


def _check(calls: Calls) -> None:
    if len(calls.program) >= _MOST_CALLS:
        raise ValueError(f"there must be fewer than {_MOST_CALLS} calls, got {len(calls.program)}")
    for name in _POSITIVE:
        column = getattr(calls, name)
        for c in np.flatnonzero(~(column > 0) | ~np.isfinite(column))[:1]:
            raise ValueError(f"{name} must be positive and finite, got {column[c]} at call {c}")
    for name in ("tool_s", "predicted_tool_s"):
        column = getattr(calls, name)
        for c in np.flatnonzero(~(column >= 0) | ~np.isfinite(column))[:1]:
            raise ValueError(f"{name} must be finite and not negative, got {column[c]} at call {c}")
    for c in np.flatnonzero((calls.repeated_tokens < 0) | (calls.repeated_tokens > calls.prompt_tokens))[:1]:
        raise ValueError(
            f"repeated_tokens must be between 0 and prompt_tokens = {calls.prompt_tokens[c]}, got "
            f"{calls.repeated_tokens[c]} at call {c}"
        )
    for c in np.flatnonzero((calls.tool < 0) | (calls.tool >= TOOLS))[:1]:
        raise ValueError(f"tool must be between 0 and {TOOLS - 1}, got {calls.tool[c]} at call {c}")
    for name in ("prompt_tokens", "output_tokens"):
        if (total := getattr(calls, name).sum(dtype=np.float64)) >= _MOST_TOKENS:
            raise ValueError(f"{name} must sum to less than {_MOST_TOKENS}, got {total:g}")


def make_instance(arrival_s: ArrayLike, calls: Calls, cost: StepCost, limits: Limits) -> Agents:
    """Check and freeze an instance.

    Raises
    ------
    ValueError
        If arrivals are unsorted, a program has no call, a limit is not positive, a call can never fit, or the
        horizon comes before the last arrival.
    """
    arrivals = np.array(arrival_s, dtype=np.float64)
    for p in np.flatnonzero(~(arrivals >= 0) | ~np.isfinite(arrivals))[:1]:
        raise ValueError(f"arrival_s must be finite and not negative, got {arrivals[p]} at program {p}")
    for p in np.flatnonzero(np.diff(arrivals) < 0)[:1]:
        raise ValueError(f"arrival_s must be ascending, got {arrivals[p + 1]} at program {p + 1} after {arrivals[p]}")
    if not np.array_equal(np.unique(calls.program), np.arange(len(arrivals))):
        raise ValueError(f"program must number {len(arrivals)} programs from 0, each with a call at least")
    if limits.swap_block_s >= 0:
        raise ValueError(f"swap_block_s must be negative: calls are recomputed, got {limits.swap_block_s}")
    server = server_arrays(cost, limits)
    check_fit(arrivals[-1], calls.prompt_tokens, calls.output_tokens, limits)
    arrivals.setflags(write=False)
    return Agents(arrivals, calls, **server)


def on_host(arrival_s: ArrayLike, calls: Calls, host: Host, horizon_s: float) -> Agents:
    """An instance on a known device and model.

    Raises
    ------
    ValueError
        As make_instance, and if the model does not fit the device.
    """
    limits = Limits(blocks=blocks_on(host), horizon_s=horizon_s, max_output=host.max_output, max_prefill=STEP_TOKENS)
    return make_instance(arrival_s, calls, step_cost(host.device, host.model, host.tp, engine=host.engine), limits)
