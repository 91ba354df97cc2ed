"""Monte Carlo tree search over programs: no promising line is given up for good.

Every program is a node below its first parent. A descent from the root follows the upper confidence
bound on the best value below each child, with an exploration weight that falls as the budget is
spent, and stops early where progressive widening says a node deserves another child.

References
----------
.. [1] Zheng et al. (2025), "Monte Carlo tree search for comprehensive exploration in LLM-based
   automatic heuristic design", ICML 2025, arXiv:2501.08603.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evolve.operators import needed, of_kinds
from evolve.program import Candidate
from evolve.strategies._population import Population, loss, pick
from evolve.strategies.strategy import Proposal, Strategy, View
from problems.problem import Problem


@dataclass(frozen=True)
class MctsConfig:
    """Settings."""

    exploration: float = 0.1  # of the confidence bound, over values scaled to [0, 1]
    halving: int = 500  # candidates told until it has fallen by half
    widening: float = 0.5  # a node may have as many children as its visits to this power
    jitter: float = 0.02  # of values in a descent: attempts under way together must not all agree
    elite: int = 10  # best programs that serve as second parents


@dataclass
class _Node:
    candidate: Candidate
    best: float  # lowest loss at or below it
    visits: int = 1
    children: list[_Node] = field(default_factory=list)


class Mcts(Strategy):
    """Starting programs are the root's children; failures count as visits."""

    def __init__(self, problem: Problem, config: MctsConfig = MctsConfig()) -> None:
        super().__init__(problem)
        self._config = config
        self._starts: list[_Node] = []
        self._nodes: dict[int, _Node] = {}
        self._above: dict[int, int] = {}  # program -> first parent
        self._elite = Population(problem.primary, config.elite)
        self._worst = -math.inf
        self._told = 0

    def ask(self, view: View, rng: np.random.Generator) -> Proposal:
        """Descend to a node that may have another child; vary it."""
        self._elite.require()
        children = self._starts
        while True:
            node = max(children, key=self._bound(sum(child.visits for child in children), rng))
            if not node.children or len(node.children) < node.visits**self._config.widening:
                break
            children = node.children
        parent = node.candidate
        other = self._elite.tournament(rng, 2)
        pair = [parent, other] if other.program.id != parent.program.id else [parent]
        turn = rng.random()
        kinds = ("combine", "refine") if turn < 0.3 else ("explore", "refine") if turn < 0.5 else ("refine", "explore")
        operator = pick(rng, of_kinds(view.operators, *kinds, parents=len(pair)))
        return Proposal(operator, needed(operator, pair))

    def tell(self, candidate: Candidate) -> None:
        """Hang a candidate below its first parent; update the line up to the root."""
        self._told += 1
        value = loss(candidate, self._primary)
        above = candidate.program.parents[0] if candidate.program.parents else None
        if value is not None:
            self._elite.add(candidate)
            self._worst = max(self._worst, value)
            node = self._nodes[candidate.program.id] = _Node(candidate, value)
            if above in self._nodes:
                self._nodes[above].children.append(node)
                self._above[candidate.program.id] = above
            else:
                self._starts.append(node)
        while above is not None and above in self._nodes:
            line = self._nodes[above]
            line.visits += 1
            line.best = line.best if value is None else min(line.best, value)
            above = self._above.get(above)

    def state(self) -> dict[str, Any]:
        """How many candidates were told, and visits by program."""
        return {"told": self._told, "visits": {str(number): node.visits for number, node in self._nodes.items()}}

    def _bound(self, visits: int, rng: np.random.Generator) -> Callable[[_Node], float]:
        weight = self._config.exploration * 0.5 ** (self._told / self._config.halving)
        best = loss(self._elite[0], self._primary)
        assert best is not None
        span = self._worst - best

        def bound(node: _Node) -> float:
            merit = (self._worst - node.best) / span if span > 0 else 0.0
            return merit + weight * math.sqrt(math.log(visits + 1) / node.visits) + rng.normal(0, self._config.jitter)

        return bound
