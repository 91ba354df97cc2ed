"""``evolve prompt``: exactly what a model would be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from evaluators.kinds import evaluator_of
from evolve import prompt as prompts
from evolve import tables
from evolve.commands.options import Json, load_problem
from evolve.config import DEFAULT_STRATEGY, RunConfig
from evolve.errors import UserError
from evolve.findings import Findings, untimed
from evolve.ledger import Notes
from evolve.operators import OPERATORS, REPAIR, needed
from evolve.parts import offers
from evolve.program import Candidate, Program
from evolve.proposers.llm import OPERATORS as OFFERED
from evolve.store import Ask, Store
from evolve.strategies import registry as strategies
from evolve.strategies.strategy import Proposal, cheapest
from evolve.traces import TRACED, with_trace
from problems import registry
from problems.problem import Problem


def prompt(
    target: Annotated[str, typer.Argument(help="A run's folder, or a problem's name.")],
    operator: Annotated[str | None, typer.Option(help="Instead of the one that the strategy chooses.")] = None,
    templates: Annotated[Path | None, typer.Option("--prompts", help="Folder of your own templates.")] = None,
    json: Json = False,
) -> None:
    """Print the next prompt of a run, or the first one of a problem; nothing is sent."""
    known = (*prompts.operators(), REPAIR)
    if operator is not None and operator not in known:
        raise UserError(registry.unknown("operator", operator, known))
    if templates is not None:
        prompts.check_templates(templates)
    if (Path(target) / "run.toml").exists():
        found, config, own, begun = _of_run(Path(target))
    else:
        found, config, own, begun = _of_problem(load_problem(target)), None, None, None
    proposal = _as_asked(found, begun) if begun is not None and operator is None else _next(found, config, operator)
    told = len(found.candidates) if begun is None else begun.told

    def shown(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        timed = config is None or not config.deterministic
        return tuple(c if timed else untimed(c, found.problem) for c in candidates)

    messages = prompts.render(
        found.problem,
        replace(
            proposal,
            parents=shown(proposal.parents),
            inspirations=shown(proposal.inspirations),
            notes=_notes(found, config, proposal, told),
        ),
        baselines=shown(found.baselines),
        templates=templates or own,
    )
    if json:
        tables.print_json({"operator": proposal.operator, "messages": messages})
        return
    for message in messages:
        tables.show(f"[{message['role']}]\n\n{message['content']}")


def _of_run(folder: Path) -> tuple[Findings, RunConfig, Path | None, Ask | None]:
    """What a run has found so far, its settings, its own templates, and the first attempt that waits for a reply."""
    with Store(folder) as store:
        problem = load_problem(store.config.problem)
        found = Findings(problem, strategies.build(store.config.strategy, problem))
        outcomes, programs, asks = store.outcomes("train"), {p.id: p for p in store.programs()}, store.asks()
        for number in store.tells():
            found.hear(Candidate(programs[number], outcomes[number]))
        found.mended = {ask.parents[0] for ask in asks.values() if ask.operator == REPAIR}
        waiting = sorted(number for number, ask in asks.items() if number not in programs and _is_asked(ask.operator))
        return found, store.config, store.templates, asks[waiting[0]] if waiting else None


def _is_asked(operator: str) -> bool:
    """Whether a model is asked to carry it out."""
    return (prompts.TEMPLATES / f"{operator}.md").exists()


def _of_problem(problem: Problem) -> Findings:
    """The baselines, evaluated on train."""

    async def work() -> Findings:
        found = Findings(problem, strategies.build(DEFAULT_STRATEGY, problem))
        async with evaluator_of(problem)(problem) as evaluator:
            rules = enumerate(problem.rules)
            programs = [Program(k, rule.source, "baseline", rule.name, thought=rule.title) for k, rule in rules]
            outcomes = await asyncio.gather(*(evaluator.evaluate(p.source, "train") for p in programs))
        for program, outcome in zip(programs, outcomes, strict=True):
            found.hear(Candidate(program, outcome))
        return found

    return asyncio.run(work())


def _notes(found: Findings, config: RunConfig | None, proposal: Proposal, told: int) -> Notes:
    """What the prompt tells of the run, as it was when so many programs had been told."""
    notes = found.notes(told)
    if proposal.operator not in TRACED:
        return notes

    async def work() -> Notes:
        kind = evaluator_of(found.problem)
        evaluator = kind(found.problem)
        if config is not None:
            evaluator = kind(
                found.problem,
                decoder=config.decoder,
                sets=config.own_instances,
                share=config.share,
                allow_weak_sandbox=config.allow_weak_sandbox,
            )
        async with evaluator:
            first = proposal.parents[0]
            return await with_trace(notes, evaluator, first, found.parent(first), found.baselines)

    return asyncio.run(work())


def _as_asked(found: Findings, ask: Ask) -> Proposal:
    """The proposal that an attempt set out with."""
    parents, others = ([found.candidates[n] for n in numbers] for numbers in (ask.parents, ask.inspirations))
    return Proposal(ask.operator, tuple(parents), tuple(others), ask.model, ask.program)


def _next(found: Findings, config: RunConfig | None, operator: str | None) -> Proposal:
    """What is proposed next."""
    number = max(found.candidates, default=-1) + 1
    offered = (config.operators if config is not None else found.strategy.operators) or OFFERED
    choice = ({}, "") if config is None else offers(config)
    broken = found.broken()
    if operator == REPAIR or (operator is None and config is not None and config.repair and broken is not None):
        if broken is None:
            raise UserError("operator repair: there is no program that was not admitted or did not compile")
        return Proposal(REPAIR, (broken,), model=cheapest(choice[0]))
    tuning = (config.tuning or 0) if config is not None and config.proposer != "genetic" and operator is None else 0
    view = found.view(offered if operator is None else (operator,), 0, *choice, tuning=tuning)
    if operator is not None and OPERATORS[operator].parents > 1:
        # a strategy need not use such an operator: show it with the best of the front
        best = [candidate for candidate in [*view.front, *view.baselines] if candidate.program.source]
        parents = needed(operator, list({c.program.id: c for c in best}.values()))
        if len(parents) < OPERATORS[operator].parents:
            raise UserError(f"operator {operator} needs {OPERATORS[operator].parents} programs, there is one")
        return Proposal(operator, parents)
    while True:
        rng = np.random.default_rng((config.seed if config is not None else 0, number, 0))
        proposal = found.strategy.ask(view, rng)
        assert isinstance(proposal, Proposal), "nothing is under way, so there is nothing to wait for"
        if _is_asked(proposal.operator):
            return proposal
        number += 1  # that attempt tunes constants, which asks no model
