"""A language model as proposer: render a prompt, ask, apply the edit that comes back.

A prompt is a function of problem, baselines and proposal alone, so that a run can be replayed. The
system message holds what does not change within a run and comes first, which lets providers
cache it; the templates are in ``evolve/prompts``.
"""

from __future__ import annotations

import asyncio
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

from evaluators import language, python_policy
from evaluators.outcome import Failure, Ok
from evolve.cassette import Question, Recording, Replies
from evolve.edits import apply
from evolve.llm import LLM, LLMFatal, LLMUnavailable
from evolve.program import Candidate
from evolve.proposers.proposer import Draft, EditRefused, Proposer, Spend
from evolve.replies import find_thought
from evolve.strategies.strategy import Proposal
from problems.problem import Objective, Problem, quantities

OPERATORS = ("rewrite", "diff")


class LLMProposer(Proposer):
    """Asks one of several models, drawn at random, to rewrite or edit the first parent.

    Parameters
    ----------
    problem : Problem
        What is to be solved.
    llms : sequence of LLM
        The models.
    operators : sequence of str
        Which of ``rewrite`` and ``diff`` to offer to strategies.
    weights : sequence of float, optional
        How often each model is drawn, relative to the others; evenly by default. A model of weight 0
        is asked only while all others are out.
    """

    origin = "llm"

    def __init__(
        self,
        problem: Problem,
        llms: Sequence[LLM],
        *,
        operators: Sequence[str] = OPERATORS,
        weights: Sequence[float] | None = None,
    ) -> None:
        unknown = sorted(set(operators) - set(OPERATORS))
        if not llms or not operators or unknown:
            raise ValueError(f"needs models, and operators out of {', '.join(OPERATORS)}; got {unknown or 'none'}")
        self.operators = tuple(operators)
        self._problem = problem
        self._llms = tuple(llms)
        shares = np.ones(len(llms)) if weights is None else np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(llms),) or not np.all(np.isfinite(shares)) or shares.min() < 0 or shares.sum() <= 0:
            raise ValueError(f"weights must be {len(llms)} numbers >= 0 that are not all zero, got {weights}")
        self._weights = shares
        # What was answered before; a run sets those of its journal.
        self.replies = Replies()

    @property
    def notice(self) -> str:
        """Which models are out, and why."""
        return "; ".join(f"out: {llm.out}" for llm in self._llms if llm.out)

    async def prepare(self) -> None:
        """Import the client libraries."""
        for llm in self._llms:
            await llm.prepare()

    async def close(self) -> None:
        """Close the models' connections."""
        for llm in self._llms:
            await llm.close()

    async def propose(self, proposal: Proposal, rng: np.random.Generator) -> Draft:
        """Ask a model for a child of the first parent.

        Raises
        ------
        EditRefused
            If the model gives no answer, or none that makes a new program; it carries the spend.
            A model that cannot work is taken out this way while others are left.
        LLMFatal, BudgetExhausted
            If no model call can work, or be afforded, any more.
        """
        llm = self._draw(proposal, rng)
        messages = render(self._problem, proposal, baselines=self.baselines)
        question = Question(llm.config.model, _parameters(llm), messages)
        recording = self.replies.find(proposal.number, question)
        spend: Spend = {}
        if recording is None:
            try:
                recording, spend = await self._ask(llm, question, proposal)
            except LLMFatal as error:
                self.replies.lose(proposal.number, error.spend)
                raise
            except asyncio.CancelledError:
                self.replies.lose(proposal.number)
                raise
            self.replies.keep(recording, spend)
        if self.replies.journals:
            spend = {}
        try:
            return Draft(self._edited(recording, proposal), find_thought(recording.text), spend)
        except EditRefused as refusal:
            raise EditRefused(str(refusal), spend) from None

    async def _ask(self, llm: LLM, question: Question, proposal: Proposal) -> tuple[Recording, Spend]:
        """Get an answer, or the reason why there is none, from wherever answers come from."""
        number = proposal.number
        try:
            reply = await llm.complete(
                question.messages, label=proposal.operator, on_send=lambda worst: self.replies.send(number, worst)
            )
        except LLMUnavailable as error:
            return Recording(
                number, question.key, question, "", error=str(error), usage=_usage(error.spend)
            ), error.spend
        except LLMFatal as error:
            if all(other.out for other in self._llms):
                raise
            reason = f"model taken out: {error}"
            return Recording(number, question.key, question, "", error=reason, usage=_usage(error.spend)), error.spend
        found = Recording(
            number, question.key, question, reply.text, reply.finish, error=reply.flaw, usage=_usage(reply.spend)
        )
        return found, reply.spend

    def _edited(self, recording: Recording, proposal: Proposal) -> str:
        """The child's source."""
        if recording.error:
            raise EditRefused(recording.error)
        cut = recording.finish == "length"
        if not recording.text.strip():
            raise EditRefused("the reply is empty" + (": reasoning took all output tokens" if cut else ""))
        whole = self._problem.form != "hooks"
        return apply(proposal.parents[0].program.source, recording.text, self._problem.functions, cut=cut, whole=whole)

    def _draw(self, proposal: Proposal, rng: np.random.Generator) -> LLM:
        """The model that this attempt asked before; else the one it names, or any, of those that are not out."""
        asked = self._asked(proposal.number)
        for llm in self._llms:
            if llm.config.model == asked or (not asked and llm.config.model == proposal.model and not llm.out):
                return llm
        left = [number for number, llm in enumerate(self._llms) if not llm.out]
        if not left:
            raise LLMFatal("; ".join(llm.out for llm in self._llms))
        weights = self._weights[left]
        shares = weights / weights.sum() if weights.any() else None
        return self._llms[left[int(rng.choice(len(left), p=shares))]]

    def _asked(self, number: int) -> str:
        """The model that an attempt asked, or an empty string: another may have been out then, or be now."""
        recording = self.replies.nearest(number)
        return recording.question.model if recording is not None else ""


