"""Tuning: search for values of a program's parameters, thousands of simulations a second.

The program is compiled once, in one sealed worker, which then answers losses for values of theta
and instances that the trusted process asks for. The optimiser, the bounds and the race are here.
Losses of a worker are claims: they guide the search and decide nothing. Whatever comes out is a
program with other constants, to be evaluated like any other.

Each theta races against the best so far (see racing.py): dropped after few instances, its loss is
the best one's plus the mean difference seen.
"""

from __future__ import annotations

import ast
import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.admission.parameters import parameters, with_values
from evaluators.evaluator import Evaluator
from evaluators.optimisers import OPTIMISERS, Space
from evaluators.outcome import Crashed, Failure, TimedOut
from evaluators.processes import wire
from evaluators.processes.channel import Channel
from evaluators.racing import Plan, is_worse
from evaluators.scoring import aggregate
from problems.problem import Instance, Problem

ALPHA = 0.05  # of races against the best values so far: with it the figures of docs/racing-and-tuning.md were taken
_SESSION_S = 3600.0
_LOOKS = slice(2, None, 3)  # of a plan's, those that are used: a simulation here costs little more than a look
_MAX_DEATHS = 20  # of workers, on values that made a program hang


class NothingToTune(ValueError):
    """The program has no parameters, or the problem's primary objective is a measured time."""


@dataclass(frozen=True)
class TuningResult:
    """What a search found: a claim until the program is evaluated."""

    source: str
    loss: float  # of the best values on all instances, as the worker said
    start: float  # of the written values
    thetas: int  # values of theta that were tried
    simulations: int
    seconds: float


async def search(
    evaluator: Evaluator,
    source: str,
    split: str,
    *,
    plan: Plan | None,
    simulations: int,
    optimiser: str = "cmaes",
    seed: int = 0,
) -> TuningResult | Failure:
    """Search for better values of a program's parameters.

    Parameters
    ----------
    evaluator : Evaluator
        Started; one of its slots is used throughout.
    source : str
        An admitted program.
    split : str
        Instances to tune on.
    plan : Plan, optional
        How thetas are raced there; None: each runs on all instances.
    simulations : int
        How many may be run; the search ends at the first theta that exceeds them.
    optimiser : str
        A name in OPTIMISERS.
    seed : int
        Of its randomness.

    Raises
    ------
    NothingToTune
        If there is nothing to tune, or no deterministic loss to tune by.
    """
    check(evaluator.problem, source)
    run = Run(evaluator.problem, evaluator.instances(split), source, plan, simulations, evaluator.limits.timeout_s)
    run.begin(optimiser, seed)
    begun_s = time.monotonic()
    failure = await converse(evaluator, source, split, run)
    return failure or run.result(time.monotonic() - begun_s)


def check(problem: Problem, source: str) -> None:
    """Refuse a program without parameters, and a problem without a deterministic loss."""
    if not parameters(ast.parse(source)):
        raise NothingToTune("the program has no param(...): name constants worth tuning, or lift its literals")
    if problem.primary.kind == "decision_time":
        raise NothingToTune("the primary objective is a measured time, which tuning cannot go by")


async def converse(evaluator: Evaluator, source: str, split: str, run: Run) -> Failure | None:
    """Have workers serve a search until it is done; a failure that ends it, if one does."""
    for _ in range(_MAX_DEATHS):
        try:
            ended = await evaluator.converse(source, split, run.talk, _SESSION_S)
        except TimeoutError:
            ended = TimedOut("run", f"one block of instances took more than {evaluator.limits.timeout_s:g} s")
        if run.failure is not None:
            return run.failure
        if not run.has_begun:
            reason = "the program fails with the values as written: evaluate it first"
            return ended if isinstance(ended, Failure) else Crashed("run", reason)
        if run.finished:
            break
    return None


