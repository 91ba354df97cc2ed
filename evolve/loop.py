"""One search: evaluate the baselines; ask, propose, admit, evaluate, tell; then select on valid.

Which attempts are under way, and in which order they are told, is in ``attempts.py``; how one becomes
a candidate, in ``making.py``; what follows from one that was told, in ``findings.py``. Here each step
is journalled.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from evaluators.audit import Auditor
from evaluators.evaluator import Evaluator, solve_procedure
from evaluators.outcome import Ok, Outcome, Rejected
from evolve.attempts import Attempts
from evolve.budget import Budget, Reservation
from evolve.findings import Findings
from evolve.noise import noise_floor
from evolve.program import Candidate, Program
from evolve.proposers.proposer import Proposer
from evolve.record import Record
from evolve.store import Store
from evolve.strategies.strategy import Strategy
from problems.problem import Problem

# The winner of many noisy comparisons on train is flattered; valid decides among this many.
FINALISTS = 20
# So many more are taken from those whose constants were tuned: fitted on samples, they are less flattered by train.
TUNED_FINALISTS = 10


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
    record: Record | None = None  # of the run that is replayed
    on_status: Callable[[Status], None] = lambda status: None

    found: Findings = field(init=False)
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self.found = Findings(self.problem, self.strategy)
        self.attempts = Attempts(self.store, self.found, self.evaluator, self.proposer, self.budget, self.record)
        self._auditor = Auditor(self.evaluator)
        self._started = time.monotonic()

    async def run(self) -> None:
        """Everything from the first baseline to the champion; continues what the store holds."""
        try:
            self._restore()
            await self._seed()
            await self._evolve()
            await self._select()
        finally:
            await self._auditor.close()

    @property
    def stopped(self) -> str:
        """Why the search ended before its evaluations were spent, or an empty string."""
        return self.attempts.stopped

    def _restore(self) -> None:
        """Tell the strategy again what the journal says it heard."""
        outcomes, programs = self.store.outcomes("train"), {p.id: p for p in self.store.programs()}
        for identifier in self.store.tells():
            self.found.hear(Candidate(programs[identifier], outcomes[identifier]))
        # a report that was cut short has read procedures there, which are no candidates
        valid = self.store.outcomes("valid").items()
        self.found.valid = {i: o for i, o in valid if i in self.found.candidates and isinstance(o, Ok)}
        self.attempts.restore(programs)
        self._started -= self.store.meta("elapsed_s", 0.0)

    async def _seed(self) -> None:
        """Evaluate the baselines: they are seeds, opponents and the bar to beat."""
        self.notify("baselines")
        recorded = {p.operator: p for p in self.store.programs() if p.origin == "baseline"}
        for rule in self.problem.rules:
            if rule.name not in recorded:
                number = self.attempts.number()
                recorded[rule.name] = Program(number, rule.source, "baseline", rule.name, thought=rule.title)
                self.attempts.making.journal(recorded[rule.name])
        programs = [p for p in recorded.values() if p.id not in self.found.candidates]
        outcomes = await asyncio.gather(*(self.evaluator.evaluate(p.source, "train") for p in programs))
        for program, outcome in zip(programs, outcomes, strict=True):
            await self._tell(Candidate(program, outcome))
        self.proposer.baselines = tuple(self.attempts.making.shown(baseline) for baseline in self.found.baselines)
        for candidate in self.found.baselines:
            await self._validate(candidate)
        self._measure_noise()

    def _measure_noise(self) -> None:
        """Journal how far equal programs differ by chance, from the baselines' outcomes on train and valid."""
        on_train = {c.program.id: c.outcome for c in self.found.baselines if isinstance(c.outcome, Ok)}
        names = {c.program.id: c.program.operator for c in self.found.baselines}
        floors = {}
        for split, outcomes in (("train", on_train), ("valid", self.found.valid)):
            rules = {name: outcomes[number] for number, name in names.items() if number in outcomes}
            floor = noise_floor(self.problem, rules, self.evaluator.instances(split)) if len(rules) > 1 else None
            if floor is not None:
                floors[split] = floor
        self.store.set_meta("noise", floors)

    async def _evolve(self) -> None:
        """Keep attempts under way until a budget is spent; then wait for the last ones."""
        deadline = None if self.budget.limits.seconds is None else self._started + self.budget.limits.seconds
        try:
            while self.attempts.refill():
                left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                if not await self.attempts.wait(left_s):
                    self.attempts.stopped = self.stopped or "seconds spent"
                    return
                for candidate, reservation in self.attempts.ended():
                    await self._settle(candidate, reservation)
        finally:
            await self.attempts.cancel()

    async def _settle(self, candidate: Candidate, reservation: Reservation) -> None:
        """Tell a candidate; a refusal gives its reserved evaluation back.

        Whatever would enter the front is audited first.
        """
        if isinstance(candidate.outcome, Ok) and self.found.would_enter(candidate):
            outcome = await self._auditor.audit(candidate.program.source, "train", candidate.outcome)
            candidate = Candidate(candidate.program, outcome)
        tuning = self.attempts.making.tuned_for(candidate.program)
        reservation.settle(evaluations=tuning + (not isinstance(candidate.outcome, Rejected)))
        await self._tell(candidate)

    async def _tell(self, candidate: Candidate) -> None:
        """Let strategy and archive hear of an outcome, and journal what came of it, in one step."""
        self.found.hear(candidate)
        with self.store.transaction():
            self.store.add_outcome(candidate.program.id, "train", candidate.outcome)
            self.store.add_tell(candidate.program.id, self.found.chain)
            self._journal_fronts()
            self.store.set_meta("elapsed_s", time.monotonic() - self._started)
        if candidate.program.origin != "baseline" and self.found.is_best(candidate):
            await self._validate(candidate)
        self.notify("searching")

    async def _validate(self, candidate: Candidate) -> None:
        """Read valid once for a candidate, if it was not read before."""
        number = candidate.program.id
        if number in self.found.valid or not isinstance(candidate.outcome, Ok):
            return
        outcome = await self.evaluator.evaluate(candidate.program.source, "valid", probe=False)
        with self.store.transaction():
            self.store.add_outcome(number, "valid", outcome)
        if isinstance(outcome, Ok):
            self.found.valid[number] = outcome
        self.store.set_meta("champion", self.found.champion)

    async def _select(self) -> None:
        """Read valid for the best on train and the whole front: the champion is the best there."""
        self.notify("selecting on valid")
        await asyncio.gather(
            *(self._validate(candidate) for candidate in self.found.finalists(FINALISTS, TUNED_FINALISTS))
        )
        with self.store.transaction():
            self.store.set_meta("champion", self.found.champion)
            self._journal_fronts()

    def _journal_fronts(self) -> None:
        """Write down who is on which front, so that whoever looks into the run need not read all of it."""
        for name, archive in (("front", self.found.archive), ("guide", self.found.guide)):
            self.store.set_meta(name, [candidate.program.id for candidate in archive.members])

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

    def notify(self, phase: str) -> None:
        """Tell the progress display where the run is."""
        found = self.found
        bars = [found.loss(c) for c in found.baselines if isinstance(c.outcome, Ok)]
        best = [found.loss(c) for c in found.guide.members]
        sign = self.problem.primary.loss(1.0)
        self.on_status(
            Status(
                evaluations=int(self.budget.spent().get("evaluations", 0)),
                limit=self.store.config.evaluations or 0,
                counts=found.counts,
                best=sign * min(best, default=float("nan")),
                best_baseline=sign * min(bars, default=float("nan")),
                front=len(found.archive.members),
                elapsed_s=time.monotonic() - self._started,
                champion=found.champion,
                phase=phase,
                left=self.budget.remaining(),
                notice=self.proposer.notice,
            )
        )
