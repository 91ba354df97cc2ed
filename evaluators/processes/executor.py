"""What runs programs: the interface between the evaluator and the machines it uses.

``evaluators.processes.zygote.Zygote`` is the local one: a process that forks a sealed worker per program, as
many at once as the evaluator has slots. One for a cluster starts such a process on each node,
hands programs to whichever is free, and passes back what their workers write; neither the
evaluator nor its callers change. Whoever implements it is trusted, what it passes back is not:
answers are bytes, and verified where the evaluator is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from evaluators.processes.channel import Talk
from evaluators.processes.wire import Layout
from evaluators.sandbox.limits import Limits


class ExecutorLost(RuntimeError):
    """The executor died, or was killed because it hung; ``guilty`` is the run that it hung on."""

    def __init__(self, guilty: bool) -> None:
        super().__init__("the zygote was lost")
        self.guilty = guilty


class Ended(NamedTuple):
    """How a worker ended, and what it wrote until then."""

    answer: bytes
    fate: str  # exited, timed out, killed (by us); flooded
    code: int  # exit code, or minus the signal


class Executor(Protocol):
    """Runs programs of one problem, each in a sealed worker of its own.

    Everything is awaited in the event loop that started it.
    """

    lost: bool  # gone, and to be started anew
    missing: list[str]  # layers of the sandbox; not empty only where that was allowed
    layout: list[Layout]  # how solutions look; known once it has started

    @property
    def pid(self) -> int:
        """Process id of what runs programs, or of what speaks for it here."""

    async def start(self, splits: list[str]) -> None:
        """Get ready: import, compile and warm up what all programs share, load splits."""

    async def load(self, split: str) -> None:
        """Load one more split; nothing runs meanwhile."""

    async def run(
        self,
        source: str,
        split: str,
        *,
        probe: bool,
        mode: str = "once",
        talk: Talk | None = None,
        timeout_s: float | None = None,
    ) -> Ended:
        """Run one program; raises ExecutorLost if the executor dies or hangs meanwhile."""

    async def close(self) -> None:
        """End everything that was started; return when it is gone."""


# From the settings and limits that the evaluator gives.
MakeExecutor = Callable[[Mapping[str, Any], Limits], Executor]
