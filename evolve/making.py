"""How one attempt becomes a candidate: a proposer writes the program, which is journalled, then evaluated on train.

Equal programs share an evaluation, each draws from its own random stream, and what happens here
depends on what had been told when the attempt was asked for, not on who is faster.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field

import numpy as np

from evaluators.evaluator import Evaluator
from evaluators.outcome import CompileError, Outcome, Rejected
from evaluators.racing import Plan, Race
from evolve.findings import Findings, untimed
from evolve.ledger import Notes
from evolve.operators import OPERATORS, REPAIR, is_tuned
from evolve.program import Candidate, Program
from evolve.proposers.proposer import Draft, EditRefused, Proposer
from evolve.store import Ask, Store
from evolve.strategies.strategy import Proposal
from evolve.traces import TRACED, with_trace
from evolve.tuning import tuned


@dataclass
class Making:
    """Makes the candidates of one run, one for each attempt."""

    store: Store
    found: Findings
    evaluator: Evaluator
    proposer: Proposer
    asks: dict[int, Ask] = field(default_factory=dict)  # what each attempt set out to do, by its number

    # canonical hash and opponent -> the text that is evaluated, and its evaluation
    _evaluating: dict[tuple[str, int | None], tuple[str, asyncio.Task[Outcome]]] = field(default_factory=dict)
    _plan: Plan | None = None  # of races on train, once the baselines are known

    def journal(self, program: Program, spend: dict[str, object] | None = None) -> None:
        """Journal an attempt, and what it cost, before it is evaluated."""
        ask = self.asks.get(program.id)
        with self.store.transaction():
            if ask is not None:
                self.store.add_ask(ask)
            self.store.add_program(program)
            if spend:
                self.store.add_spend(program.id, spend)

    def shown(self, candidate: Candidate) -> Candidate:
        """A candidate without its decision times in a deterministic run: a prompt must not depend on them."""
        return untimed(candidate, self.found.problem) if self.store.config.deterministic else candidate

    async def make(self, number: int, proposal: Proposal) -> Candidate:
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
                draft = await self.proposer.propose(seen, self.rng(number, 1))
            if OPERATORS[proposal.operator].tuned:
                draft = dataclasses.replace(draft, source=await self._tuned(draft.source, number))
        except EditRefused as refusal:
            program = dataclasses.replace(program, model=refusal.model)
            self.journal(program, refusal.spend)
            return Candidate(program, Rejected("edit", str(refusal)))
        program = dataclasses.replace(program, source=draft.source, thought=draft.thought, model=draft.model)
        self.journal(program, draft.spend)
        return await self.evaluate(program)

    async def _notes(self, number: int, proposal: Proposal) -> Notes:
        """What a prompt tells of the run, as far as the strategy knew it when it was asked."""
        if self.proposer.immediate:
            return Notes()
        notes, first = self.found.notes(self.asks[number].told), proposal.parents[0]
        if proposal.operator not in TRACED:
            return notes
        return await with_trace(notes, self.evaluator, first, self.found.parent(first), self.found.baselines)

    async def _tuned(self, source: str, number: int) -> str:
        self._plan = self._plan or self.found.plan(self.evaluator.instances("train"), self.store.config.alpha)
        seed = int(self.rng(number, 2).integers(2**31))
        sigma = self.store.config.sigma
        return await tuned(self.evaluator, source, plan=self._plan, evaluations=self.tuning, seed=seed, sigma=sigma)

    @property
    def tuning(self) -> int:
        """Evaluations' worth of simulations that each tuning may take."""
        return self.store.config.tuning or 0

    def tuned_for(self, program: Program) -> int:
        """Evaluations' worth of simulations that went into a program's constants."""
        return self.tuning if program.source and is_tuned(program) else 0

    def cost(self, operator: str) -> int:
        """Evaluations that an attempt may take: simulations of tuning count like those of evaluations."""
        return 1 + self.tuning * OPERATORS[operator].tuned

    async def evaluate(self, program: Program) -> Candidate:
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
        ask = self.asks.get(program.id)
        if ask is None or not self.store.config.race:
            return None
        return self.found.opponent(ask.told, ask.parents)

    def _race(self, program: Program) -> Race | None:
        opponent = self._opponent(program)
        if opponent is None:
            return None
        self._plan = self._plan or self.found.plan(self.evaluator.instances("train"), self.store.config.alpha)
        return None if self._plan is None else self.found.race(self._plan, opponent)

    def forget(self, program: Program) -> None:
        """An evaluation that was told needs no sharing any more: the program is known."""
        self._evaluating.pop(self._work(program), None)

    def rng(self, number: int, stream: int) -> np.random.Generator:
        """The random stream of one step of an attempt: a function of the run's seed and both numbers."""
        return np.random.default_rng((self.store.config.seed, number, stream))
