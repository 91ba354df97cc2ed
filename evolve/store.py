"""The run store: the only reader and writer of run folders.

One folder per run: ``run.toml`` (resolved settings, versions) and ``run.sqlite``. Every fact is
written in the transaction that makes it true, so that a killed run loses only what was in flight.

Tables
------
meta        key, value (JSON): status, report, champion
programs    one row per attempt, baselines first; source is empty where no program came out, and
            model where none was asked
outcomes    one row per program and split
asks        what an attempt set out to do, written before any model is asked: operator, parents,
            inspirations, the model if the strategy named one, and how many programs the strategy had heard of
tells       the order in which the strategy heard of programs on train, with the chain of hashes
            that the archive's hash ends (evolve/archives/digest.py)
replies     each answer of a model under the hash of model, parameters and messages, written in the
            transaction in which it arrives; texts holds the messages, equal ones once
sends       requests to a model that are under way, with their worst case; written before they are
            sent, gone when what they cost is in spends
spends      what an attempt cost: tokens (cached and reasoning ones among them), dollars, seconds of
            LLM time, with the raw reply
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

from evaluators.outcome import Outcome
from evolve.cassette import Recording
from evolve.codec import dump_outcome, dumps
from evolve.config import RunConfig
from evolve.database import new_database
from evolve.errors import UserError
from evolve.program import Program
from evolve.reader import SPEND, Ask, Reader

__all__ = ["Ask", "Store", "run_folders"]


class Store(Reader):
    """An open run folder.

    Parameters
    ----------
    folder : Path
        The run's folder.
    writable : bool
        Whether to take the run's lock; a second writer is refused, readers never wait.

    Raises
    ------
    UserError
        If the folder is no run, is damaged, cannot be written, or another process writes it.
    """

    @classmethod
    def create(cls, config: RunConfig, versions: dict[str, str]) -> Store:
        """Make a new run folder; an existing non-empty folder is refused, never overwritten."""
        folder = config.out
        assert folder is not None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UserError(f"{folder}: not empty; name another --out, or continue it: evolve resume {folder}")
            new_database(folder)
            config.save(folder / "run.toml", versions)
            if config.prompts is not None:
                shutil.copytree(config.prompts, folder / "prompts")
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}; name another --out") from None
        return cls(folder, writable=True)

    @property
    def templates(self) -> Path | None:
        """The run's own templates of prompts, if it has any."""
        return self.folder / "prompts" if (self.folder / "prompts").is_dir() else None

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside becomes true together, or not at all.

        Raises
        ------
        UserError
            If it cannot be written, e.g. to a full disk; what was written before stands.
        """
        return self._db.transaction()

    def add_program(self, program: Program) -> None:
        """Record (or replace) an attempt, before it is evaluated."""
        self._db.write(
            "INSERT OR REPLACE INTO programs VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                program.id,
                program.origin,
                program.operator,
                json.dumps(program.parents),
                program.thought,
                program.source,
                program.model,
            ),
        )

    def add_outcome(self, program: int, split: str, outcome: Outcome) -> None:
        """Record (or replace) the outcome of a program on a split."""
        self._db.write(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)",
            (program, split, outcome.kind, dump_outcome(outcome)),
        )

    def add_ask(self, ask: Ask) -> None:
        """Record what an attempt sets out to do."""
        values = (ask.program, ask.operator, json.dumps(ask.parents), json.dumps(ask.inspirations), ask.told, ask.model)
        self._db.write("INSERT OR REPLACE INTO asks VALUES (?, ?, ?, ?, ?, ?)", values)

    def add_reply(self, recording: Recording) -> None:
        """Record what a model answered."""
        question, messages = recording.question, []
        for message in question.messages:
            digest = sha256(message["content"].encode()).hexdigest()
            self._db.write("INSERT OR IGNORE INTO texts VALUES (?, ?)", (digest, message["content"]))
            messages.append({**message, "content": digest})
        request = json.dumps({"parameters": dict(question.parameters), "messages": messages})
        self._db.write(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                recording.program,
                recording.key,
                question.model,
                request,
                recording.text,
                recording.finish,
                recording.error,
                dumps(recording.usage),
            ),
        )

    def add_tell(self, program: int, chain: str = "") -> None:
        """Record that the strategy heard of a program's outcome on train, and the chain up to it."""
        self._db.write("INSERT INTO tells (program, chain) VALUES (?, ?)", (program, chain))

    def add_send(self, program: int, worst: Mapping[str, Any]) -> None:
        """Record that a request of an attempt is about to be sent, and what it may cost."""
        numbers = [worst.get(key) or 0 for key in ("input_tokens", "output_tokens", "usd")]
        values = (program, worst.get("model", ""), *numbers)
        self._db.write("INSERT OR REPLACE INTO sends VALUES (?, ?, ?, ?, ?)", values)

    def drop_send(self, program: int) -> None:
        """Record that no request of an attempt is under way."""
        self._db.write("DELETE FROM sends WHERE program = ?", (program,))

    def book_sends(self, program: int | None = None) -> None:
        """Book requests of which nothing was heard, of one attempt or all, at what may have been charged."""
        which, values = ("WHERE program = ?", (program,)) if program is not None else ("", ())
        lost = f"SELECT program, model, input_tokens, output_tokens, 0, 0, usd, 0, '' FROM sends {which}"
        self._db.write(f"INSERT INTO spends {lost}", values)
        self._db.write(f"DELETE FROM sends {which}", values)

    def add_spend(self, program: int, spend: Mapping[str, Any]) -> None:
        """Record what one LLM call of an attempt cost, with its raw reply."""
        numbers = [spend.get(key) or 0 for key in SPEND]
        self._db.write(
            "INSERT INTO spends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (program, spend.get("model", ""), *numbers, spend.get("reply", "")),
        )

    def set_meta(self, key: str, value: Any) -> None:
        """Record one JSON value under a key."""
        if self._db.in_transaction:
            self._db.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, dumps(value)))
            return
        with self.transaction():
            self.set_meta(key, value)


def run_folders(root: Path) -> list[Path]:
    """Run folders directly under root, oldest first."""
    return sorted(
        (path.parent for path in root.glob("*/run.sqlite")), key=lambda folder: (folder / "run.toml").stat().st_mtime
    )
