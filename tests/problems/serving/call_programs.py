"""Small programs for tests, and rules that are made of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from simulate import THETA, _compiled, _signature

from problems.serving._programs import engine as _programs_engine
from problems.serving._programs.data import Agents, Calls, make_calls
from problems.serving._programs.views import Call, Context, Server
from problems.serving._server.engine import Timeline

HOOKS = ((Call, Server), (Context, Server), (Context, Server))


def draw_programs(rng: np.random.Generator, count: int, *, rate: float = 1.0, longest: int = 30) -> Any:
    """Arrivals and calls of programs of 1 to 6 calls, each waiting for up to two before it; some arrive together."""
    columns: dict[str, list[float]] = {
        name: [] for name in ("program", "prompt_tokens", "output_tokens", "continues", "repeated_tokens", "tool_s")
    }
    edges: list[tuple[int, int]] = []
    free: set[int] = set()
    for p in range(count):
        first = len(columns["program"])
        for c in range(first, first + int(rng.integers(1, 7))):
            before = rng.choice(np.arange(first, c), min(c - first, int(rng.integers(0, 3))), replace=False).tolist()
            source = next((b for b in before if b in free), -1) if rng.random() < 0.8 else -1
            free.discard(source)
            free.add(c)
            edges += [(b, c) for b in before]
            prompt = int(rng.integers(1, longest + 1))
            columns["program"].append(p)
            columns["prompt_tokens"].append(prompt)
            columns["output_tokens"].append(int(rng.integers(1, longest + 1)))
            columns["continues"].append(source)
            columns["repeated_tokens"].append(int(rng.integers(0, prompt + 1)))
            columns["tool_s"].append(float(rng.exponential(1.0)) if rng.random() < 0.7 else 0.0)
    n = len(columns["program"])
    calls = make_calls(
        edges,
        **{name: np.array(column) for name, column in columns.items()},
        tool=rng.integers(0, 3, n),
        predicted_output=rng.uniform(1, longest, n),
        predicted_tool_s=rng.exponential(1.0, n),
        predicted_calls=rng.uniform(1, 6, n),
        predicted_tokens=rng.uniform(1, 100, n),
    )
    arrival_s = np.cumsum(rng.exponential(1 / rate, count) * rng.integers(0, 2, count))
    return arrival_s, calls


def chain(outputs: Sequence[int], *, first: int, added: int, tool_s: float) -> Calls:
    """One program: each prompt is all that was before it and ``added`` tokens."""
    prompts, n = [first], len(outputs)
    for output in outputs[:-1]:
        prompts.append(prompts[-1] + output + added)
    return make_calls(
        [(c, c + 1) for c in range(n - 1)],
        program=np.zeros(n),
        prompt_tokens=prompts,
        output_tokens=outputs,
        continues=np.arange(n) - 1,
        repeated_tokens=[0, *(p - added for p in prompts[1:])],
        tool_s=[0.0] + [tool_s] * (n - 1),
    )


def first_come(call: Call, server: Server) -> float:
    return -call.waiting


def no_pin(context: Context, server: Server) -> float:
    return 0.0


def least_recent(context: Context, server: Server) -> float:
    return context.idle


PLAIN = (first_come, no_pin, least_recent)


def run(data: Agents, hooks: Sequence[Callable[..., float]] = PLAIN, theta: Sequence[float] = ()) -> Timeline:
    """Run the engine with Python functions as rules."""
    signatures = [_signature(arguments) for arguments in HOOKS]
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    compiled = [_compiled(hook, signature) for hook, signature in zip(hooks, signatures, strict=True)]
    return _entry(numba.typeof(data))(data, *compiled, values)


@cache
def _entry(data: Any) -> Any:
    signature = (data, *(types.FunctionType(_signature(arguments)) for arguments in HOOKS), THETA)
    _programs_engine.agent_programs.compile(signature)
    return _programs_engine.agent_programs.overloads[signature].entry_point
