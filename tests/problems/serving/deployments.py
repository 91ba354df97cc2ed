"""Small deployments for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from simulate import THETA, _compiled, _signature

from problems.serving._disaggregation import engine as _engine
from problems.serving._disaggregation.data import Deployment
from problems.serving._disaggregation.engine import Disaggregation
from problems.serving._disaggregation.views import Cluster, Instance, Request

HOOKS = ((Request, Instance), (Request, Instance), (Instance, Cluster))


def shortest_queue(request: Request, instance: Instance) -> float:
    return instance.queue_time


def least_output(request: Request, instance: Instance) -> float:
    return instance.output_left


def as_it_is(instance: Instance, cluster: Cluster) -> float:
    return instance.role


PLAIN = (shortest_queue, least_output, as_it_is)


def deploy(
    data: Deployment, rules: Sequence[Callable[..., float]] = PLAIN, theta: Sequence[float] = ()
) -> Disaggregation:
    """Run the engine with Python functions as rules."""
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    hooks = [_compiled(rule, _signature(arguments)) for rule, arguments in zip(rules, HOOKS, strict=True)]
    return _entry(numba.typeof(data))(data, *hooks, values)


@cache
def _entry(data: Any) -> Any:
    signature = (data, *(types.FunctionType(_signature(arguments)) for arguments in HOOKS), THETA)
    _engine.prefill_decode.compile(signature)
    return _engine.prefill_decode.overloads[signature].entry_point
