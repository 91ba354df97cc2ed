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
    # The locator is chosen when a function is decorated: the user's own setting is put back.
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, KERNEL_CACHE
    try:
        return numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = previous
