"""An event loop whose clock jumps to the next timer: hours of waiting pass in no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Impatient(selectors.SelectSelector):
    """Looks for events, and instead of waiting for them moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now += timeout
        # With no timer at all only another thread can bring news.
        return super().select(None if timeout is None else 0)


class WarpLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and passes only while every task waits."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.now


def run(main: Coroutine[Any, Any, None]) -> None:
    """Like asyncio.run, on a WarpLoop."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(main)
