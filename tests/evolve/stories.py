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
EOH = ("e1", "e2", "m1", "m2", "m3", "reflect", "redesign", "simplify")


def problem(direction="min", objectives=1):
    """A problem of so many objectives, ``cost`` first, all of one direction."""
    names = ["cost", *(f"cost{k}" for k in range(2, objectives + 1))]
    declared = tuple(Objective(name, name, "1", "mean", direction=direction) for name in names)
    return SimpleNamespace(primary=declared[0], objectives=declared)


def ok(number, cost, *, source="x = 1", fingerprint="", parents=(), operator="", objectives=1):
    """A candidate whose further objectives, groups and instances follow from its number."""
    sign = -1.0 if cost < 0 else 1.0
    rng = np.random.default_rng(number)
    more = {f"cost{k}": sign * float(rng.random()) for k in range(2, objectives + 1)}
    noise = [sign * float(x) for x in rng.random(4)]
    groups = {f"group{k}": {"cost": cost + noise[k]} for k in range(2)}
    values = {"cost": [cost + x for x in noise]}
    outcome = Ok({"cost": cost, **more}, groups, values, {}, fingerprint)
    return Candidate(Program(number, source, "import", operator, tuple(parents)), outcome)


def failed(number, parents=()):
    return Candidate(Program(number, "x = 1", "import", "mutate", tuple(parents)), Crashed("run", "division by zero"))


def view(operators=GENETIC, front=(), pending=0):
    return View(problem(), operators, (), front, pending)


def story(sign=1.0, objectives=1):
    """Five starts and 115 descendants, a quarter of them failed; costs are positive, then turned."""
    rng = np.random.default_rng(5)
    found, alive = [], []
    for number in range(120):
        parents = (int(rng.choice(alive)),) if number >= 5 else ()
        cost = sign * float(rng.uniform(1.0, 2.0))
        if number % 4 == 3:
            found.append(failed(number, parents))
            continue
        operator = GENETIC[number % 2] if parents else ""
        found.append(
            ok(number, cost, source=_source(number), parents=parents, operator=operator, objectives=objectives)
        )
        alive.append(number)
    return found


def _source(number):
    return "x = 1" + " + 1" * (number % 11)


def told(name, candidates, direction="min", objectives=1):
    strategy = registry.load(name)(problem(direction, objectives))
    for candidate in candidates:
        strategy.tell(candidate)
    return strategy


def asked(strategy, operators=GENETIC, front=(), pending=0):
    """What it proposes for fifty seeds: operators and ids of parents and inspirations."""
    proposals = [strategy.ask(view(operators, front, pending), np.random.default_rng(seed)) for seed in range(50)]
    return [(p.operator, [c.program.id for c in p.parents], [c.program.id for c in p.inspirations]) for p in proposals]
