"""Attempts: which are begun when, how each becomes a candidate, and in which order they are told.

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

import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.outcome import CompileError, Outcome, Rejected
from evaluators.racing import Plan, Race
from evolve.budget import Budget, BudgetExhausted, Reservation
from evolve.config import TUNING_WINDOW, WINDOW
from evolve.findings import Findings, untimed
from evolve.ledger import Notes
from evolve.operators import OPERATORS, REPAIR, is_tuned
from evolve.program import Candidate, Program
from evolve.proposers.proposer import Draft, EditRefused, Proposer
from evolve.record import Record
from evolve.store import Ask, Store
from evolve.strategies.strategy import Proposal, Wait, cheapest
from evolve.traces import TRACED, with_trace
from evolve.tuning import tuned

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

    _pending: dict[int, Attempt] = field(default_factory=dict)
    # canonical hash and opponent -> the text that is evaluated, and its evaluation
    _evaluating: dict[tuple[str, int | None], tuple[str, asyncio.Task[Outcome]]] = field(default_factory=dict)
    _plan: Plan | None = None  # of races on train, once the baselines are known
    _asks: dict[int, Ask] = field(default_factory=dict)
    _recorded: dict[int, Program] = field(default_factory=dict)  # those of earlier sessions that were not told
    _unfinished: list[int] = field(default_factory=list)  # numbers of attempts that an earlier session did not tell
    _begun: int = 0  # what the record began before so many programs were told is begun
    _next: int = 0

    def restore(self, programs: Mapping[int, Program]) -> None:
        """Take up what earlier sessions began and did not tell; findings have heard of the rest."""
        told = self.found.candidates
        attempts = {n: p for n, p in programs.items() if p.origin not in ("procedure", "baseline", "simplified")}
        self._recorded = {n: p for n, p in attempts.items() if n not in told}
        self._asks = self.store.asks()
        self.found.mended = {ask.parents[0] for ask in self._asks.values() if ask.operator == REPAIR}
        self._unfinished = sorted((self._asks.keys() | self._recorded.keys()) - told.keys())
        self._next = max([*programs, *self._asks], default=-1) + 1

    def number(self) -> int:
        """A fresh program id."""
        self._next += 1
        return self._next - 1

    def journal(self, program: Program, spend: dict[str, object] | None = None) -> None:
        """Journal an attempt, and what it cost, before it is evaluated."""
        ask = self._asks.get(program.id)
        with self.store.transaction():
            if ask is not None:
                self.store.add_ask(ask)
            self.store.add_program(program)
            if spend:
                self.store.add_spend(program.id, spend)

    def shown(self, candidate: Candidate) -> Candidate:
        """A candidate without its decision times in a deterministic run: a prompt must not depend on them."""
        return untimed(candidate, self.found.problem) if self.store.config.deterministic else candidate

    # which, and in which order

    def refill(self) -> bool:
        """Begin as many attempts as may be under way, or those that the record began here.

        Returns
        -------
        Whether any is under way.
        """
        if self.record is None:
            while len(self._pending) < (TUNING_WINDOW if self._tuning else WINDOW) and self._may_begin():
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
            self._evaluating.pop(self._work(candidate.program), None)

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
        reservation = self.budget.reserve(evaluations=1 if begun is None else self.cost(begun.operator))
        program = self._recorded.get(number)
        if program is None and self.record is not None:
            program = self.record.imports.get(number)
            if program is not None:
                self.journal(program)
        if program is not None and (program.source or number not in self._asks):
            return Attempt(asyncio.create_task(self._evaluate(program)), reservation)
        # asked here and not in the task: what the strategy has heard by now decides
        proposal = self._proposal(number)
        if isinstance(proposal, Wait):
            assert self._pending, f"{type(self.found.strategy).__name__} waits, but nothing is under way"
            reservation.release()
            return None
        if begun is None and self.cost(proposal.operator) > 1:
            reservation.release()
            if not self.budget.affords(evaluations=self.cost(proposal.operator)):
                del self._asks[number]
                return None
            reservation = self.budget.reserve(evaluations=self.cost(proposal.operator))
        self._write_down(number)
        return Attempt(asyncio.create_task(self._attempt(number, proposal)), reservation)

    def _proposal(self, number: int) -> Proposal | Wait:
        """Ask the strategy; an attempt of an earlier session is made as it was asked for then."""
        ask, told = self._asks.get(number), self.found.candidates
        if ask is not None:
            parents, others = ([told[n] for n in numbers] for numbers in (ask.parents, ask.inspirations))
            return Proposal(ask.operator, tuple(parents), tuple(others), ask.model, number)
        answer: Proposal | Wait | None = self._repair(number)
        if answer is None:
            proposer, under_way = self.proposer, len(self._pending)
            view = self.found.view(proposer.operators, under_way, proposer.models, proposer.strong, tuning=self._tuning)
            answer = self.found.strategy.ask(view, self._rng(number, 0))
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

    async def _attempt(self, number: int, proposal: Proposal) -> Candidate:
        """Propose, admit, evaluate."""
        # what is repaired never ran: its child descends from where it came from
        repaired = proposal.operator == REPAIR
        made_of = proposal.parents[0].program.parents if repaired else tuple(c.program.id for c in proposal.parents)
        program = Program(number, "", self.proposer.origin, proposal.operator, made_of)
        seen = dataclasses.replace(
            proposal,
            parents=tuple(map(self.shown, proposal.parents)),
            inspirations=tuple(map(self.shown, proposal.inspirations)),
            notes=await self._notes(number, proposal),
        )
        try:
            if proposal.operator == "tune":
                draft = Draft(proposal.parents[0].program.source, "other constants")
            else:
                draft = await self.proposer.propose(seen, self._rng(number, 1))
            if OPERATORS[proposal.operator].tuned:
                draft = dataclasses.replace(draft, source=await self._tuned(draft.source, number))
        except EditRefused as refusal:
            program = dataclasses.replace(program, model=refusal.model)
            self.journal(program, refusal.spend)
            return Candidate(program, Rejected("edit", str(refusal)))
        program = dataclasses.replace(program, source=draft.source, thought=draft.thought, model=draft.model)
        self.journal(program, draft.spend)
        return await self._evaluate(program)

    async def _notes(self, number: int, proposal: Proposal) -> Notes:
        """What a prompt tells of the run, as far as the strategy knew it when it was asked."""
        if self.proposer.immediate:
            return Notes()
        notes, first = self.found.notes(self._asks[number].told), proposal.parents[0]
        if proposal.operator not in TRACED:
            return notes
        return await with_trace(notes, self.evaluator, first, self.found.parent(first), self.found.baselines)

    async def _tuned(self, source: str, number: int) -> str:
        self._plan = self._plan or self.found.plan(self.evaluator.instances("train"), self.store.config.alpha)
        seed = int(self._rng(number, 2).integers(2**31))
        return await tuned(self.evaluator, source, plan=self._plan, evaluations=self._tuning, seed=seed)

    @property
    def _tuning(self) -> int:
        return self.store.config.tuning or 0

    def tuned_for(self, program: Program) -> int:
        """Evaluations' worth of simulations that went into a program's constants."""
        return self._tuning if program.source and is_tuned(program) else 0

    def cost(self, operator: str) -> int:
        """Evaluations that an attempt may take: simulations of tuning count like those of evaluations."""
        return 1 + self._tuning * OPERATORS[operator].tuned

    async def _evaluate(self, program: Program) -> Candidate:
        """Evaluate on train unless the same program was seen before: nothing is paid for twice."""
        if not program.source:
            return Candidate(program, Rejected("edit", "refused; the reason was lost when the run was stopped"))
        repeated = self.found.repeated(program)
        if repeated is not None:
            return repeated
        return Candidate(program, await self._shared(program))

    async def _shared(self, program: Program) -> Outcome:
        """Evaluate; equal programs under way share an evaluation.

        Unless dead code may be why it failed: then each is evaluated as it is written, so that its
        outcome does not depend on which of them came first.
        """
        work = self._work(program)
        if work not in self._evaluating:
            task = asyncio.create_task(self.evaluator.evaluate(program.source, "train", race=self._race(program)))
            self._evaluating[work] = (program.source, task)
        source, task = self._evaluating[work]
        outcome = await task
        if source != program.source and isinstance(outcome, Rejected | CompileError):
            return await self.evaluator.evaluate(program.source, "train", race=self._race(program))
        return outcome

    def _work(self, program: Program) -> tuple[str, int | None]:
        """What makes two evaluations the same: equal programs in races against different ones are not."""
        opponent = self._opponent(program)
        return self.found.key(program), None if opponent is None else opponent.program.id

    def _opponent(self, program: Program) -> Candidate | None:
        """Whom a program races against; nobody if it was not asked for here, as an import is not."""
        ask = self._asks.get(program.id)
        if ask is None or not self.store.config.race:
            return None
        return self.found.opponent(ask.told, ask.parents)

    def _race(self, program: Program) -> Race | None:
        opponent = self._opponent(program)
        if opponent is None:
            return None
        self._plan = self._plan or self.found.plan(self.evaluator.instances("train"), self.store.config.alpha)
        return None if self._plan is None else self.found.race(self._plan, opponent)

    def _rng(self, number: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.store.config.seed, number, stream))
