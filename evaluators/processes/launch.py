"""Starting a clean Python process: isolated mode, a scrubbed environment, explicit paths."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from evaluators.sandbox import seal

# Where caches and temporary files live, so that both sides share compiled kernels. No other
# variable passes: keys and tokens live in the environment. The last one weakens the sandbox, for its tests.
_KEPT = ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "TMPDIR", seal.SWITCH)
_SET = {
    "LC_ALL": "C.UTF-8",
    # One thread each: the zygote must not have any but its own when it forks.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # All of malloc's memory in one piece, for huge pages.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**21),
    # Sets of text in the same order each time: a program's answers must not depend on the process.
    "PYTHONHASHSEED": "0",
}
_BOOTSTRAP = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(*map(int, sys.argv[4:]))
"""


def environment() -> dict[str, str]:
    """What a clean process gets of this one's environment, and what it gets besides."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET


def command(module: str, function: str, *numbers: int) -> list[str]:
    """Command line that calls ``module.function(*numbers)`` in a clean process.

    Paths are passed on because isolated mode drops the directory that an uninstalled checkout is
    imported from. Relative entries would mean another directory there, and are left out.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *(path for path in sys.path if os.path.isabs(path) and path != root)]
    return [sys.executable, "-s", "-P", "-c", _BOOTSTRAP, json.dumps(paths), module, function, *map(str, numbers)]


def nameless_file() -> int:
    """Descriptor of a new file, for a process to complain to, that is gone when it is closed."""
    descriptor, path = tempfile.mkstemp(prefix="evolve-zygote-")
    os.unlink(path)
    return descriptor