def _parameters(llm: LLM) -> dict[str, object]:
    """What a reply depends on besides model and messages; not where the server is."""
    names = ("temperature", "max_output_tokens", "reasoning_effort")
    return {name: getattr(llm.config, name) for name in names}


def _usage(spend: Spend) -> Spend:
    return {name: value for name, value in spend.items() if name not in ("model", "reply")}


def render(problem: Problem, proposal: Proposal, *, baselines: Sequence[Candidate] = ()) -> list[dict[str, str]]:
    """The messages that a proposal becomes.

    Parameters
    ----------
    problem : Problem
        What is to be solved.
    proposal : Proposal
        The operator names the template. The first parent is edited; further parents and
        inspirations are shown to borrow from, or as failures where their outcome is one.
    baselines : sequence of Candidate
        Evaluated baselines that measurements are compared with.

    Returns
    -------
    A system and a user message, each with ``role`` and ``content``.
    """
    parent, *others = proposal.parents
    others += proposal.inspirations
    facts = {
        "problem": problem,
        "language": language,
        "modules": python_policy.MODULES,
        "example": _example(problem),
        "titles": {baseline.name: baseline.title for baseline in problem.baselines},
        "baselines": [candidate for candidate in baselines if isinstance(candidate.outcome, Ok)],
        "parent": parent,
        "others": [candidate for candidate in others if isinstance(candidate.outcome, Ok)],
        "failures": [candidate for candidate in others if isinstance(candidate.outcome, Failure)],
        "protected": "# EVOLVE-BLOCK-START" in parent.program.source,
    }
    names = {"system": "system.md", "user": f"{proposal.operator}.md"}
    texts = {role: _templates().get_template(name).render(facts) for role, name in names.items()}
    return [{"role": role, "content": text.strip() + "\n"} for role, text in texts.items()]


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parents[1] / "prompts")
    # StrictUndefined: a name that a template gets wrong is an error, not an empty place in a prompt.
    templates = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    templates.filters.update(quantities=quantities, fenced=_fenced, summary=_summary, measured=_measured)
    return templates


def _fenced(candidate: Candidate) -> str:
    """The source in a fence longer than any run of backticks in it."""
    source = candidate.program.source
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", source))])
    return f"{fence}python\n{source.rstrip()}\n{fence}"


def _summary(candidate: Candidate, problem: Problem) -> str:
    """The outcome in one line."""
    outcome = candidate.outcome
    if isinstance(outcome, Failure):
        return f"{outcome.kind.replace('_', ' ')} at {outcome.stage}: {outcome.reason}"
    values = ((objective, outcome.objectives.get(objective.name, math.nan)) for objective in problem.objectives)
    return ", ".join(f"{o.title} {value:.4g} {o.unit}" for o, value in values if math.isfinite(value))


def _measured(candidate: Candidate, problem: Problem, baselines: Sequence[Candidate]) -> str:
    """Each objective over all instances and by group, next to the best baseline there."""
    if not isinstance(candidate.outcome, Ok):
        return _summary(candidate, problem)
    lines = []
    for objective in problem.objectives:
        # Times differ between groups by what a decision looks at, not by what a rule could mend.
        groups = [] if objective.kind == "decision_time" else list(candidate.outcome.groups)
        for group in ["", *groups]:
            value = _value(candidate, objective, group)
            if math.isfinite(value):
                where = f"group {group}" if group else f"{objective.title}, all"
                bar = _best_baseline(objective, group, baselines)
                lines.append(f"{'  ' if group else ''}- {where}: {value:.4g} {objective.unit}{bar}")
    return "\n".join(lines)


def _best_baseline(objective: Objective, group: str, baselines: Sequence[Candidate]) -> str:
    """Name and value of the best (ties: the first), or nothing where none has one."""
    values = [(_value(baseline, objective, group), baseline.program.operator) for baseline in baselines]
    finite = [(value, name) for value, name in values if math.isfinite(value)]
    if not finite:
        return ""
    value, name = min(finite, key=lambda pair: objective.loss(pair[0]))
    return f" ({name} {value:.4g})"


def _value(candidate: Candidate, objective: Objective, group: str) -> float:
    outcome = candidate.outcome
    assert isinstance(outcome, Ok)
    values = outcome.groups.get(group, {}) if group else outcome.objectives
    return values.get(objective.name, math.nan)


def _example(problem: Problem) -> str:
    """A program that is admitted, made from the problem's own hooks."""
    parts = ["WEIGHT = param(0.5, low=0.0, high=10.0)"]
    for hook in problem.hooks:
        read = [f"{name}.{field.name}" for name, fields in hook.arguments.items() for field in quantities(fields)]
        body = f"return {read[0]} + WEIGHT * {read[-1]}" if read else "return WEIGHT"
        parts.append(f"def {hook.name}({', '.join(hook.arguments)}):\n    {body}")
    return "\n\n\n".join(parts)
