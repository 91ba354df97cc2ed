"""The decorator of every kernel, and where compiled kernels are kept.

numba's disk cache notices an edit of the file a kernel stands in, but not of the files whose
kernels it calls. The folder is therefore named after a digest of all sources of this package:
an edit anywhere starts a fresh one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.core.caching import FunctionCache


def _digest() -> str:
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def _folder() -> str:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "evolve" / f"kernels-{_digest()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile once per boot instead of failing
        folder = Path(tempfile.gettempdir()) / f"evolve-kernels-{os.getuid()}-{_digest()}"
    return str(folder)


KERNEL_CACHE = _folder()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel in numba nopython mode, cached on disk in KERNEL_CACHE."""
    return _compiled(function, forceinline=False)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a step of kernels into each of its callers.

    A call that passes a tuple of arrays counts a reference up and down for each of them, in atomic
    instructions; inlined, most of that goes away. Steps of 100 ns run three to five times faster.
    """
    return _compiled(function, forceinline=True)


class _SharedCache(FunctionCache):
    """Keeps out what was specialised on a caller's own function.

    The index of a kernel is pickled with the types it was compiled for. One entry for a function of
    some script would make every other process import that script, or fail.
    """

    def save_overload(self, sig: Any, data: Any) -> None:
        arguments = sig if isinstance(sig, tuple) else sig.args
        if not any(isinstance(argument, types.Dispatcher) for argument in arguments):
            super().save_overload(sig, data)


def _compiled(function: Callable[..., Any], *, forceinline: bool) -> Any:
    config: Any = numba.config
    if config.DISABLE_JIT:
        return function
    dispatcher: Any = numba.njit(forceinline=forceinline)(function)
    # numba would compile a callee again for each number written out in a call
    by_types = dispatcher.get_call_template
    dispatcher.get_call_template = lambda arguments, named: by_types(
        [types.unliteral(a) for a in arguments], {name: types.unliteral(a) for name, a in named.items()}
    )
    # The locator is chosen when the cache is made: the user's own setting is put back.
    previous, config.CACHE_DIR = config.CACHE_DIR, KERNEL_CACHE
    try:
        dispatcher._cache = _SharedCache(function)
    finally:
        config.CACHE_DIR = previous
    return dispatcher
