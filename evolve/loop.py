"""One search: ask, propose, admit, evaluate, tell; then select on valid.

Proposals are numbered. While one is evaluated, others are asked for and evaluated, up to WINDOW
beyond the last one told. With the genetic proposer, candidates are told in the order of their
numbers, whoever finishes first, and each draws from its own random stream: the archive depends
neither on the number of workers nor on their speed. With an LLM, whoever comes first is told
first, because replies take anything from one second to minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from evaluators.evaluator import Evaluator, solve_procedure
from evaluators.outcome import Ok, Outcome, Rejected
from evolve.archives.pareto import ParetoArchive
from evolve.budget import Budget, BudgetExhausted, Reservation
from evolve.config import WINDOW
from evolve.program import Candidate, Program
from evolve.proposers.proposer import EditRefused, Proposer
from evolve.store import Store
from evolve.strategies.strategy import Strategy, View
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
class Search:
    """A run in progress; every public method journals what it does."""

    store: Store
    problem: Problem
    evaluator: Evaluator
    proposer: Proposer
    strategy: Strategy
    budget: Budget
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
        self._guide = ParetoArchive([o for o in self.problem.objectives if o.kind != "decision_time"])
        self._known: dict[str, int] = {}  # canonical form -> id
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
        for program in programs.values():
            if program.source:
                self._known.setdefault(program.key, program.id)
        self._next = max(programs, default=-1) + 1
        self._started -= self.store.meta("elapsed_s", 0.0)

    async def _seed(self) -> None:
        """Evaluate the baselines: they are seeds, opponents and the bar to beat."""
        self.notify("baselines")
        recorded = {p.operator: p for p in self.store.programs() if p.origin == "baseline"}
        for rule in self.problem.rules:
            if rule.name not in recorded:
                recorded[rule.name] = Program(self.number(), rule.source, "baseline", rule.name, thought=rule.title)
                self.record(recorded[rule.name])
        programs = [p for p in recorded.values() if p.id not in self.candidates]
        for program in programs:
            self._known.setdefault(program.key, program.id)
        outcomes = await asyncio.gather(*(self.evaluator.evaluate(p.source, "train") for p in programs))
        for program, outcome in zip(programs, outcomes, strict=True):
            await self._tell(Candidate(program, outcome))
        self.proposer.baselines = tuple(self.baselines)
        for candidate in self.baselines:
            await self._validate(candidate)

    async def _evolve(self) -> None:
        """Keep WINDOW attempts under way until a budget is spent; then wait for the last ones."""
        pending = {asyncio.create_task(self._settle(p, self._reserve())): None for p in self._unfinished()}
        deadline = None if self.budget.limits.seconds is None else self._started + self.budget.limits.seconds
        try:
            while True:
                while len(pending) < WINDOW and self._may_ask():
                    pending[asyncio.create_task(self._attempt(self.number(), self._reserve()))] = None
                if not pending:
                    return
                watched = [next(iter(pending))] if self.store.config.deterministic else list(pending)
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                done, _ = await asyncio.wait(watched, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self.stopped = self.stopped or "seconds spent"
                    return
                for task in done:
                    del pending[task]
                    try:
                        candidate = task.result()
                    except BudgetExhausted as exhausted:
                        self.stopped = str(exhausted)  # ask no more; calls under way are paid for, so they go on
                    else:
                        await self._tell(candidate)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

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

    async def _attempt(self, number: int, reservation: Reservation) -> Candidate:
        """Ask, propose, admit, evaluate."""
        proposal = self.strategy.ask(self._view(), self._rng(number, 0))
        parents = tuple(parent.program.id for parent in proposal.parents)
        program = Program(number, "", self.proposer.origin, proposal.operator, parents)
        try:
            draft = await self.proposer.propose(proposal, self._rng(number, 1))
        except EditRefused as refusal:
            self.record(program, refusal.spend)
            reservation.release()
            return Candidate(program, Rejected("edit", str(refusal)))
        except BudgetExhausted:
            reservation.release()
            raise
        program = Program(number, draft.source, self.proposer.origin, proposal.operator, parents, draft.thought)
        self.record(program, draft.spend)
        return await self._settle(program, reservation)

    async def _settle(self, program: Program, reservation: Reservation) -> Candidate:
        """Evaluate a recorded program; a refusal gives its reserved evaluation back."""
        candidate = await self._evaluate(program)
        if isinstance(candidate.outcome, Rejected):
            reservation.release()
        else:
            reservation.settle(evaluations=1)
        return candidate

    async def _evaluate(self, program: Program) -> Candidate:
        """Evaluate on train unless the same program was seen before: nothing is paid for twice."""
        if not program.source:
            return Candidate(program, Rejected("edit", "refused; the reason was lost when the run was stopped"))
        try:
            first = self._known.setdefault(program.key, program.id)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            first = program.id  # unparsable: admission says it in its own words
        if first != program.id:
            return Candidate(program, Rejected("admit", f"the same program as {first}"))
        return Candidate(program, await self.evaluator.evaluate(program.source, "train"))

    async def _tell(self, candidate: Candidate) -> None:
        """Journal an outcome and let strategy and archive hear of it, in one step."""
        with self.store.transaction():
            self.store.add_outcome(candidate.program.id, "train", candidate.outcome)
            self.store.add_tell(candidate.program.id)
            self.store.set_meta("elapsed_s", time.monotonic() - self._started)
        self._hear(candidate)
        if candidate.program.origin != "baseline" and self._is_best(candidate):
            await self._validate(candidate)
        self.notify("searching")

    def _hear(self, candidate: Candidate) -> None:
        self.candidates[candidate.program.id] = candidate
        self.counts[candidate.outcome.kind] += 1
        refused = isinstance(candidate.outcome, Rejected)
        self._refusals = self._refusals + 1 if refused else 0
        if candidate.program.origin == "baseline":
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

    def _unfinished(self) -> list[Program]:
        """Attempts that were under way when an earlier session ended."""
        return [p for p in self.store.programs() if p.origin != "procedure" and p.id not in self.candidates]

    def record(self, program: Program, spend: dict[str, object] | None = None) -> None:
        """Journal an attempt, and what it cost, before it is evaluated."""
        with self.store.transaction():
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
