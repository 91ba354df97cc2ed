"""A race in progress, in the trusted process: ask for a block, verify and score it, go on or stop.

The worker sees positions of instances and gives solutions. It learns neither its losses nor those
of the reference, and whether the race goes on is not its to decide.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np

from evaluators.outcome import Crashed, Dropped, Failure, Ok, Outcome
from evaluators.processes import wire
from evaluators.processes.channel import Channel
from evaluators.racing import Race, is_worse
from evaluators.scoring import by_instance, examine, references, summarise
from problems.problem import Instance, Problem


class Referee:
    """Judges one candidate in one race."""

    def __init__(self, problem: Problem, instances: Sequence[Instance], race: Race) -> None:
        race.check(len(instances))
        self._problem = problem
        self._instances = instances
        self._race = race
        assert len(race.plan.limits) == len(race.plan.looks)  # computed here, and not while the candidate's clock runs
        self._references = references(problem.primary, instances)
        self._begin([])

    def _begin(self, layout: Sequence[wire.Layout]) -> None:
        self._layout = layout
        self._raw: dict[str, np.ndarray] = {}
        self._nanoseconds = np.zeros(len(self._instances))
        self._done = 0
        self._cost = {"compile_s": 0.0, "run_s": 0.0, "score_s": 0.0}
        self._sealed_at_s = 0.0
        self._fingerprint = self._compiler = ""
        self.outcome: Outcome | None = None

    async def talk(self, channel: Channel, layout: Sequence[wire.Layout]) -> None:
        """Race a worker from its first block on; afterwards ``outcome`` is set unless the worker went."""
        self._begin(layout)
        for block in self._race.plan.blocks:
            await channel.send(wire.encode_request(block))
            message = await channel.receive()
            if message is None:
                return
            received_at_s = time.monotonic()
            self.outcome = self._judge(block, message)
            self._cost["score_s"] += time.monotonic() - received_at_s
            if self.outcome is not None:
                return
        self.outcome = self._finish()

    def timed(self, asked_at_s: float, ended_at_s: float) -> Outcome | None:
        """The outcome with what each step cost, given when the worker was asked for and when it had ended."""
        if not isinstance(self.outcome, Ok):
            return self.outcome
        seal_s = max(0.0, self._sealed_at_s - asked_at_s)
        rest_s = ended_at_s - asked_at_s - seal_s - sum(self._cost.values())
        cost = {"seal_s": seal_s, **self._cost, "transfer_s": max(0.0, rest_s)}
        return dataclasses.replace(self.outcome, cost=cost)

    def _judge(self, block: Sequence[int], message: bytes) -> Failure | None:
        """Score a block; None if the race goes on."""
        try:
            answer = wire.decode(message, self._problem.solution, self._layout, len(block))
        except wire.BadAnswer as bad:
            return Crashed("run", f"the worker's answer is malformed: {bad}")
        if isinstance(answer, Failure):
            return answer
        raw = examine(self._problem, [self._instances[i] for i in block], answer.solutions)
        if isinstance(raw, Failure):
            return raw
        for metric, values in raw.items():
            row = self._raw.setdefault(metric, np.full(len(self._instances), math.nan))
            row[list(block)] = values
        self._nanoseconds[list(block)] = answer.nanoseconds
        if self._done == 0:
            self._sealed_at_s, self._fingerprint = answer.sealed_at_s, answer.fingerprint
            self._compiler = answer.compiler
        self._cost["compile_s"] += answer.compile_s
        self._cost["run_s"] += answer.run_s
        self._done += len(block)
        return self._drop()

    def _drop(self) -> Dropped | None:
        """The verdict of the look that stands after so many instances."""
        plan = self._race.plan
        if self._done not in plan.looks:
            return None
        objective = self._problem.primary
        # Only values that no clock had a part in: the same verdict on every machine.
        values = by_instance(objective, self._raw[objective.of], self._references, ())
        seen = list(plan.order[: self._done])
        reference = np.asarray(self._race.reference, dtype=np.float64)
        differences = objective.loss(1.0) * (values - reference)[seen]
        if not is_worse(differences, plan):
            return None
        standard = float(np.nanmean(reference))
        estimate = standard + objective.loss(float(differences.mean()))
        return Dropped(
            "race",
            f"worse than {self._race.name} on {self._done} of {len(self._instances)} instances: {objective.name} "
            f"estimated at {estimate:.4g} {objective.unit}, {self._race.name} has {standard:.4g}",
            self._done,
            estimate,
            values.tolist(),
        )

    def _finish(self) -> Ok:
        raw = {metric: row.tolist() for metric, row in self._raw.items()}
        outcome = summarise(self._problem, self._instances, raw, self._nanoseconds.tolist())
        return dataclasses.replace(outcome, fingerprint=self._fingerprint, compiler=self._compiler)
