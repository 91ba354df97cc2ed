"""A mailbox as proposer: each prompt is a file, and so is its reply.

For people with a chat window, and for any program that can read and write files. ``0042-prompt.md``
asks, ``0042-reply.md`` answers. Prompts appear whole (they are renamed into place), and replies
should: one that is written in place is taken once its size has not changed between two looks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from evolve.cassette import Question, Recording
from evolve.errors import UserError
from evolve.llm import LLM
from evolve.proposers.llm import OPERATORS, LLMProposer
from evolve.proposers.proposer import Spend
from evolve.strategies.strategy import Proposal
from problems.problem import Problem

MODEL = "mailbox"
LOOK_EVERY_S = 0.25
_INSTRUCTIONS = """\
Each file NNNN-prompt.md in this folder is a question. Put the whole reply, as it came, into NNNN-reply.md
next to it. Any order will do, several may be open at once, and the run may be stopped and resumed in between.
A prompt without a reply is open; an empty reply file gives it up.
Programs should write to another name first (NNNN-reply.tmp) and rename it: a reply then appears whole.
"""


class MailboxProposer(LLMProposer):
    """Writes prompts into a folder and waits for the replies.

    Parameters
    ----------
    problem, llms, operators
        As for LLMProposer; one model, of which only the settings are used.
    folder : Path
        The mailbox; made when it is first needed.
    """

    origin = "mailbox"

    def __init__(
        self, problem: Problem, llms: Sequence[LLM], folder: Path, *, operators: Sequence[str] = OPERATORS
    ) -> None:
        super().__init__(problem, llms, operators=operators)
        self.folder = folder

    async def prepare(self) -> None:
        """Make the folder and say what to do with it, once."""
        note = self.folder / "README.md"
        if note.exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(note, _INSTRUCTIONS)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror or error}") from None
        print(f"mailbox: {self.folder}\n{_INSTRUCTIONS}", flush=True)

    async def close(self) -> None:
        """Nothing is open: prompts stay for the next session."""

    async def _ask(self, llm: LLM, question: Question, proposal: Proposal) -> tuple[Recording, Spend]:
        stem = f"{proposal.number:04d}"
        prompt, reply = self.folder / f"{stem}-prompt.md", self.folder / f"{stem}-reply.md"
        text = "\n".join(message["content"] for message in question.messages)
        try:
            # an answer to another question, e.g. of a run whose journal was restored from a copy, is none
            if not prompt.exists() or prompt.read_text(encoding="utf-8") != text:
                reply.unlink(missing_ok=True)
                _write(prompt, text)
            answer = await _wait_for(reply)
        except OSError as error:
            raise UserError(f"{error.filename or self.folder}: {error.strerror or error}") from None
        return Recording(proposal.number, question.key, question, answer), {}


async def _wait_for(path: Path) -> str:
    """The text of a file that may not be there yet, or not whole."""
    size = -1
    while True:
        if path.is_file():
            before, size = size, path.stat().st_size
            if before == size:
                return path.read_text(encoding="utf-8", errors="replace")
        await asyncio.sleep(LOOK_EVERY_S)


def _write(path: Path, text: str) -> None:
    """Write a file so that it appears whole."""
    half = path.with_suffix(".tmp")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
