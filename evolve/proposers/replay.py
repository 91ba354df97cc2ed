"""Replay: a language model's part is played by what models said before, with no network and no key.

A question that was never asked is an error that shows how it differs from the one that was.
"""

from __future__ import annotations

import difflib

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
            raise PromptDiffers(_difference(proposal, question, self.cassette.nearest(proposal.number)))
        fields = (recording.text, recording.finish, recording.error, recording.usage)
        return Recording(proposal.number, question.key, question, *fields), {}


def _difference(proposal: Proposal, question: Question, recorded: Recording | None) -> str:
    if recorded is None:
        return f"attempt {proposal.number}: no reply is recorded for its prompt, nor any prompt of that attempt"
    lines = difflib.unified_diff(
        recorded.question.text.splitlines(), question.text.splitlines(), "recorded prompt", "prompt now", lineterm=""
    )
    shown = list(lines)
    if len(shown) > _LONGEST_DIFF:
        shown = [*shown[:_LONGEST_DIFF], f"... {len(shown) - _LONGEST_DIFF} more lines"]
    return "\n".join([f"attempt {proposal.number}: its prompt differs from the recorded one", *shown])
