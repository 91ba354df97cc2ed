"""Options that several commands share, and the evaluator they start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from evaluators.evaluator import solve_procedure
from evaluators.kinds import evaluator_of
from evaluators.outcome import Outcome
from evaluators.sandbox.limits import Limits, available_cores
from evolve.errors import UserError
from evolve.heuristic import Named
from problems import registry
from problems.problem import Instance, Problem

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Run = Annotated[Path, typer.Argument(help="The run's folder.")]
WeakSandbox = Annotated[
    bool, typer.Option("--allow-weak-sandbox", help="Run although a layer of the sandbox is missing here.")
]


def load_problem(name: str) -> Problem:
    """A problem by name; an unknown name is a UserError with a suggestion."""
    try:
        return registry.load(name)
    except registry.UnknownProblem as error:
        raise UserError(str(error)) from None


def task_name(folder: Path) -> str:
    """The name under which a task folder is a problem, from wherever it is used later."""
    return f"task:{folder.resolve()}"


def checked_decoder(problem: Problem, decoder: str | None) -> str:
    """The named decoder, or the problem's default."""
    if decoder is not None and decoder not in problem.simulators:
        raise UserError(registry.unknown("decoder", decoder, problem.simulators))
    return decoder or problem.default_decoder


def checked_split(problem: Problem, split: str) -> str:
    """The named split, if the problem has it; a task has one evaluation under any name."""
    if problem.form == "task":
        return "train"
    if split not in problem.splits:
        raise UserError(registry.unknown("split", split, problem.splits))
    return split


def evaluate_programs(
    problem: Problem,
    programs: Sequence[Named],
    splits: Sequence[str],
    *,
    decoder: str,
    sets: Mapping[str, Path] | None = None,
    share: float = 1.0,
    limits: Limits | None = None,
    allow_weak_sandbox: bool = False,
) -> tuple[dict[str, dict[str, Outcome]], dict[str, Sequence[Instance]]]:
    """Evaluate programs, sealed, on splits: split -> program name -> outcome, and the instances."""

    async def work() -> tuple[dict[str, dict[str, Outcome]], dict[str, Sequence[Instance]]]:
        evaluator = evaluator_of(problem)(
            problem,
            decoder=decoder,
            workers=available_cores(),
            limits=limits or Limits(timeout_s=60.0),
            sets=sets or {},
            share=share,
            allow_weak_sandbox=allow_weak_sandbox,
        )
        async with evaluator:
            instances = {split: evaluator.instances(split) for split in splits}

            async def one(program: Named, split: str) -> Outcome:
                if program.source:
                    return await evaluator.evaluate(program.source, split, probe=False)
                procedure = problem.baseline(program.name)
                assert procedure is not None
                return await asyncio.to_thread(solve_procedure, problem, procedure, instances[split])

            found: dict[str, dict[str, Outcome]] = {}
            for split in splits:
                outcomes = await asyncio.gather(*(one(program, split) for program in programs))
                found[split] = {p.name: o for p, o in zip(programs, outcomes, strict=True)}
            return found, instances

    return asyncio.run(work())
