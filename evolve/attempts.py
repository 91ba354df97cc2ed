"""Attempts: which are begun when, and in which order they are told; what each does is in ``making.py``.

Attempts are numbered. While one is evaluated, others are asked for and evaluated, up to WINDOW
under way. In a deterministic run candidates are told in the order of their numbers, whoever
finishes first, and each draws from its own random stream: the archive depends neither on the
number of workers nor on their speed. Otherwise whoever comes first is told first, because an LLM's
replies take anything from one second to minutes. A replay follows the order in its record.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from evaluators.evaluator import Evaluator
from evolve.budget import Budget, BudgetExhausted, Reservation
from evolve.config import TUNING_WINDOW, WINDOW
from evolve.findings import Findings
from evolve.making import Making
from evolve.operators import OPERATORS, REPAIR
from evolve.program import Candidate, Program
from evolve.proposers.proposer import Proposer
from evolve.record import Record
from evolve.store import Ask, Store
from evolve.strategies.strategy import Proposal, Wait, cheapest

# A proposer that only produces refusals (a model that answers in prose) must not run for ever.
MAX_REFUSALS_IN_A_ROW = 100


@dataclass
class Attempt:
    """One attempt under way; its reservation is settled when it is told, so that order decides."""

    task: asyncio.Task[Candidate]
    reservation: Reservation


@dataclass
class Attempts:
    """The attempts of one run: those under way, and those that an earlier session left behind."""

    store: Store
    found: Findings
    evaluator: Evaluator
    proposer: Proposer
    budget: Budget
    record: Record | None = None  # of the run that is replayed
    stopped: str = ""  # why nothing more is begun

    making: Making = field(init=False)
    _pending: dict[int, Attempt] = field(default_factory=dict)
    _recorded: dict[int, Program] = field(default_factory=dict)  # those of earlier sessions that were not told
    _unfinished: list[int] = field(default_factory=list)  # numbers of attempts that an earlier session did not tell
    _begun: int = 0  # what the record began before so many programs were told is begun
    _next: int = 0

    def __post_init__(self) -> None:
        self.making = Making(self.store, self.found, self.evaluator, self.proposer)
        self._asks = self.making.asks

    def restore(self, programs: Mapping[int, Program]) -> None:
        """Take up what earlier sessions began and did not tell; findings have heard of the rest."""
        told = self.found.candidates
        attempts = {n: p for n, p in programs.items() if p.origin not in ("procedure", "baseline", "simplified")}
        self._recorded = {n: p for n, p in attempts.items() if n not in told}
        self._asks.update(self.store.asks())
        self.found.mended = {ask.parents[0] for ask in self._asks.values() if ask.operator == REPAIR}
        self._unfinished = sorted((self._asks.keys() | self._recorded.keys()) - told.keys())
        self._next = max([*programs, *self._asks], default=-1) + 1

    def number(self) -> int:
        """A fresh program id."""
        self._next += 1
        return self._next - 1

    # which, and in which order

    def refill(self) -> bool:
        """Begin as many attempts as may be under way, or those that the record began here.

        Returns
        -------
        Whether any is under way.
        """
        if self.record is None:
            while len(self._pending) < (TUNING_WINDOW if self.making.tuning else WINDOW) and self._may_begin():
                number = self._unfinished[0] if self._unfinished else self._next
                attempt = self._begin(number)
                if attempt is None:
                    break
                self._pending[number] = attempt
                self._unfinished, self._next = self._unfinished[1:], max(self._next, number + 1)
            return bool(self._pending)
        told = len(self.found.candidates)
        due = (number for k in range(self._begun, told + 1) for number in self.record.due(k))
        for number in due:
            if number not in self.found.candidates:
                attempt = self._begin(number)
                assert attempt is not None, f"the strategy waits where the record asked for {number}"
                self._pending[number] = attempt
                self._next = max(self._next, number + 1)
        self._begun = told + 1
        return bool(self._pending)

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait until there may be something to tell; whether it came to that in time.

        Raises
        ------
        UserError
            If a model cannot work: that ends the run out of turn.
        """
        # one that ended, but is not to be told yet, would end the wait at once
        turn = self._turn()
        watched = [a.task for number, a in self._pending.items() if turn in (None, number) or not a.task.done()]
        done, _ = await asyncio.wait(watched, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for attempt in self._pending.values():
            error = attempt.task.exception() if attempt.task.done() else None
            if error is not None and not isinstance(error, BudgetExhausted):
                raise error
        return bool(done)

    def ended(self) -> Iterator[tuple[Candidate, Reservation]]:
        """Candidates to tell now, in order, each with its reservation, which is still open."""
        done = [number for number, attempt in self._pending.items() if attempt.task.done()]
        turn = self._turn()
        for number in sorted(done) if turn is None else [turn] if turn in done else []:
            attempt = self._pending.pop(number)
            try:
                candidate = attempt.task.result()
            except BudgetExhausted as exhausted:
                attempt.reservation.release()
                self.stopped = str(exhausted)  # ask no more; calls under way are paid for, so they go on
                continue
            # of equal programs under way together the first one told has the outcome
            candidate = self.found.repeated(candidate.program) or candidate
            if self.record is not None:
                candidate = self.record.corrected(candidate, self.found.problem.objectives)
            yield candidate, attempt.reservation
            self.making.forget(candidate.program)

    async def cancel(self) -> None:
        """Stop whatever is under way."""
        for attempt in self._pending.values():
            attempt.task.cancel()
        await asyncio.gather(*(attempt.task for attempt in self._pending.values()), return_exceptions=True)

    def _turn(self) -> int | None:
        """The attempt that has to be told next; None if whoever comes first."""
        if self.record is not None:
            turn = next(number for number in self.record.order if number not in self.found.candidates)
            assert turn in self._pending, f"the record tells {turn} before it was begun"
            return turn
        return min(self._pending) if self.store.config.deterministic else None

    def _may_begin(self) -> bool:
        if self.stopped:
            return False
        if self.found.refusals >= MAX_REFUSALS_IN_A_ROW:
            last = next(reversed(self.found.candidates.values())).outcome
            said = getattr(last, "reason", "")
            self.stopped = f"stopped: {self.found.refusals} refusals in a row, the last: {said}"
            return False
        if self.budget.remaining()["seconds"] == 0:
            self.stopped = "seconds spent"
        return self.budget.affords(evaluations=1)

    # one attempt

    def _begin(self, number: int) -> Attempt | None:
        """Start an attempt, or take up one that an earlier session began.

        None if the strategy waits, or wants what the budget does not afford before some of what is
        under way has been told; if nothing is, that was all.
        """
        begun = self._asks.get(number)
        reservation = self.budget.reserve(evaluations=1 if begun is None else self.making.cost(begun.operator))
        program = self._recorded.get(number)
        if program is None and self.record is not None:
            program = self.record.imports.get(number)
            if program is not None:
                self.making.journal(program)
        if program is not None and (program.source or number not in self._asks):
            return Attempt(asyncio.create_task(self.making.evaluate(program)), reservation)
        # asked here and not in the task: what the strategy has heard by now decides
        proposal = self._proposal(number)
        if isinstance(proposal, Wait):
            assert self._pending, f"{type(self.found.strategy).__name__} waits, but nothing is under way"
            reservation.release()
            return None
        if begun is None and self.making.cost(proposal.operator) > 1:
            reservation.release()
            if not self.budget.affords(evaluations=self.making.cost(proposal.operator)):
                del self._asks[number]
                return None
            reservation = self.budget.reserve(evaluations=self.making.cost(proposal.operator))
        self._write_down(number)
        return Attempt(asyncio.create_task(self.making.make(number, proposal)), reservation)

    def _proposal(self, number: int) -> Proposal | Wait:
        """Ask the strategy; an attempt of an earlier session is made as it was asked for then."""
        ask, told = self._asks.get(number), self.found.candidates
        if ask is not None:
            parents, others = ([told[n] for n in numbers] for numbers in (ask.parents, ask.inspirations))
            return Proposal(ask.operator, tuple(parents), tuple(others), ask.model, number)
        answer: Proposal | Wait | None = self._repair(number)
        if answer is None:
            proposer, under_way = self.proposer, len(self._pending)
            view = self.found.view(
                proposer.operators, under_way, proposer.models, proposer.strong, tuning=self.making.tuning
            )
            answer = self.found.strategy.ask(view, self.making.rng(number, 0))
        if isinstance(answer, Wait):
            return answer
        proposal = dataclasses.replace(answer, number=number)
        self._asks[number] = Ask(
            number,
            proposal.operator,
            parents=tuple(c.program.id for c in proposal.parents),
            inspirations=tuple(c.program.id for c in proposal.inspirations),
            told=len(told),
            model=proposal.model,
        )
        return proposal

    def _repair(self, number: int) -> Proposal | None:
        """One try, by the cheapest model, for the oldest program that was not admitted or did not compile."""
        if self.record is not None:
            ask = self.record.repairs.get(number)
            return None if ask is None else Proposal(REPAIR, (self.found.candidates[ask.parents[0]],), model=ask.model)
        broken = self.found.broken() if self.store.config.repair else None
        if broken is None:
            return None
        self.found.mended.add(broken.program.id)
        return Proposal(REPAIR, (broken,), model=cheapest(self.proposer.models))

    def _write_down(self, number: int) -> None:
        """Journal what an attempt sets out to do, if it takes time until there is a program to journal."""
        ask = self._asks[number]
        if not self.proposer.immediate or OPERATORS[ask.operator].tuned:
            with self.store.transaction():
                self.store.add_ask(ask)
