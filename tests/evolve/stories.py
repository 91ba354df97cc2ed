"""Candidates without evaluation, and strategies that were told of them."""

from types import SimpleNamespace

import numpy as np

from evaluators.outcome import Crashed, Ok
from evolve.program import Candidate, Program
from evolve.strategies import registry
from evolve.strategies.strategy import View
from problems.problem import Objective

GENETIC = ("mutate", "crossover")
LLM = ("rewrite", "diff")


def problem(direction="min"):
    return SimpleNamespace(primary=Objective("cost", "cost", "1", "mean", direction=direction))


def ok(number, cost, *, source="x = 1", fingerprint=""):
    outcome = Ok({"cost": cost}, {}, {}, {}, fingerprint)
    return Candidate(Program(number, source, "import"), outcome)


def failed(number):
    return Candidate(Program(number, "x = 1", "import"), Crashed("run", "division by zero"))


def view(operators=GENETIC, front=()):
    return View(problem(), operators, (), front)


def story(sign=1.0):
    """Forty candidates, a quarter of them failed."""
    rng = np.random.default_rng(5)
    costs = rng.normal(size=40)
    return [failed(k) if k % 4 == 3 else ok(k, sign * costs[k]) for k in range(40)]


def told(name, candidates, direction="min"):
    strategy = registry.load(name)(problem(direction))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy


def asked(strategy, operators=GENETIC, front=()):
    """What it proposes for fifty seeds: operators and ids of parents and inspirations."""
    proposals = [strategy.ask(view(operators, front), np.random.default_rng(seed)) for seed in range(50)]
    return [(p.operator, [c.program.id for c in p.parents], [c.program.id for c in p.inspirations]) for p in proposals]
