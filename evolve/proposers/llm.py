"""A language model as proposer: render a prompt, ask, apply the edit that comes back.

What is asked is in ``evolve/prompt.py``, what becomes of an answer in ``evolve/edits.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evolve import prompt
from evolve.cassette import Question, Recording, Replies
from evolve.edits import apply
from evolve.llm import LLM, LLMFatal, LLMUnavailable
from evolve.operators import OFFERED, REPAIR
from evolve.proposers.proposer import Draft, EditRefused, Proposer, Spend
from evolve.replies import find_thought
from evolve.strategies.strategy import Offer, Proposal
from problems.problem import Problem

# What a run offers its strategy; the others have to be asked for.
OPERATORS = OFFERED


class LLMProposer(Proposer):
    """Asks one of several models, drawn at random, to rewrite or edit the first parent.

    Parameters
    ----------
    problem : Problem
        What is to be solved.
    llms : sequence of LLM
        The models.
    operators : sequence of str
        Which to offer to strategies; each has a template in ``evolve/prompts``.
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
        unknown = sorted(set(operators) - set(prompt.operators()))
        if not llms or not operators or unknown:
            known = ", ".join(prompt.operators())
            raise ValueError(f"needs models, and operators out of {known}; got {unknown or 'none'}")
        self.operators = tuple(operators)
        self._problem = problem
        self._llms = tuple(llms)
        shares = np.ones(len(llms)) if weights is None else np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(llms),) or not np.all(np.isfinite(shares)) or shares.min() < 0 or shares.sum() <= 0:
            raise ValueError(f"weights must be {len(llms)} numbers >= 0 that are not all zero, got {weights}")
        self._weights = shares
        self.models = {llm.config.model: Offer(weight=float(share)) for llm, share in zip(llms, shares, strict=True)}
        # What was answered before; a run sets those of its journal.
        self.replies = Replies()
        # Templates that come before ours; a run sets those of its folder.
        self.templates: Path | None = None

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
        messages = prompt.render(self._problem, proposal, baselines=self.baselines, templates=self.templates)
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
            return Draft(self._edited(recording, proposal), find_thought(recording.text), spend, question.model)
        except EditRefused as refusal:
            raise EditRefused(str(refusal), spend, question.model) from None

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
        source, whole, mends = (
            proposal.parents[0].program.source,
            self._problem.form != "hooks",
            proposal.operator == REPAIR,
        )
        return apply(source, recording.text, self._problem.functions, cut=cut, whole=whole, mends=mends)

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
