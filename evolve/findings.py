"""What a search has found: it hears of candidates one by one, and all it knows follows from that.

No I/O and no clock: the same candidates in the same order make the same findings, which is how a
run is resumed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evaluators.admission.canonical import canonical_hash
from evaluators.outcome import CompileError, Ok, Rejected
from evaluators.racing import Plan, Race, plan
from evolve.archives.digest import archive_hash, exact, link
from evolve.archives.pareto import ParetoArchive
from evolve.ledger import Ledger, Notes
from evolve.operators import OPERATORS, REPAIR, is_tuned
from evolve.program import Candidate, Program
from evolve.strategies.strategy import Offer, Strategy, View
from problems.problem import Instance, Problem

_SAME = "the same program as"


class Findings:
    """Candidates told so far, the archive and the strategy that heard of them, and the champion.

    Parameters
    ----------
    problem : Problem
        What is to be solved.
    strategy : Strategy
        Is told of every candidate.
    """

    def __init__(self, problem: Problem, strategy: Strategy) -> None:
        self.problem = problem
        self.strategy = strategy
        self.archive = ParetoArchive(problem.objectives)
        # The strategy sees a front without decision times: they are measured, so they differ from
        # one machine to the next, and the search would with them.
        self.guide = ParetoArchive(exact(problem.objectives))
        self.candidates: dict[int, Candidate] = {}  # in the order they were told
        self.baselines: list[Candidate] = []
        self.valid: dict[int, Ok] = {}  # outcomes on the split that selects
        self.counts: Counter[str] = Counter()
        self.chain = ""  # of hashes, one link per candidate
        self.refusals = 0  # in a row, up to the last candidate
        self.ledger = Ledger(problem.primary)
        self._broken: list[int] = []  # ids of what models wrote and one more try may mend, in the order told
        self.mended: set[int] = set()  # those that were tried
        # [ran, all] of what models wrote, by whether it was a repair; these start from what is hoped for
        self._ran = {True: [9, 10], False: [1, 2]}
        self._leaders: list[Candidate | None] = [None]  # best on train after so many candidates
        self._hooks = tuple(hook.name for hook in problem.hooks)
        self._known: dict[str, int] = {}  # canonical hash, or text, -> id of the first program told

    def hear(self, candidate: Candidate) -> None:
        """Take a candidate in; strategy and archive hear of it."""
        program = candidate.program
        self.ledger.add(len(self.candidates), candidate, self.parent(candidate))
        self.candidates[program.id] = candidate
        self.chain = link(self.chain, candidate, self.problem.objectives)
        self._remember(candidate)
        self.counts[candidate.outcome.kind] += 1
        if program.model:
            ran = self._ran[program.operator == REPAIR]
            ran[0] += isinstance(candidate.outcome, Ok)
            ran[1] += 1
        if _may_be_mended(candidate):
            self._broken.append(program.id)
        self.refusals = self.refusals + 1 if isinstance(candidate.outcome, Rejected) else 0
        if program.origin == "baseline":
            self.baselines.append(candidate)
        self.strategy.tell(candidate)
        leader = self._leaders[-1]
        if isinstance(candidate.outcome, Ok):
            self.archive.add(candidate)
            self.guide.add(candidate)
            if leader is None or self.loss(candidate) < self.loss(leader):
                leader = candidate if math.isfinite(self.loss(candidate)) else leader
        self._leaders.append(leader)

    def _remember(self, candidate: Candidate) -> None:
        """Know a program again by what it computes; by its text if dead code may be why it failed."""
        program, outcome = candidate.program, candidate.outcome
        if program.source and not isinstance(outcome, Rejected):
            known_by = program.source if isinstance(outcome, CompileError) else self.key(program)
            self._known.setdefault(known_by, program.id)

    def parent(self, candidate: Candidate) -> Candidate | None:
        """The program that a candidate was made of, if it was told."""
        parents = candidate.program.parents
        return self.candidates.get(parents[0]) if parents else None

    def key(self, program: Program) -> str:
        """Hash of a program's canonical form."""
        return canonical_hash(program.source, self._hooks)

    def repeated(self, program: Program) -> Candidate | None:
        """A refusal if an equal program was evaluated before, so that nothing is paid for twice."""
        if not program.source:
            return None
        first = self._known.get(self.key(program), self._known.get(program.source))
        return None if first is None else Candidate(program, Rejected("admit", f"{_SAME} {first}"))

    def opponent(self, told: int, parents: Sequence[int]) -> Candidate | None:
        """Whom a child races against that was asked for when so many programs had been told, if anybody.

        That follows from the order of tells, so that it is the same in a resumed run and in a replay.
        """
        if self.strategy.opponent is None:
            return None
        if self.strategy.opponent == "champion":
            return self._leaders[told]
        parent = self.candidates[parents[0]] if parents else None
        return parent if parent is not None and isinstance(parent.outcome, Ok) else None

    def race(self, plan: Plan, opponent: Candidate) -> Race:
        """A race against a candidate on train."""
        assert isinstance(opponent.outcome, Ok)
        values = opponent.outcome.values[self.problem.primary.name]
        return Race(plan, values, f"program {opponent.program.id}")

    def plan(self, instances: Sequence[Instance], alpha: float) -> Plan | None:
        """How train is raced, from what the baselines showed of its instances."""
        name = self.problem.primary.name
        rows = [c.outcome.values[name] for c in self.baselines if isinstance(c.outcome, Ok)]
        return plan(self.problem.primary, instances, rows, alpha)

    def broken(self) -> Candidate | None:
        """The oldest program of a model that was not admitted or did not compile and was not tried again.

        None also as long as repairs ran less often than other programs: the same call then buys more.
        """
        shares = {repair: ran / count for repair, (ran, count) in self._ran.items()}
        if shares[True] < shares[False]:
            return None
        number = next((number for number in self._broken if number not in self.mended), None)
        return None if number is None else self.candidates[number]

    def would_enter(self, candidate: Candidate) -> bool:
        """Whether hearing of it would change a front."""
        return self.archive.would_keep(candidate) or self.guide.would_keep(candidate)

    def notes(self, told: int) -> Notes:
        """What prompts tell of the first so many programs told."""
        return Notes(self.ledger.tried(told), self.ledger.insights(told))

    def view(
        self,
        operators: tuple[str, ...],
        pending: int,
        models: Mapping[str, Offer] | None = None,
        strong: str = "",
        *,
        tuning: int = 0,
    ) -> View:
        """What the strategy may look at now, with so many attempts under way, and what it may choose from."""
        if self.strategy.tunes and tuning:
            operators = (*operators, "tune")
        else:
            operators, tuning = tuple(name for name in operators if not OPERATORS[name].tuned), 0
        front = tuple(self.guide.members)
        return View(self.problem, operators, tuple(self.baselines), front, pending, models or {}, strong, tuning)

    @property
    def archive_hash(self) -> str:
        """What was found, as one hash that every machine agrees on."""
        return archive_hash(self.chain, [c.program.id for c in self.guide.members])

    @property
    def champion(self) -> int:
        """Id of the program that is best on valid (ties to the older), or -1 before the first."""
        primary = self.problem.primary
        ranked = sorted((primary.loss(o.objectives[primary.name]), number) for number, o in self.valid.items())
        return ranked[0][1] if ranked else -1

    def loss(self, candidate: Candidate) -> float:
        """The primary objective on train, turned so that less is better."""
        return self.problem.primary.loss(candidate.objective(self.problem.primary.name))

    def is_best(self, candidate: Candidate) -> bool:
        """Whether it is better on train than every program that was read on valid."""
        if not isinstance(candidate.outcome, Ok):
            return False
        validated = [self.loss(self.candidates[number]) for number in self.valid if number in self.candidates]
        return self.loss(candidate) < min(validated, default=np.inf)

    def finalists(self, count: int, tuned: int = 0) -> list[Candidate]:
        """So many of the best on train, so many of the best that were tuned, and the whole front."""
        ok = [c for c in self.candidates.values() if isinstance(c.outcome, Ok)]
        ok.sort(key=lambda c: (self.loss(c), c.program.id))
        fitted = [c for c in ok if is_tuned(c.program)]
        return list({c.program.id: c for c in [*ok[:count], *fitted[:tuned], *self.archive.members]}.values())


def _may_be_mended(candidate: Candidate) -> bool:
    """Whether it is a model's program that was not admitted or did not compile, and no mended one already."""
    program, outcome = candidate.program, candidate.outcome
    if not program.model or not program.source or program.operator == REPAIR:
        return False
    if isinstance(outcome, Rejected):
        return outcome.stage == "admit" and not outcome.reason.startswith(_SAME)
    return isinstance(outcome, CompileError)


def untimed(candidate: Candidate, problem: Problem) -> Candidate:
    """A candidate without its decision times, for prompts that must not depend on the machine."""
    outcome = candidate.outcome
    if not isinstance(outcome, Ok):
        return candidate
    names = {objective.name for objective in exact(problem.objectives)}
    objectives = {name: value for name, value in outcome.objectives.items() if name in names}
    groups = {g: {k: v for k, v in row.items() if k in names} for g, row in outcome.groups.items()}
    return Candidate(candidate.program, replace(outcome, objectives=objectives, groups=groups))
