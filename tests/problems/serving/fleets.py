"""Small fleets for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from simulate import THETA, _compiled, _signature

from problems.serving._cluster.views import Instance, Request
from problems.serving._fleet import engine as _fleet_engine
from problems.serving._fleet.data import Elastic
from problems.serving._fleet.engine import Scaling
from problems.serving._fleet.views import Fleet, Pool


def least_ttft(request: Request, instance: Instance) -> float:
    return instance.queue_time + instance.prefill_time


def run_fleet(
    data: Elastic,
    scale: Callable[..., float],
    route: Callable[..., float] = least_ttft,
    theta: Sequence[float] = (),
) -> Scaling:
    """Run the engine with Python functions as rules."""
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    hooks = [_compiled(hook, _signature(kinds)) for hook, kinds in zip((scale, route), HOOKS, strict=True)]
    return _entry(numba.typeof(data))(data, *hooks, values)


HOOKS = ((Pool, Fleet), (Request, Instance))


@cache
def _entry(data: Any) -> Any:
    signature = (data, *(types.FunctionType(_signature(kinds)) for kinds in HOOKS), THETA)
    _fleet_engine.fleet_scaling.compile(signature)
    return _fleet_engine.fleet_scaling.overloads[signature].entry_point
