"""Small clusters for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from servers import limits
from simulate import THETA, _compiled, _signature

from problems.serving._cluster import engine as _cluster_engine
from problems.serving._cluster.data import NEVER_PATIENT, Cluster
from problems.serving._cluster.engine import Routing
from problems.serving._cluster.views import Instance, Request
from problems.serving._server.machine import Limits


def small(**given: Any) -> Limits:
    """Limits of a small server of a cluster."""
    return limits(**({"patience": NEVER_PATIENT, "max_prefill": 32} | given))


def serve_cluster(data: Cluster, route: Callable[..., float], theta: Sequence[float] = ()) -> Routing:
    """Run the engine with a Python function as rule."""
    values = np.array(theta, dtype=np.float64)
    values.setflags(write=False)
    return _entry(numba.typeof(data))(data, _compiled(route, _signature((Request, Instance))), values)


@cache
def _entry(data: Any) -> Any:
    signature = (data, types.FunctionType(_signature((Request, Instance))), THETA)
    _cluster_engine.request_routing.compile(signature)
    return _cluster_engine.request_routing.overloads[signature].entry_point
