"""Settings of a run that contradict each other: refused before anything is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.errors import UserError
from evolve.operators import REPAIR
from evolve.prompt import check_templates, operators
from problems import registry
from problems.problem import Problem

if TYPE_CHECKING:
    from evolve.config import RunConfig


def check(config: RunConfig, problem: Problem, proposer: str) -> None:
    """Refuse what does not go together: a proposer with its problem, model, replies, operators and templates.

    Raises
    ------
    UserError
        Naming the first setting that is in the way, and the way out.
    """
    _check_proposer(config, proposer)
    _check_form(config, problem, proposer)
    _check_prompts(config, proposer)


def _check_proposer(config: RunConfig, proposer: str) -> None:
    if proposer in ("llm", "replay") and not config.model and config.record is None:
        raise UserError(f"proposer {proposer} needs a model: name one with --model, e.g. --model openai/gpt-5-mini")
    if proposer in ("genetic", "mailbox") and config.model:
        raise UserError(f"proposer {proposer} uses no model: leave out --model or --proposer {proposer}")
    if proposer == "replay" and config.cassette is None and config.record is None:
        raise UserError("proposer replay needs replies: name them with --cassette FILE, or use: evolve replay RUN")
    if proposer != "replay" and config.cassette is not None:
        raise UserError(f"--cassette is for the proposer replay, not {proposer}: leave out one of the two")


def _check_form(config: RunConfig, problem: Problem, proposer: str) -> None:
    if problem.form != "hooks" and proposer == "genetic":
        raise UserError(
            f"{problem.name}: its programs are whole Python programs, which the offline proposer cannot vary: name "
            "a model with --model, answer yourself with --proposer mailbox, or score files with evolve evaluate"
        )
    if problem.form == "task" and config.own_instances:
        raise UserError(f"--{next(iter(config.own_instances))}: a task has no instance files; its evaluator has them")


def _check_prompts(config: RunConfig, proposer: str) -> None:
    if (config.operators or config.prompts) and proposer == "genetic":
        raise UserError("--operator and --prompts are for models: proposer genetic has operators of its own")
    if REPAIR in config.operators:
        raise UserError("--operator repair: no strategy asks for it, the run does so by itself: write --repair")
    for name in config.operators:
        if name not in operators():
            raise UserError(registry.unknown("operator", name, operators()))
    if config.prompts is not None:
        check_templates(config.prompts)
