"""Small clusters that migrate, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from simulate import THETA, _compiled, _signature

from problems.serving._cluster.views import Instance, Request
from problems.serving._migration import engine as _engine
from problems.serving._migration.data import Migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.views import Job, Server

HOOKS = ((Request, Instance), (Server, Server), (Job, Server, Server))


def never(source: Server, target: Server) -> float:
    return 0.0


def nobody(job: Job, source: Server, target: Server) -> float:
    return 0.0


def serve_migrating(
    data: Migrating,
    route: Callable[..., float],
    pair: Callable[..., float] = never,
    pick: Callable[..., float] = nobody,
    theta: Sequence[float] = (),
) -> Migration:
    """Run the engine with Python functions as rules."""
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    hooks = [_compiled(hook, _signature(kinds)) for hook, kinds in zip((route, pair, pick), HOOKS, strict=True)]
    return _entry(numba.typeof(data))(data, *hooks, values)


@cache
def _entry(data: Any) -> Any:
    signature = (data, *(types.FunctionType(_signature(kinds)) for kinds in HOOKS), THETA)
    _engine.live_migration.compile(signature)
    return _engine.live_migration.overloads[signature].entry_point