class Run:
    """One search; survives the workers it uses up."""

    def __init__(
        self,
        problem: Problem,
        instances: Sequence[Instance],
        source: str,
        plan: Plan | None,
        simulations: int,
        patience_s: float,
    ) -> None:
        self._source = source
        self._parameters = parameters(ast.parse(source))
        self._space = Space(self._parameters)
        self._factor, self._offset = _affine(problem, instances)
        usable = np.flatnonzero(np.isfinite(self._offset)).tolist()
        self._plan = plan if plan is not None else Plan(tuple(usable), len(usable), (), 0.05, (1.0,) * len(usable))
        self._order = self._plan.order[: self._plan.size]
        self._left, self._patience_s = simulations, patience_s
        self._best = np.array([p.value for p in self._parameters])
        self._best_losses: np.ndarray | None = None  # (plan.size,) in the plan's order
        self._start = math.nan
        self._thetas = self._simulations = 0
        self.failure: Failure | None = None
        self.finished = False

    def begin(self, optimiser: str, seed: int) -> None:
        """Draw the first points."""
        self._search = OPTIMISERS[optimiser](self._space.point(self._best.tolist()), np.random.default_rng(seed))
        self._points = next(self._search)
        self._losses: list[float] = []

    @property
    def has_begun(self) -> bool:
        """Whether the written values have a loss."""
        return self._best_losses is not None

    async def talk(self, channel: Channel) -> None:
        """Search with one worker until the simulations are spent or the worker has gone."""
        if self._best_losses is None:
            found = await self._evaluate(channel, self._best)
            if found is None or not math.isfinite(found):
                return
            self._start = found
        while self._left > 0 and self.failure is None:
            values = self._space.values(self._points[len(self._losses)])
            try:
                loss = await self._evaluate(channel, values)
            except TimeoutError:
                self._tell(math.inf)
                raise
            # A worker that dies of a theta has said what there is to say of it.
            self._tell(math.inf if loss is None else loss)
            if loss is None:
                return
        self.finished = True

    def _tell(self, loss: float) -> None:
        self._losses.append(loss)
        if len(self._losses) == len(self._points):
            self._points = self._search.send(np.array(self._losses))
            self._losses = []

    async def _evaluate(self, channel: Channel, values: np.ndarray) -> float | None:
        """Mean loss of values, estimated if they are dropped; infinite if they fail, None if the worker went."""
        self._thetas += 1
        losses = np.empty(0)
        for n in (*(self._plan.looks[_LOOKS] if self._best_losses is not None else ()), self._plan.size):
            found = await self._losses_on(channel, values, self._order[len(losses) : n])
            if found is None:
                return None
            losses = np.concatenate([losses, found])
            if not np.isfinite(losses).all():
                return math.inf
            if n < self._plan.size and self._best_losses is not None:
                differences = losses - self._best_losses[:n]
                if is_worse(differences, self._plan):
                    return float(self._best_losses.mean() + differences.mean())
        if self._best_losses is None or losses.mean() < self._best_losses.mean():
            self._best, self._best_losses = values, losses
        return float(losses.mean())

    async def _losses_on(self, channel: Channel, values: np.ndarray, positions: Sequence[int]) -> np.ndarray | None:
        await channel.send(wire.encode_request(positions, values.tolist()))
        # Raises TimeoutError: the worker is then killed at once.
        message = await asyncio.wait_for(channel.receive(), self._patience_s)
        self._left -= len(positions)
        self._simulations += len(positions)
        if message is None:
            return None
        try:
            answer = wire.decode_losses(message, len(positions))
        except wire.BadAnswer as bad:
            answer = Crashed("run", f"the worker's answer is malformed: {bad}")
        if isinstance(answer, Failure):
            self.failure = answer
            return None
        chosen = list(positions)
        return self._factor[chosen] * np.array(answer) + self._offset[chosen]

    def result(self, seconds: float) -> TuningResult:
        """The best values, written into the program."""
        assert self._best_losses is not None
        source = with_values(self._source, self._best.tolist())
        loss = float(self._best_losses.mean())
        return TuningResult(source, loss, self._start, self._thetas, self._simulations, seconds)


def _affine(problem: Problem, instances: Sequence[Instance]) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset that turn each instance's raw metric into its loss: every objective is affine in it."""
    objective = problem.primary
    decisions = [1] * len(instances)
    at_zero = np.array(aggregate(objective, instances, [0.0] * len(instances), decisions)[1])
    at_one = np.array(aggregate(objective, instances, [1.0] * len(instances), decisions)[1])
    sign = objective.loss(1.0)
    return sign * (at_one - at_zero), sign * at_zero
