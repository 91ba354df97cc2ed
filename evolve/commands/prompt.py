"""``evolve prompt``: exactly what a model would be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from evaluators.evaluator import Evaluator
from evolve import prompt as prompts
from evolve import tables
from evolve.commands.options import Json, load_problem
from evolve.config import DEFAULT_STRATEGY, RunConfig
from evolve.errors import UserError
from evolve.findings import Findings, untimed
from evolve.operators import OPERATORS, needed
from evolve.program import Candidate, Program
from evolve.proposers.llm import OPERATORS as OFFERED
from evolve.store import Store
from evolve.strategies import registry as strategies
from evolve.strategies.strategy import Proposal
from problems import registry
from problems.problem import Problem


def prompt(
    target: Annotated[str, typer.Argument(help="A run's folder, or a problem's name.")],
    operator: Annotated[str | None, typer.Option(help="Instead of the one that the strategy chooses.")] = None,
    templates: Annotated[Path | None, typer.Option("--prompts", help="Folder of your own templates.")] = None,
    json: Json = False,
) -> None:
    """Print the next prompt of a run, or the first one of a problem; nothing is sent."""
    if operator is not None and operator not in prompts.operators():
        raise UserError(registry.unknown("operator", operator, prompts.operators()))
    if templates is not None:
        prompts.check_templates(templates)
    if (Path(target) / "run.toml").exists():
        found, config, own = _of_run(Path(target))
    else:
        found, config, own = _of_problem(load_problem(target)), None, None
    proposal = _next(found, config, operator)

    def shown(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        timed = config is None or not config.deterministic
        return tuple(c if timed else untimed(c, found.problem) for c in candidates)

    messages = prompts.render(
        found.problem,
        replace(proposal, parents=shown(proposal.parents), inspirations=shown(proposal.inspirations)),
        baselines=shown(found.baselines),
        templates=templates or own,
    )
    if json:
        tables.print_json({"operator": proposal.operator, "messages": messages})
        return
    for message in messages:
        tables.show(f"[{message['role']}]\n\n{message['content']}")


def _of_run(folder: Path) -> tuple[Findings, RunConfig, Path | None]:
    """What a run has found so far, its settings and its own templates."""
    with Store(folder) as store:
        problem = load_problem(store.config.problem)
        found = Findings(problem, strategies.build(store.config.strategy, problem))
        outcomes, programs = store.outcomes("train"), {p.id: p for p in store.programs()}
        for number in store.tells():
            found.hear(Candidate(programs[number], outcomes[number]))
        return found, store.config, store.templates


def _of_problem(problem: Problem) -> Findings:
    """The baselines, evaluated on train."""

    async def work() -> Findings:
        found = Findings(problem, strategies.build(DEFAULT_STRATEGY, problem))
        async with Evaluator(problem) as evaluator:
            programs = [Program(k, r.source, "baseline", r.name) for k, r in enumerate(problem.rules)]
            outcomes = await asyncio.gather(*(evaluator.evaluate(p.source, "train") for p in programs))
        for program, outcome in zip(programs, outcomes, strict=True):
            found.hear(Candidate(program, outcome))
        return found

    return asyncio.run(work())


def _next(found: Findings, config: RunConfig | None, operator: str | None) -> Proposal:
    """What the strategy proposes next."""
    number = max(found.candidates, default=-1) + 1
    offered = (config.operators if config is not None else ()) or OFFERED
    view = found.view(offered if operator is None else (operator,), 0)
    rng = np.random.default_rng((config.seed if config is not None else 0, number, 0))
    if operator is not None and OPERATORS[operator].parents > 1:
        # a strategy need not use such an operator: show it with the best of the front
        best = [candidate for candidate in [*view.front, *view.baselines] if candidate.program.source]
        parents = needed(operator, list({c.program.id: c for c in best}.values()))
        if len(parents) < OPERATORS[operator].parents:
            raise UserError(f"operator {operator} needs {OPERATORS[operator].parents} programs, there is one")
        return Proposal(operator, parents)
    proposal = found.strategy.ask(view, rng)
    assert isinstance(proposal, Proposal), "nothing is under way, so there is nothing to wait for"
    return proposal
