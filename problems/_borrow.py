"""Views of arrays that count no references.

Numba counts a reference up and down, in atomic instructions, for nearly every array that a step takes
from a tuple: more than half of an engine's time. A view made from a bare pointer has no owner and costs
nothing. Whoever borrows keeps the owner alive, by using it after the last use of the view.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numba
from numba.core import types
from numba.core.cgutils import unpack_tuple
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_config: Any = numba.config
_TUPLE: Any = types.BaseTuple
_T = TypeVar("_T")

if _config.DISABLE_JIT:

    def borrow(owner: _T) -> _T:
        """The owner itself: plain Python has no such cost."""
        return owner

else:

    @intrinsic
    def borrow(_: Any, owner: Any) -> Any:
        """A view of an array, or of a tuple and all arrays in it, that owns nothing."""

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            view = _view(context, builder, owner, values[0])
            return impl_ret_untracked(context, builder, signature.return_type, view)

        return owner(owner), generate


def _view(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """LLVM value of a view, given that of its owner."""
    if isinstance(kind, _TUPLE):
        parts = zip(kind.types, unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [_view(context, builder, k, v) for k, v in parts])
    if not isinstance(kind, types.Array):
        return value
    view = make_array(kind)(context, builder, value)
    view.meminfo = context.get_constant_null(types.MemInfoPointer(types.voidptr))
    view.parent = context.get_constant_null(types.pyobject)
    return view._getvalue()
