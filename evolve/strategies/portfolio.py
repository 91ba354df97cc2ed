"""The portfolio: a population, champions by group, a nursery, and operators that earn their share.

Four sources of parents keep a search from settling on one idea: the ranked population, the front of
all objectives, the champion of each group of instances, and a nursery. Operator and model are drawn
together by Thompson sampling: the share of a pair's children that won a place, divided by the
dollars that asking the model reserves [4]_, times the weight that its user gave it. When nothing
was gained for a while, a nursery is founded from the starting programs: its children compete among
themselves until it has caught up or its time is over, so that a new idea is not measured against a
polished old one; its best then join the population. Where models are asked, a nursery begins with
redesigns by the strong one, which sees the champions.

References
----------
.. [1] Hornby (2006), "ALPS: the age-layered population structure for reducing the problem of
   premature convergence", GECCO 2006:815-822 (why newcomers need a place of their own).
.. [2] Mouret and Clune (2015), "Illuminating search spaces by mapping elites", arXiv:1504.04909.
.. [3] Fialho, Da Costa, Schoenauer and Sebag (2010), "Analyzing bandit-based adaptive operator
   selection mechanisms", Annals of Mathematics and Artificial Intelligence 60:25-64.
.. [4] Xia, Li, Qin, Yu and Liu (2015), "Thompson sampling for budgeted multi-armed bandits", IJCAI
   2015:3960-3966.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolve.archives.groups import group_champions
from evolve.operators import OPERATORS, is_tuned, needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies._tuning import Tunings
from evolve.strategies.strategy import Offer, Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class PortfolioConfig:
    """Settings."""

    population: int = 60
    tournament: int = 4
    front: float = 0.1  # share of parents from the archive's front
    niche: float = 0.2  # and from the champions by group of instances
    nursery: float = 0.5  # and from the nursery, while there is one
    tuned: float = 0.5  # share of evaluations that goes into tuning, where there is any
    expanded: float = 0.5  # share of tunings whose parent gets more factors first, where the proposer knows how
    forgetting: float = 0.995  # of an operator's successes and failures, for each candidate told
    floor: float = 0.1  # share of proposals whose operator is drawn evenly
    patience: int = 400  # candidates without a new best before a nursery is founded
    childhood: int = 300  # candidates that a nursery may take
    # The same two for a run that asks models: it has a few hundred candidates, not thousands.
    patience_asked: int = 40
    childhood_asked: int = 40
    redesigns: int = 6  # proposals by the strong model that open a nursery
    inspirations: int = 2


class Portfolio(Strategy):
    """Population, front, niches and nursery; see the module's text."""

    operators = ("diff", "rewrite", "e1", "e2", "m1", "reflect", "redesign")
    tunes = True

    def __init__(self, problem: Problem, config: PortfolioConfig = PortfolioConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._population = Population(problem.primary, config.population)
        self._tunings = Tunings(config.tuned, config.expanded, config.tournament)
        self._starts: list[Candidate] = []
        self._nursery: Population | None = None
        self._raised: set[int] = set()  # ids that belong to the nursery
        self._childhood = 0
        # (operator, model) -> discounted successes, failures
        self._credit: dict[tuple[str, str], tuple[float, float]] = {}
        self._asked = False  # whether models write the programs
        self._founded = 0  # how many were told when the nursery was founded
        self._niches: list[Candidate] | None = None  # champions by group, found when first asked
        self._best = math.inf
        self._stalled = 0
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Draw a source of parents, an operator, and what it needs."""
        self._population.require()
        if self._nursery is not None and view.models and self._told - self._founded < self._config.redesigns:
            return self._redesign(self._nursery, view, rng)
        if self._tunings.due(view, rng):
            return self._tunings.propose(self._population, view, rng)
        inside = self._nursery if self._nursery is not None and rng.random() < self._config.nursery else None
        pool = inside if inside is not None and len(inside) else self._population
        operator, model = self._arm(view, len(pool), rng)
        first = self._parent(view, pool, rng) if pool is self._population else self._drawn(pool, rng)
        parents = [first]
        if OPERATORS[operator].parents > 1:
            parents.append(pool.other_than(first, self._drawn(pool, rng)))
        if operator == "mutate" or len(parents) > 1:
            return Proposal(operator, needed(operator, parents), model=model)
        return Proposal(operator, (first,), self._inspirations(first, rng), model)

    def tell(self, candidate: Candidate) -> None:
        """Credit the operator, let the candidate compete, found or close a nursery."""
        self._told += 1
        self._tunings.tell(candidate)
        self._asked = self._asked or bool(candidate.program.model)
        value = loss(candidate, self._primary)
        if not candidate.program.parents:
            if value is not None:
                self._starts.append(candidate)
                self._population.add(candidate)
                self._best = min(self._best, value)
            self._niches = None
            return
        won = self._compete(candidate)
        if not is_tuned(candidate.program):  # what is tuned has a share of its own
            self._learn((candidate.program.operator, candidate.program.model), won)
        if value is not None and value < self._best:
            self._best, self._stalled = value, 0
        else:
            self._stalled += 1
        patience = self._config.patience_asked if self._asked else self._config.patience
        if self._nursery is None and self._stalled >= patience:
            self._found()

    def state(self) -> dict[str, Any]:
        """Counts, ids of population and nursery (best first), and the credit of operators with models."""
        return {
            "told": self._told,
            "stalled": self._stalled,
            "population": self._population.ids,
            "nursery": None if self._nursery is None else self._nursery.ids,
            "credit": {" ".join(arm).strip(): list(pair) for arm, pair in sorted(self._credit.items())},
        }

    # parents

    def _drawn(self, pool: Population, rng: np.random.Generator) -> Candidate:
        return pool.tournament(rng, self._config.tournament)

    def _parent(self, view: View, pool: Population, rng: np.random.Generator) -> Candidate:
        turn = rng.random()
        if turn < self._config.front and view.front:
            return pick(rng, view.front)
        if turn < self._config.front + self._config.niche:
            return pick(rng, self._champions())
        return self._drawn(pool, rng)

    def _inspirations(self, parent: Candidate, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The best, then champions of groups of instances."""
        others = [c for c in self._champions() if c.program.id != parent.program.id]
        best = self._population[0]
        shown = [best] if best.program.id != parent.program.id else []
        others = [c for c in others if c.program.id != best.program.id]
        drawn = [others[int(k)] for k in rng.permutation(len(others))]
        return tuple([*shown, *drawn][: self._config.inspirations])

    def _champions(self) -> list[Candidate]:
        """The population's best in each group of instances, in order of rank; ties go to the rank."""
        if self._niches is None:
            members = self._population.members
            self._niches = group_champions(members, self._primary) or members[:1]
        return self._niches

    # operators

    def _arm(self, view: View, available: int, rng: np.random.Generator) -> tuple[str, str]:
        """An operator that so many programs suffice for, and the model to ask: empty where there is no choice."""
        plain = [operator for operator in view.operators if not OPERATORS[operator].tuned]
        known = [operator for operator in plain if OPERATORS[operator].parents <= available]
        known = [operator for operator in known if operator != "redesign"] or known  # that one has its time
        offers = {name: offer for name, offer in view.models.items() if offer.weight > 0} or {"": Offer()}
        names = list(offers)
        only = len(names) == 1
        if rng.random() < self._config.floor:
            operator = pick(rng, known)
            return operator, "" if only else _drawn_by_weight(offers, rng)
        arms = [(operator, name) for operator in known for name in names]
        draws = []
        for operator, name in arms:
            successes, failures = self._credit.get((operator, name), (0.0, 0.0))
            draws.append(rng.beta(1.0 + successes, 1.0 + failures) * offers[name].weight / offers[name].usd)
        operator, name = arms[int(np.argmax(draws))]
        return operator, "" if only else name

    def _redesign(self, nursery: Population, view: View, rng: np.random.Generator) -> Proposal:
        """Ask the strong model for a new design, with a starting program to replace and the champions to see."""
        operator = "redesign" if "redesign" in view.operators else pick(rng, of_kinds(view.operators, "explore"))
        start = pick(rng, [c for c in self._starts if c.program.id in self._raised] or nursery.members)
        return Proposal(operator, (start,), self._inspirations(start, rng), view.strong)

    def _learn(self, arm: tuple[str, str], won: bool) -> None:
        keep = self._config.forgetting
        self._credit = {name: (good * keep, bad * keep) for name, (good, bad) in self._credit.items()}
        successes, failures = self._credit.get(arm, (0.0, 0.0))
        self._credit[arm] = (successes + won, failures + (not won))

    # population and nursery

    def _compete(self, candidate: Candidate) -> bool:
        """Offer a candidate to where its first parent belongs; say whether it won a place."""
        if self._nursery is not None and candidate.program.parents[0] in self._raised:
            self._childhood -= 1
            won = self._nursery.add(candidate)
            self._raised.add(candidate.program.id)
            grown = self._nursery[0] if len(self._nursery) else None
            caught_up = grown is not None and (loss(grown, self._primary) or 0.0) < self._best
            if self._childhood <= 0 or caught_up:
                for member in self._nursery.members:
                    self._population.add(member)
                self._nursery, self._raised, self._stalled = None, set(), 0
                self._niches = None
            return won
        won = self._population.add(candidate)
        if won:
            self._niches = None
        return won

    def _found(self) -> None:
        self._nursery = Population(self._primary, self._config.population)
        for candidate in self._starts:
            self._nursery.add(candidate)
        self._raised = set(self._nursery.ids)
        self._childhood = self._config.childhood_asked if self._asked else self._config.childhood
        self._stalled, self._founded = 0, self._told


def _drawn_by_weight(offers: Mapping[str, Offer], rng: np.random.Generator) -> str:
    weights = np.array([offer.weight for offer in offers.values()])
    return list(offers)[int(rng.choice(len(weights), p=weights / weights.sum()))]
