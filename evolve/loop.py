"""One search: ask, propose, admit, evaluate, tell; then select on valid.

Proposals are numbered. While one is evaluated, others are asked for and evaluated, up to WINDOW
beyond the last one told. In a deterministic run (always with the genetic proposer), candidates are
told in the order of their numbers, whoever finishes first, and each draws from its own random
stream: the archive depends neither on the number of workers nor on their speed. Otherwise whoever
comes first is told first, because an LLM's replies take anything from one second to minutes. A
replay follows the order in its record.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from evaluators.evaluator import Evaluator, solve_procedure
from evaluators.outcome import Ok, Outcome, Rejected
from evolve.archives.digest import archive_hash, exact, link
from evolve.archives.pareto import ParetoArchive
from evolve.budget import Budget, BudgetExhausted, Reservation
from evolve.config import WINDOW
from evolve.program import Candidate, Program
from evolve.proposers.proposer import EditRefused, Proposer
from evolve.record import Record
from evolve.store import Ask, Store
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem

# A proposer that only produces refusals (a model that answers in prose) must not run for ever.
MAX_REFUSALS_IN_A_ROW = 100
# The winner of many noisy comparisons on train is flattered; valid decides among this many.
FINALISTS = 12


@dataclass
class Status:
    """What a progress display shows of a run."""

    evaluations: int
    limit: int
    counts: Counter[str]
    best: float  # primary objective on train of the best program
    best_baseline: float
    front: int
    elapsed_s: float
    champion: int
    phase: str
    left: dict[str, float | None] = field(default_factory=dict)  # of the budget, by resource; None is unlimited
    notice: str = ""


@dataclass
class Attempt:
    """One attempt under way; its reservation is settled when it is told, so that order decides."""

    task: asyncio.Task[Candidate]
    reservation: Reservation


@dataclass
class Search:
    """A run in progress; every public method journals what it does."""

    store: Store
    problem: Problem
    evaluator: Evaluator
    proposer: Proposer
    strategy: Strategy
    budget: Budget
    record: Record | None = None  # of the run that is replayed
    on_status: Callable[[Status], None] = lambda status: None

    archive: ParetoArchive = field(init=False)
    baselines: list[Candidate] = field(default_factory=list)
    candidates: dict[int, Candidate] = field(default_factory=dict)
    valid: dict[int, Ok] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    stopped: str = ""

    def __post_init__(self) -> None:
        self.archive = ParetoArchive(self.problem.objectives)
        # The strategy sees a front without decision times: they are measured, so they differ from
        # one machine to the next, and the search would with them.
        self._guide = ParetoArchive(exact(self.problem.objectives))
        self._known: dict[str, int] = {}  # canonical form -> id of the first program told
        self._evaluating: dict[str, asyncio.Task[Outcome]] = {}  # canonical form -> its evaluation
        self._asks: dict[int, Ask] = {}
        self._recorded: dict[int, Program] = {}  # those of earlier sessions that were not told
        self._unfinished: list[int] = []  # numbers of attempts that an earlier session did not tell
        self._begun = 0  # what the record began before so many programs were told is begun
        self._chain = ""
        self._started = time.monotonic()
        self._refusals = 0
        self._next = 0

    # the run

    async def run(self) -> None:
        """Everything from the first baseline to the champion; continues what the store holds."""
        self._restore()
        await self._seed()
        await self._evolve()
        await self._select()

    def _restore(self) -> None:
        """Tell the strategy again what the journal says it heard."""
        outcomes, programs = self.store.outcomes("train"), {p.id: p for p in self.store.programs()}
        self.valid = {i: o for i, o in self.store.outcomes("valid").items() if isinstance(o, Ok)}
        for identifier in self.store.tells():
            self._hear(Candidate(programs[identifier], outcomes[identifier]))
        attempts = {n: p for n, p in programs.items() if p.origin not in ("procedure", "baseline")}
        self._recorded = {n: p for n, p in attempts.items() if n not in self.candidates}
        self._asks = self.store.asks()
        self._unfinished = sorted((self._asks.keys() | self._recorded.keys()) - self.candidates.keys())
        self._next = max([*programs, *self._asks], default=-1) + 1
        self._started -= self.store.meta("elapsed_s", 0.0)

    async def _seed(self) -> None:
        """Evaluate the baselines: they are seeds, opponents and the bar to beat."""
        self.notify("baselines")
        recorded = {p.operator: p for p in self.store.programs() if p.origin == "baseline"}
        for rule in self.problem.rules:
            if rule.name not in recorded:
                recorded[rule.name] = Program(self.number(), rule.source, "baseline", rule.name, thought=rule.title)
                self.journal(recorded[rule.name])
        programs = [p for p in recorded.values() if p.id not in self.candidates]
        outcomes = await asyncio.gather(*(self.evaluator.evaluate(p.source, "train") for p in programs))
        for program, outcome in zip(programs, outcomes, strict=True):
            await self._tell(Candidate(program, outcome))
        self.proposer.baselines = tuple(self._shown(baseline) for baseline in self.baselines)
        for candidate in self.baselines:
            await self._validate(candidate)

    async def _evolve(self) -> None:
        """Keep WINDOW attempts under way until a budget is spent; then wait for the last ones."""
        pending: dict[int, Attempt] = {}
        deadline = None if self.budget.limits.seconds is None else self._started + self.budget.limits.seconds
        try:
            while True:
                self._refill(pending)
                if not pending:
                    return
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                done, _ = await asyncio.wait(self._watched(pending), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                ended = self._ended(pending)
                if not done:
                    self.stopped = self.stopped or "seconds spent"
                    return
                for number in ended:
                    attempt = pending.pop(number)
                    try:
                        candidate = attempt.task.result()
                    except BudgetExhausted as exhausted:
                        attempt.reservation.release()
                        self.stopped = str(exhausted)  # ask no more; calls under way are paid for, so they go on
                    else:
                        await self._settle(candidate, attempt.reservation)
        finally:
            for attempt in pending.values():
                attempt.task.cancel()
            await asyncio.gather(*(attempt.task for attempt in pending.values()), return_exceptions=True)

    def _refill(self, pending: dict[int, Attempt]) -> None:
        """Begin as many attempts as may be under way, or those that the record began here."""
        if self.record is not None:
            told = len(self.candidates)
            due = (number for k in range(self._begun, told + 1) for number in self.record.due(k))
            for number in due:
                if number not in self.candidates:
                    pending[number] = self._begin(number)
                    self._next = max(self._next, number + 1)
            self._begun = told + 1
            return
        while len(pending) < WINDOW and self._may_ask():
            number = self._unfinished.pop(0) if self._unfinished else self.number()
            pending[number] = self._begin(number)

    def _watched(self, pending: dict[int, Attempt]) -> list[asyncio.Task[Candidate]]:
        """Tasks to wait for: one that ended, but is not to be told yet, would end the wait at once."""
        turn = self._turn(pending)
        return [a.task for number, a in pending.items() if turn in (None, number) or not a.task.done()]

    def _ended(self, pending: dict[int, Attempt]) -> list[int]:
        """Attempts to tell now, in order; a model that cannot work ends the run out of turn."""
        done = [number for number, attempt in pending.items() if attempt.task.done()]
        for number in done:
            error = pending[number].task.exception()
            if error is not None and not isinstance(error, BudgetExhausted):
                raise error
        turn = self._turn(pending)
        return sorted(done) if turn is None else [turn] if turn in done else []

    def _turn(self, pending: dict[int, Attempt]) -> int | None:
        """The attempt that has to be told next; None if whoever comes first."""
        if self.record is not None:
            turn = next(number for number in self.record.order if number not in self.candidates)
            assert turn in pending, f"the record tells {turn} before it was begun"
            return turn
        return min(pending) if self.store.config.deterministic else None

    async def _select(self) -> None:
        """Read valid for the best on train and the whole front: the champion is the best there."""
        self.notify("selecting on valid")
        ok = [c for c in self.candidates.values() if isinstance(c.outcome, Ok)]
        ok.sort(key=lambda c: (self._loss(c), c.program.id))
        finalists = {c.program.id: c for c in [*ok[:FINALISTS], *self.archive.members]}
        await asyncio.gather(*(self._validate(candidate) for candidate in finalists.values()))
        self.store.set_meta("champion", self.champion)
        self.store.set_meta("front", [c.program.id for c in self.archive.members])

    # one attempt

    def _begin(self, number: int) -> Attempt:
        """Start an attempt, or take up one that an earlier session began."""
        reservation = self._reserve()
        program = self._recorded.get(number)
        if program is None and self.record is not None:
            program = self.record.imports.get(number)
            if program is not None:
                self.journal(program)
        if program is not None and (program.source or number not in self._asks):
            return Attempt(asyncio.create_task(self._evaluate(program)), reservation)
        # asked here and not in the task: what the strategy has heard by now decides
        return Attempt(asyncio.create_task(self._attempt(number, self._proposal(number))), reservation)

    def _proposal(self, number: int) -> Proposal:
        """Ask the strategy; an attempt of an earlier session is made as it was asked for then."""
        ask = self._asks.get(number)
        if ask is not None:
            parents, others = ([self.candidates[n] for n in numbers] for numbers in (ask.parents, ask.inspirations))
            return Proposal(ask.operator, tuple(parents), tuple(others), number)
        proposal = dataclasses.replace(self.strategy.ask(self._view(), self._rng(number, 0)), number=number)
        self._asks[number] = Ask(
            number,
            proposal.operator,
            parents=tuple(c.program.id for c in proposal.parents),
            inspirations=tuple(c.program.id for c in proposal.inspirations),
            told=len(self.candidates),
        )
        if not self.proposer.immediate:
            with self.store.transaction():
                self.store.add_ask(self._asks[number])
        return proposal

    async def _attempt(self, number: int, proposal: Proposal) -> Candidate:
        """Propose, admit, evaluate."""
        parents = tuple(parent.program.id for parent in proposal.parents)
        program = Program(number, "", self.proposer.origin, proposal.operator, parents)
        try:
            draft = await self.proposer.propose(self._seen(proposal), self._rng(number, 1))
        except EditRefused as refusal:
            self.journal(program, refusal.spend)
            return Candidate(program, Rejected("edit", str(refusal)))
        program = dataclasses.replace(program, source=draft.source, thought=draft.thought)
        self.journal(program, draft.spend)
        return await self._evaluate(program)

    def _seen(self, proposal: Proposal) -> Proposal:
        """The proposal as its proposer sees it."""
        return dataclasses.replace(
            proposal,
            parents=tuple(map(self._shown, proposal.parents)),
            inspirations=tuple(map(self._shown, proposal.inspirations)),
        )

    def _shown(self, candidate: Candidate) -> Candidate:
        """A candidate without its decision times in a deterministic run: a prompt must not depend on them."""
        outcome = candidate.outcome
        if not self.store.config.deterministic or not isinstance(outcome, Ok):
            return candidate
        names = {objective.name for objective in exact(self.problem.objectives)}
        objectives = {name: value for name, value in outcome.objectives.items() if name in names}
        groups = {g: {k: v for k, v in row.items() if k in names} for g, row in outcome.groups.items()}
        return Candidate(candidate.program, dataclasses.replace(outcome, objectives=objectives, groups=groups))

    async def _evaluate(self, program: Program) -> Candidate:
        """Evaluate on train unless the same program was seen before: nothing is paid for twice."""
        if not program.source:
            return Candidate(program, Rejected("edit", "refused; the reason was lost when the run was stopped"))
        key = _key(program)
        if key in self._known:
            return self._repeated(program)
        if key not in self._evaluating:
            self._evaluating[key] = asyncio.create_task(self.evaluator.evaluate(program.source, "train"))
        return Candidate(program, await self._evaluating[key])

    def _repeated(self, program: Program) -> Candidate:
        return Candidate(program, Rejected("admit", f"the same program as {self._known[_key(program)]}"))

    async def _settle(self, candidate: Candidate, reservation: Reservation) -> None:
        """Tell a candidate; a refusal gives its reserved evaluation back.

        Of equal programs under way together the first one told has the outcome.
        """
        program = candidate.program
        if program.source and _key(program) in self._known and not isinstance(candidate.outcome, Rejected):
            candidate = self._repeated(program)
        if isinstance(candidate.outcome, Rejected):
            reservation.release()
        else:
            reservation.settle(evaluations=1)
        await self._tell(candidate)

    async def _tell(self, candidate: Candidate) -> None:
        """Let strategy and archive hear of an outcome, and journal what came of it, in one step."""
        self._hear(candidate)
        with self.store.transaction():
            self.store.add_outcome(candidate.program.id, "train", candidate.outcome)
            self.store.add_tell(candidate.program.id, self._chain)
            self.store.set_meta("guide", [c.program.id for c in self._guide.members])
            self.store.set_meta("elapsed_s", time.monotonic() - self._started)
        if candidate.program.origin != "baseline" and self._is_best(candidate):
            await self._validate(candidate)
        self.notify("searching")

    def _hear(self, candidate: Candidate) -> None:
        program = candidate.program
        self.candidates[program.id] = candidate
        self._chain = link(self._chain, candidate, self.problem.objectives)
        if program.source:
            self._known.setdefault(_key(program), program.id)
            self._evaluating.pop(_key(program), None)
        self.counts[candidate.outcome.kind] += 1
        refused = isinstance(candidate.outcome, Rejected)
        self._refusals = self._refusals + 1 if refused else 0
        if program.origin == "baseline":
            self.baselines.append(candidate)
        self.strategy.tell(candidate)
        if isinstance(candidate.outcome, Ok):
            self.archive.add(candidate)
            self._guide.add(candidate)

    async def _validate(self, candidate: Candidate) -> None:
        """Read valid once for a candidate, if it was not read before."""
        number = candidate.program.id
        if number in self.valid or not isinstance(candidate.outcome, Ok):
            return
        outcome = await self.evaluator.evaluate(candidate.program.source, "valid", probe=False)
        with self.store.transaction():
            self.store.add_outcome(number, "valid", outcome)
        if isinstance(outcome, Ok):
            self.valid[number] = outcome
        self.store.set_meta("champion", self.champion)

    async def outcome_on(self, program: Program, split: str) -> Outcome:
        """Outcome of a program, or of a procedure among the baselines, on any split; journalled."""
        stored = self.store.outcomes_of(program.id).get(split)
        if stored is not None:
            return stored
        if program.source:
            outcome = await self.evaluator.evaluate(program.source, split, probe=False)
        else:
            baseline = self.problem.baseline(program.operator)
            assert baseline is not None
            outcome = await asyncio.to_thread(solve_procedure, self.problem, baseline, self.evaluator.instances(split))
        with self.store.transaction():
            self.store.add_outcome(program.id, split, outcome)
        return outcome

    # small things

    @property
    def archive_hash(self) -> str:
        """What was found, as one hash that every machine agrees on."""
        return archive_hash(self._chain, [c.program.id for c in self._guide.members])

    @property
    def champion(self) -> int:
        """Id of the program that is best on valid (ties to the older), or -1 before the first."""
        primary = self.problem.primary
        ranked = sorted((primary.loss(o.objectives[primary.name]), number) for number, o in self.valid.items())
        return ranked[0][1] if ranked else -1

    def _loss(self, candidate: Candidate) -> float:
        return self.problem.primary.loss(candidate.objective(self.problem.primary.name))

    def _is_best(self, candidate: Candidate) -> bool:
        if not isinstance(candidate.outcome, Ok):
            return False
        validated = [self._loss(self.candidates[number]) for number in self.valid if number in self.candidates]
        return self._loss(candidate) < min(validated, default=np.inf)

    def _view(self) -> View:
        return View(self.problem, self.proposer.operators, tuple(self.baselines), tuple(self._guide.members))

    def _rng(self, number: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.store.config.seed, number, stream))

    def number(self) -> int:
        """A fresh program id."""
        self._next += 1
        return self._next - 1

    def _reserve(self) -> Reservation:
        return self.budget.reserve(evaluations=1)

    def _may_ask(self) -> bool:
        if self.stopped:
            return False
        if self._refusals >= MAX_REFUSALS_IN_A_ROW:
            last = next(reversed(self.candidates.values())).outcome
            self.stopped = f"stopped: {self._refusals} refusals in a row, the last: {getattr(last, 'reason', '')}"
            return False
        return self.budget.affords(evaluations=1)

    def journal(self, program: Program, spend: dict[str, object] | None = None) -> None:
        """Journal an attempt, and what it cost, before it is evaluated."""
        ask = self._asks.get(program.id)
        with self.store.transaction():
            if ask is not None:
                self.store.add_ask(ask)
            self.store.add_program(program)
            if spend:
                self.store.add_spend(program.id, spend)

    def notify(self, phase: str) -> None:
        """Tell the progress display where the run is."""
        bars = [self._loss(c) for c in self.baselines if isinstance(c.outcome, Ok)]
        best = [self._loss(c) for c in self._guide.members]
        sign = self.problem.primary.loss(1.0)
        self.on_status(
            Status(
                evaluations=int(self.budget.spent().get("evaluations", 0)),
                limit=self.store.config.evaluations or 0,
                counts=self.counts,
                best=sign * min(best, default=float("nan")),
                best_baseline=sign * min(bars, default=float("nan")),
                front=len(self.archive.members),
                elapsed_s=time.monotonic() - self._started,
                champion=self.champion,
                phase=phase,
                left=self.budget.remaining(),
                notice=self.proposer.notice,
            )
        )


def _key(program: Program) -> str:
    """The canonical form's hash; of what does not parse the text (admission says it in its own words)."""
    try:
        return program.key
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program.source
