"""Tune a program and keep the result only if it is better, measured like any other program."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from evaluators import racing, sampling, tuning
from evaluators.admission.literals import with_parameters, without_parameters
from evaluators.admission.parameters import Parameter, parameters
from evaluators.evaluator import Evaluator
from evaluators.outcome import Failure, Ok, Outcome
from evaluators.racing import Plan
from evolve.errors import UserError
from evolve.proposers.proposer import EditRefused
from evolve.statistics import Paired, compare, side

# Train guides, valid confirms; test is not read.
GUIDE, CONFIRM = "train", "valid"


@dataclass(frozen=True)
class Tuned:
    """What tuning came to, by split (train, valid): outcomes of the program as written and as tuned."""

    source: str  # of the better program
    kept: bool  # whether that is the tuned one
    why: str
    before: tuple[Parameter, ...]
    after: tuple[Parameter, ...]
    written: dict[str, Ok]
    tuned: dict[str, Ok]
    difference: dict[str, Paired]  # of the primary objective: tuned minus written
    search: tuning.TuningResult


async def tuned(
    evaluator: Evaluator, source: str, *, plan: Plan | None, evaluations: int, seed: int, sigma: float
) -> str:
    """A program with other constants, found on samples of train; not evaluated.

    Literals become parameters for the search, and literals of three digits again.

    Raises
    ------
    EditRefused
        If there is nothing to tune, or the program does not run.
    """
    written = {p.name for p in parameters(ast.parse(source))}
    lifted = with_parameters(source)
    new = {p.name for p in parameters(ast.parse(lifted))} - written
    simulations = evaluations * len(evaluator.instances(GUIDE))
    try:
        found = await sampling.sample(
            evaluator, lifted, GUIDE, plan=plan, simulations=simulations, seed=seed, sigma=sigma
        )
    except tuning.NothingToTune as nothing:
        raise EditRefused(str(nothing)) from None
    if isinstance(found, Failure):
        raise EditRefused(f"tuning: {found.kind} at stage {found.stage}: {found.reason}")
    return without_parameters(found, new)


async def tune(
    evaluator: Evaluator,
    source: str,
    *,
    evaluations: int,
    optimiser: str = "cmaes",
    seed: int = 0,
    lift: bool = False,
    name: str = "the program",
) -> Tuned:
    """Tune a program's parameters on train.

    The tuned program is evaluated anew, verified like any other. It is kept if the 95 % interval of
    its paired difference on train lies on the better side, and it is no worse on valid.

    Parameters
    ----------
    evaluator : Evaluator
        Started.
    source : str
        The program.
    evaluations : int
        As many simulations are run as so many evaluations on train take.
    optimiser : str
        cmaes, random or nelder-mead.
    seed : int
        Of the optimiser.
    lift : bool
        Make the program's float literals parameters first.
    name : str
        Of the program, for messages.

    Raises
    ------
    UserError
        If the program has no parameters, or does not run.
    """
    if lift:
        _ok(name, await evaluator.evaluate(source, GUIDE, probe=False))
        source = with_parameters(source)
        if not parameters(ast.parse(source)):
            raise UserError(f"{name}: has neither param(...) nor a float literal: there is nothing to tune")
    problem = evaluator.problem
    written = {split: _ok(name, await evaluator.evaluate(source, split, probe=False)) for split in (GUIDE, CONFIRM)}
    found = await _search(evaluator, source, name, evaluations=evaluations, optimiser=optimiser, seed=seed)
    outcomes = {split: await evaluator.evaluate(found.source, split, probe=False) for split in (GUIDE, CONFIRM)}
    tuned = {split: _ok(f"{name}, tuned", outcome) for split, outcome in outcomes.items()}
    difference = {
        split: compare(problem, problem.primary, tuned[split], written[split], evaluator.instances(split))
        for split in (GUIDE, CONFIRM)
    }
    kept, why = _verdict(evaluator, difference)
    before, after = (parameters(ast.parse(text)) for text in (source, found.source))
    source, after = (found.source, after) if kept else (source, before)
    return Tuned(source, kept, why, before, after, written, tuned, difference, found)


async def _search(
    evaluator: Evaluator, source: str, name: str, *, evaluations: int, optimiser: str, seed: int
) -> tuning.TuningResult:
    """Race values on train, where instances differ as much as the rules of the problem say."""
    problem, instances = evaluator.problem, evaluator.instances(GUIDE)
    rows = [await evaluator.evaluate(rule.source, GUIDE, probe=False) for rule in problem.rules]
    values = [row.values[problem.primary.name] for row in rows if isinstance(row, Ok)]
    plan = racing.plan(problem.primary, instances, values, tuning.ALPHA)
    simulations = evaluations * len(instances)
    try:
        found = await tuning.search(
            evaluator, source, GUIDE, plan=plan, simulations=simulations, optimiser=optimiser, seed=seed
        )
    except tuning.NothingToTune as nothing:
        raise UserError(f"{name}: {nothing}") from None
    if isinstance(found, Failure):
        raise UserError(f"{name}: {found.kind} at stage {found.stage}: {found.reason}")
    return found


def _verdict(evaluator: Evaluator, difference: dict[str, Paired]) -> tuple[bool, str]:
    objective = evaluator.problem.primary
    if side(objective, difference[GUIDE].low, difference[GUIDE].high) != "better":
        return False, "not better on train: the 95 % interval of the paired difference reaches 0"
    if objective.loss(difference[CONFIRM].difference) > 0.0:
        return False, "worse on valid: what was gained on train does not carry over"
    return True, "better on train, and no worse on valid"


def _ok(name: str, outcome: Outcome) -> Ok:
    if not isinstance(outcome, Ok):
        raise UserError(f"{name}: {outcome.kind} at stage {outcome.stage}: {outcome.reason}")
    return outcome
