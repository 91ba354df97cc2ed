"""Evaluating programs: admission here, everything that runs in sealed workers, scoring here."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from evaluators import verdict
from evaluators.admission.policy import Rejection, admit
from evaluators.host import Host, SandboxUnavailable
from evaluators.outcome import Crashed, Failure, Infeasible, Ok, Outcome, Rejected
from evaluators.processes import wire
from evaluators.processes.channel import Talk
from evaluators.processes.executor import Ended, ExecutorLost
from evaluators.racing import Race
from evaluators.referee import Referee
from evaluators.scoring import examine, solve_procedure
from problems.problem import Instance

__all__ = ["Evaluator", "SandboxUnavailable", "solve_procedure"]

Kind = TypeVar("Kind", bound="Evaluator")


class Evaluator(Host):
    """Runs programs of one problem, each in a sealed worker of its own; parameters are those of ``Host``."""

    def beside(self, kind: type[Kind]) -> Kind:
        """Another evaluator of the same problem with the same settings, not started."""
        return kind(
            self.problem,
            decoder=self.decoder,
            workers=self._workers,
            limits=self.limits,
            allow_weak_sandbox=self._weak,
            executor=self._make_executor,
        )

    async def evaluate(self, source: str, split: str, *, probe: bool = True, race: Race | None = None) -> Outcome:
        """Evaluate a program on a split; with ``probe`` also fingerprint its decisions.

        In a race the program is Dropped as soon as it is clearly worse than the race's reference.
        Every end of a program is an outcome. What is raised is not about the program: a bad
        instance file, a verifier that contradicts a bound, an evaluator that was closed.
        """
        if refusal := self.refusal(source):
            return refusal
        instances = self.instances(split)
        referee = None if race is None else Referee(self.problem, instances, race)
        await self._load(split)
        async with self._slots, self._alone_at_first():
            asked_at_s = time.monotonic()
            ended = await self._run(source, split, probe, referee=referee)
            if isinstance(ended, Failure):
                return ended
            # Within the slot: scoring uses a core too.
            outcome = self._judge(ended, instances, asked_at_s, referee)
            self._verified |= isinstance(outcome, Ok)
            return outcome

    async def solve(self, source: str, split: str) -> list[Any] | Failure:
        """The solutions themselves, verified, in the order of a split's instances; for explanations."""
        if refusal := self.refusal(source):
            return refusal
        instances = self.instances(split)
        await self._load(split)
        async with self._slots, self._alone_at_first():
            ended = await self._run(source, split, False)
            answer = ended if isinstance(ended, Failure) else self._answer(ended, len(instances))
            if isinstance(answer, Failure):
                return answer
            found = examine(self.problem, instances, answer.solutions)
            self._verified |= not isinstance(found, Infeasible)
            return found if isinstance(found, Infeasible) else list(answer.solutions)

    @contextlib.asynccontextmanager
    async def _alone_at_first(self) -> AsyncIterator[None]:
        """Until one solution has been verified, let one program run at a time.

        Where kernels are not cached yet, the first one makes this process compile the verifier, for a minute at
        worst. Nobody reads what other workers write meanwhile, so they would be killed at their limit.
        """
        if not self._verified:
            async with self._first:
                if not self._verified:
                    yield
                    return
        yield

    async def converse(self, source: str, split: str, talk: Talk, timeout_s: float) -> Ended | Failure:
        """Have a worker serve losses of a program's parameters on a split: claims, see tuning.py."""
        if refusal := self.refusal(source):
            return refusal
        await self._load(split)
        async with self._slots:
            zygote = await self._running()
            try:
                return await zygote.run(
                    self._message(source), split, probe=False, mode="losses", talk=talk, timeout_s=timeout_s
                )
            except ExecutorLost:
                return Crashed("run", "the zygote died while this program was tuned")

    def refusal(self, source: str) -> Rejected | None:
        """Why a program is not admitted, or None."""
        try:
            self._admit(source)
        except Rejection as refusal:
            return Rejected("admit", str(refusal))
        return None

    def _admit(self, source: str) -> None:
        admit(source, self.problem)

    def _message(self, source: str) -> str:
        """What a worker is sent for a program."""
        if not self.lowered or not self.problem.hooks:
            return source
        from evaluators.compiler.compile import draft  # late: commands that evaluate nothing need no compiler

        return draft(source, self.problem)

    async def _warm_up(self) -> None:
        """Have numba write the operations of a first program, while the zygote gets ready."""
        for rule in self.problem.rules[:1]:
            self._message(rule.source)

    async def _run(
        self, source: str, split: str, probe: bool, *, talk: Talk | None = None, referee: Referee | None = None
    ) -> Ended | Failure:
        """Run a program; if the zygote dies under it through no fault of its own, run it again."""
        message = self._message(source)
        for _ in range(2):
            zygote = await self._running()
            try:
                if referee is None:
                    return await zygote.run(message, split, probe=probe, talk=talk)
                race = functools.partial(referee.talk, layout=zygote.layout)
                return await zygote.run(message, split, probe=probe, mode="blocks", talk=race)
            except ExecutorLost as lost:
                if lost.guilty:
                    return verdict.timed_out(self.limits)
        return Crashed("run", "the zygote died twice while this program ran")

    def _judge(
        self, ended: Ended, instances: Sequence[Instance], asked_at_s: float, referee: Referee | None
    ) -> Outcome:
        """From how a worker ended and what it wrote to an outcome."""
        if ended.code < 0 or ended.fate != "exited":
            return verdict.of_death(ended, self.limits)
        raced = None if referee is None else referee.timed(asked_at_s, time.monotonic())
        if isinstance(raced, Failure) or (raced is not None and ended.code == 0):
            return raced
        answer = self._answer(ended, len(instances))
        if isinstance(answer, Failure):
            return answer
        return verdict.of_answer(answer, self.problem, instances, asked_at_s)

    def _answer(self, ended: Ended, count: int) -> wire.Answer | Failure:
        """What a worker wrote, with one solution per instance."""
        if ended.code != 0 or ended.fate != "exited" or not ended.answer:
            return verdict.of_death(ended, self.limits)
        return verdict.decoded(ended.answer, self.problem, self._layout, count)
