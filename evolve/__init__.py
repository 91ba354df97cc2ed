"""evolve: discover scheduling heuristics with language models.

``evolve.run`` starts a search, ``evolve.load_heuristic`` imports what one found. Both are
resolved on first use, so that ``import evolve`` stays cheap.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_heuristic", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from evolve.session import run

        return run
    if name == "load_heuristic":
        from evolve.heuristic import load_heuristic

        return load_heuristic
    raise AttributeError(f"module 'evolve' has no attribute {name!r}")
