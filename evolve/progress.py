"""Live progress of a run: redrawn in place on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolve import tables
from evolve.loop import Status
from problems.problem import Problem

_LOG_EVERY_S = 5.0


class Progress:
    """Shows evaluations, best against the best baseline, front, outcomes, rate, time and budget left."""

    def __init__(self, problem: Problem) -> None:
        self._objective = problem.primary
        self._live = Live(console=tables.console, refresh_per_second=8)
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
        if self._terminal:
            self._live.update(self._panel(status))
            return
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S or status.phase != self._phase:
            self._logged_at, self._phase = now, status.phase
            tables.console.print("  ".join(self._facts(status)), markup=False, soft_wrap=True)

    def _panel(self, status: Status) -> RenderableType:
        head, best, outcomes, pace, *left = self._facts(status)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(total=max(status.limit, 1), completed=status.evaluations, width=30), f"{head}  {pace}")
        grid.add_row("", best)
        for fact in (outcomes, *left):
            grid.add_row("", Text(fact))  # a reason may hold brackets, which are no markup
        return grid

    def _facts(self, status: Status) -> list[str]:
        name, unit = self._objective.name, self._objective.unit
        best, baseline = tables.figure(status.best), tables.figure(status.best_baseline)
        kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in sorted(status.counts.items()))
        left = _left(status.left)
        return [
            f"{status.phase}: {status.evaluations}/{status.limit} evaluations",
            f"best {name} on train {best} {unit} (best baseline {baseline} {unit}), front {status.front}",
            kinds or "no outcome yet",
            self._pace(status),
            *([f"left: {left}"] if left else []),
            *([status.notice] if status.notice else []),
        ]

    def _pace(self, status: Status) -> str:
        if self._first is None and status.evaluations:
            self._first = (status.elapsed_s, status.evaluations)
        started, before = self._first or (status.elapsed_s, 0)
        seconds, done = status.elapsed_s - started, status.evaluations - before
        if seconds <= 0 or done <= 0 or status.phase != "searching":
            return f"{status.elapsed_s:.0f} s"
        rate = done / seconds
        return f"{rate:.1f}/s, {status.elapsed_s:.0f} s, {(status.limit - status.evaluations) / rate:.0f} s left"


def _left(left: Mapping[str, float | None]) -> str:
    """What is left of each cap, in words; evaluations stand in the bar."""
    forms = {
        "llm_calls": "{:,.0f} calls",
        "tokens": "{:,.0f} tokens",
        "input_tokens": "{:,.0f} input tokens",
        "output_tokens": "{:,.0f} output tokens",
        "usd": "${:.4f}",
        "seconds": "{:.0f} s",
    }
    amounts = ((form, left.get(name)) for name, form in forms.items())
    return ", ".join(form.format(amount) for form, amount in amounts if amount is not None)
