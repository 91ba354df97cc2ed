"""Views of arrays that count no references.

Numba counts a reference up and down, in atomic instructions, for nearly every array that a step takes
from a tuple: more than half of the engine's time. A view made from a bare pointer has no owner and costs
nothing. The caller keeps the owner alive: use it after the last use of the view.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from problems._jit import inlined
from problems.serving._engine_state import State
from problems.serving._machine import Serving
from problems.serving._requests import Requests

_config: Any = numba.config

if _config.DISABLE_JIT:

    def borrow(array: np.ndarray) -> np.ndarray:
        """The array itself: plain Python has no such cost."""
        return array

else:

    @intrinsic
    def borrow(_: Any, array: Any) -> Any:
        """A view of an array that does not own it."""

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            view = make_array(array)(context, builder, values[0])
            view.meminfo = context.get_constant_null(numba.types.MemInfoPointer(numba.types.voidptr))
            view.parent = context.get_constant_null(numba.types.pyobject)
            return impl_ret_untracked(context, builder, signature.return_type, view._getvalue())

        return array(array), generate


@inlined
def borrow_state(state: State) -> State:
    """A state's arrays, not owned."""
    return State(
        borrow(state.request),
        borrow(state.server),
        borrow(state.decoding),
        borrow(state.prefilling),
        borrow(state.queue),
        borrow(state.crossing),
        borrow(state.held),
        borrow(state.left),
    )


@inlined
def borrow_data(data: Serving) -> Serving:
    """An instance's arrays, not owned."""
    r = data.requests
    return Serving(
        Requests(
            borrow(r.arrival_s),
            borrow(r.prompt_tokens),
            borrow(r.output_tokens),
            borrow(r.predicted_output),
            borrow(r.tenant),
            borrow(r.session),
            borrow(r.session_tokens),
            borrow(r.prefix),
            borrow(r.prefix_tokens),
            borrow(r.priority),
            borrow(r.ttft_slo_s),
            borrow(r.tpot_slo_s),
        ),
        borrow(data.layers_s),
        borrow(data.head_s),
        borrow(data.cost),
        borrow(data.token_s),
        borrow(data.limit),
        borrow(data.time_s),
    )
