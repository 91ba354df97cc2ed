"""Live progress of a run: a redrawn line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time

from rich.live import Live
from rich.text import Text

from evolve import tables
from evolve.loop import Status
from problems.problem import Problem

_LOG_EVERY_S = 5.0


class Progress:
    """Shows evaluations, best against the best baseline, front, outcomes, rate and time left."""

    def __init__(self, problem: Problem) -> None:
        self._objective = problem.primary
        self._live = Live(console=tables.console, refresh_per_second=8, transient=False)
        self._terminal = tables.console.is_terminal
        self._logged_at = 0.0
        self._phase = ""
        self._first: tuple[float, int] | None = None  # elapsed, evaluations at the first candidate of this session

    def __enter__(self) -> Progress:
        if self._terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._live.stop()

    def update(self, status: Status) -> None:
        """Show the status of a run."""
        text = self._line(status)
        if self._terminal:
            self._live.update(Text(text))
            return
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S or status.phase != self._phase:
            self._logged_at, self._phase = now, status.phase
            tables.console.print(text, markup=False, soft_wrap=True)

    def _line(self, status: Status) -> str:
        unit = self._objective.unit
        kinds = "  ".join(f"{kind} {n}" for kind, n in sorted(status.counts.items()))
        best = f"best {tables.figure(status.best)}{unit} (baseline {tables.figure(status.best_baseline)}{unit}, train)"
        head = f"{status.phase}: {status.evaluations}/{status.limit} evaluations"
        return f"{head}  {best}  front {status.front}  [{kinds}]  {self._pace(status)}"

    def _pace(self, status: Status) -> str:
        if status.evaluations == 0:
            return f"{status.elapsed_s:.0f} s"
        if self._first is None:
            self._first = (status.elapsed_s, status.evaluations)
        seconds, done = status.elapsed_s - self._first[0], status.evaluations - self._first[1]
        if seconds <= 0 or done <= 0:
            return f"{status.elapsed_s:.0f} s"
        rate = done / seconds
        left = (status.limit - status.evaluations) / rate
        return f"{rate:.1f}/s  {status.elapsed_s:.0f} s, {left:.0f} s left"
