"""Replay: a language model's part is played by what models said before, with no network and no key.

A question other than the one that was asked is an error that shows how the two differ. Where none was
asked the budget was spent, and the run ends there again.
"""

from __future__ import annotations

import difflib

from evolve.budget import BudgetExhausted
from evolve.cassette import Question, Recording, Replies
from evolve.errors import UserError
from evolve.llm import LLM
from evolve.proposers.llm import LLMProposer
from evolve.proposers.proposer import Spend
from evolve.strategies.strategy import Proposal

_LONGEST_DIFF = 200  # lines


class PromptDiffers(UserError):
    """A question is not the recorded one; the message ends in a unified diff of the two."""


class ReplayProposer(LLMProposer):
    """Answers from ``cassette``; the models are asked for their settings only."""

    cassette = Replies()

    async def prepare(self) -> None:
        """Nothing is needed: no client is opened."""

    async def close(self) -> None:
        """Nothing is open."""

    def _asked(self, number: int) -> str:
        recording = self.cassette.nearest(number)
        return recording.question.model if recording is not None else ""

    async def _ask(self, llm: LLM, question: Question, proposal: Proposal) -> tuple[Recording, Spend]:
        recording = self.cassette.take(proposal.number, question)
        if recording is None:
            nearest = self.cassette.nearest(proposal.number)
            if nearest is None:
                # the recorded run could not afford this call; from here on it went as if none could
                raise BudgetExhausted(f"no reply is recorded for attempt {proposal.number}", resource="llm_calls")
            raise PromptDiffers(_difference(proposal, question, nearest))
        fields = (recording.text, recording.finish, recording.error, recording.usage)
        return Recording(proposal.number, question.key, question, *fields), {}


def _difference(proposal: Proposal, question: Question, recorded: Recording) -> str:
    lines = difflib.unified_diff(
        recorded.question.text.splitlines(), question.text.splitlines(), "recorded prompt", "prompt now", lineterm=""
    )
    shown = list(lines)
    if len(shown) > _LONGEST_DIFF:
        shown = [*shown[:_LONGEST_DIFF], f"... {len(shown) - _LONGEST_DIFF} more lines"]
    return "\n".join([f"attempt {proposal.number}: its prompt differs from the recorded one", *shown])
