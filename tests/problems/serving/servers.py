"""Small servers for tests, and rules that are made of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from simulate import THETA, _compiled, _signature

from problems._hardware.step_cost import StepCost
from problems.serving._server import engine as _engine
from problems.serving._server.engine import Timeline
from problems.serving._server.machine import Limits, Serving
from problems.serving._server.requests import Requests, make_requests
from problems.serving._server.views import Memory, Request, Server

HOOKS = ((Request, Server), (Request, Server, Memory), (Server,), (Request, Server))


def linear_cost(
    *, step: float = 0.0, token: float = 0.0, pair: float = 0.0, context: float = 0.0, sequence: float = 0.0
) -> StepCost:
    """A step costs a constant and so much per token, pair, context token and sequence."""
    grid = np.concatenate([np.arange(1024), np.arange(1024, 65537, 64)]).astype(np.float64)
    return StepCost(token * grid, np.zeros_like(grid), pair, context, 0.0, 0.0, step, sequence)


def draw_requests(rng: np.random.Generator, count: int, *, rate: float = 4.0, longest: int = 40) -> Requests:
    """Requests with lengths of 1 to longest; some arrive together, some are promised nothing."""
    gaps = rng.exponential(1 / rate, count) * rng.integers(0, 2, count)
    output = rng.integers(1, longest + 1, count)
    return make_requests(
        np.cumsum(gaps),
        rng.integers(1, longest + 1, count),
        output,
        output * np.exp(rng.normal(0, 0.5, count)),
        priority=rng.integers(0, 3, count),
        ttft_slo_s=np.where(rng.random(count) < 0.5, np.inf, rng.uniform(0.1, 3.0, count)),
        tpot_slo_s=np.where(rng.random(count) < 0.5, np.inf, rng.uniform(0.01, 0.3, count)),
    )


def changed(array: np.ndarray, **entries: float) -> np.ndarray:
    """A frozen copy with other entries: at_2=7 puts 7 at place 2. Arrays that can be written would compile anew."""
    copy = array.copy()
    for place, value in entries.items():
        copy[int(place.removeprefix("at_"))] = value
    copy.setflags(write=False)
    return copy


def fcfs(request: Request, server: Server) -> float:
    return -request.waiting


def if_it_fits(request: Request, server: Server, memory: Memory) -> float:
    return 1.0 if memory.needed <= server.free else -1.0


def whole_prompts(server: Server) -> float:
    return server.prefill_left


def latest(request: Request, server: Server) -> float:
    return -request.waiting


PLAIN = (fcfs, if_it_fits, whole_prompts, latest)


def serve(data: Serving, hooks: Sequence[Callable[..., float]] = PLAIN, theta: Sequence[float] = ()) -> Timeline:
    """Run the engine with Python functions as rules."""
    signatures = [_signature(arguments) for arguments in HOOKS]
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    compiled = [_compiled(hook, signature) for hook, signature in zip(hooks, signatures, strict=True)]
    return _entry(numba.typeof(data))(data, *compiled, values)


@cache
def _entry(data: Any) -> Any:
    signature = (data, *(types.FunctionType(_signature(arguments)) for arguments in HOOKS), THETA)
    _engine.continuous_batching.compile(signature)
    return _engine.continuous_batching.overloads[signature].entry_point


def limits(**given: Any) -> Limits:
    """Of a small server."""
    return Limits(**({"blocks": 40, "horizon_s": 1e4, "block_tokens": 4, "max_output": 40, "max_running": 8} | given))
