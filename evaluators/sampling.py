"""Tuning on samples: each generation of CMA-ES meets other instances.

What comes out is the center of the last distribution, not the luckiest point. Where instances
differ more than values do, that takes far fewer simulations than comparing values on all instances
(tuning.py), and it does not fit the instances one by one. Losses are claims of a worker here too.
"""

from __future__ import annotations

import math

import numpy as np

from evaluators.admission.parameters import with_values
from evaluators.evaluator import Evaluator
from evaluators.optimisers import Center
from evaluators.outcome import Failure
from evaluators.processes.channel import Channel
from evaluators.racing import Plan
from evaluators.tuning import Run, check, converse

_SAMPLE = 12  # instances that a generation meets, at least: where train is small, more points count for more
SIGMA = 0.2  # of the first distribution where nothing else is asked for, in shares of the bounds


async def sample(
    evaluator: Evaluator,
    source: str,
    split: str,
    *,
    plan: Plan | None,
    simulations: int,
    seed: int,
    sigma: float = SIGMA,
) -> str | Failure:
    """Search for better values of a program's parameters on samples of a split.

    Parameters are those of ``search``, except that the plan only orders the instances, and that no
    more than ``simulations`` are run, and that ``sigma`` is the standard deviation of the first
    distribution, in shares of the bounds.

    Returns
    -------
    The program with the values at the center of the last distribution; whether they are better
    nobody has measured.

    Raises
    ------
    NothingToTune
        As ``search`` does.
    """
    check(evaluator.problem, source)
    run = _Sampled(evaluator.problem, evaluator.instances(split), source, plan, simulations, evaluator.limits.timeout_s)
    run.start(seed, sigma)
    return await converse(evaluator, source, split, run) or run.center()


class _Sampled(Run):
    """A search whose generations meet other instances each."""

    def start(self, seed: int, sigma: float) -> None:
        """Draw the first points."""
        self._center = Center(self._space.point(self._best.tolist()), np.random.default_rng(seed), sigma)
        self._points, self._losses = self._center.ask(), []
        self._size = min(len(self._order), max(_SAMPLE, len(self._order) // 6))
        self._from = 0  # where in the order this generation's instances begin
        self._answered = False

    @property
    def has_begun(self) -> bool:
        """Whether any values have a loss."""
        return self._answered

    async def talk(self, channel: Channel) -> None:
        """Search with one worker until the simulations are spent or the worker has gone."""
        while self._left >= self._size:
            chosen = [self._order[(self._from + k) % len(self._order)] for k in range(self._size)]
            values = self._space.values(self._points[len(self._losses)])
            try:
                found = await self._losses_on(channel, values, chosen)
            except TimeoutError:
                self._tell(math.inf)
                raise
            finite = found is not None and bool(np.isfinite(found).all())
            self._answered = self._answered or finite
            self._tell(float(found.mean()) if found is not None and finite else math.inf)
            if found is None:
                return
        self.finished = True

    def _tell(self, loss: float) -> None:
        self._losses.append(loss)
        if len(self._losses) == len(self._points):
            self._center.tell(self._points, np.array(self._losses))
            self._points, self._losses = self._center.ask(), []
            self._from = (self._from + self._size) % len(self._order)

    def center(self) -> str:
        """The values at the center, written into the program."""
        return with_values(self._source, self._space.values(self._center.point).tolist())
