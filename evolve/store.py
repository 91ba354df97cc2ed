"""The run store: the only reader and writer of run folders.

One folder per run: ``run.toml`` (resolved settings, versions) and ``run.sqlite``. Every fact is
written in the transaction that makes it true, so that a killed run loses only what was in flight.

Tables
------
meta        key, value (JSON): status, report, champion
programs    one row per attempt, baselines first; source is empty where no program came out
outcomes    one row per program and split
asks        what an attempt set out to do, written before any model is asked: operator, parents,
            inspirations, and how many programs the strategy had heard of
tells       the order in which the strategy heard of programs on train, with the chain of hashes
            that the archive's hash ends (evolve/archives/digest.py)
replies     each answer of a model under the hash of model, parameters and messages, written in the
            transaction in which it arrives; texts holds the messages, equal ones once
spends      what an attempt cost: tokens (cached and reasoning ones among them), dollars, seconds of
            LLM time, with the raw reply
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evaluators.outcome import Outcome
from evolve.archives.digest import archive_hash
from evolve.cassette import Question, Recording
from evolve.codec import dump_outcome, dumps, load_outcome
from evolve.config import RunConfig
from evolve.database import Database, new_database
from evolve.errors import UserError
from evolve.program import Program

_SPEND = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usd", "seconds")


class Ask(NamedTuple):
    """What an attempt set out to do."""

    program: int
    operator: str
    parents: tuple[int, ...]
    inspirations: tuple[int, ...]
    told: int  # how many programs the strategy had heard of


class Store:
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

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        if not (folder / "run.toml").is_file() or not (folder / "run.sqlite").is_file():
            raise UserError(f"{folder}: not a run folder (it has no run.toml with run.sqlite); list runs: evolve runs")
        self.config = RunConfig.of_run(folder)
        self._db = Database(folder, writable=writable)

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
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}; name another --out") from None
        return cls(folder, writable=True)

    def close(self) -> None:
        """Release the lock and the database."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside becomes true together, or not at all.

        Raises
        ------
        UserError
            If it cannot be written, e.g. to a full disk; what was written before stands.
        """
        return self._db.transaction()

    # writing

    def add_program(self, program: Program) -> None:
        """Record (or replace) an attempt, before it is evaluated."""
        self._db.write(
            "INSERT OR REPLACE INTO programs VALUES (?, ?, ?, ?, ?, ?)",
            (
                program.id,
                program.origin,
                program.operator,
                json.dumps(program.parents),
                program.thought,
                program.source,
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
        values = (ask.program, ask.operator, json.dumps(ask.parents), json.dumps(ask.inspirations), ask.told)
        self._db.write("INSERT OR REPLACE INTO asks VALUES (?, ?, ?, ?, ?)", values)

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

    def add_spend(self, program: int, spend: Mapping[str, Any]) -> None:
        """Record what one LLM call of an attempt cost, with its raw reply."""
        numbers = [spend.get(key) or 0 for key in _SPEND]
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

    # reading

    def meta(self, key: str, default: Any = None) -> Any:
        """The JSON value of a key."""
        row = self._db.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(row[0][0]) if row else default

    def programs(self) -> list[Program]:
        """All attempts by id."""
        return [_program(row) for row in self._db.rows("SELECT * FROM programs ORDER BY id")]

    def program(self, identifier: int) -> Program:
        """One attempt.

        Raises
        ------
        UserError
            If the run has no program of that id.
        """
        rows = self._db.rows("SELECT * FROM programs WHERE id = ?", (identifier,))
        if not rows:
            last = self._db.rows("SELECT max(id) FROM programs")[0][0]
            raise UserError(f"{self.folder}: no program {identifier}; ids are 0 to {last}")
        return _program(rows[0])

    def ancestors(self, identifier: int) -> dict[int, Program]:
        """A program and all it descends from, by id."""
        found: dict[int, Program] = {}
        todo = [identifier]
        while todo:
            number = todo.pop()
            if number not in found:
                found[number] = self.program(number)
                todo.extend(found[number].parents)
        return found

    def outcomes(self, split: str) -> dict[int, Outcome]:
        """Outcomes on a split by program id."""
        rows = self._db.rows("SELECT program, kind, body FROM outcomes WHERE split = ? ORDER BY program", (split,))
        return {program: load_outcome(kind, body) for program, kind, body in rows}

    def outcomes_of(self, program: int) -> dict[str, Outcome]:
        """Outcomes of one program by split."""
        rows = self._db.rows("SELECT split, kind, body FROM outcomes WHERE program = ?", (program,))
        return {split: load_outcome(kind, body) for split, kind, body in rows}

    def tells(self) -> list[int]:
        """Program ids in the order the strategy heard of them."""
        return [row[0] for row in self._db.rows("SELECT program FROM tells ORDER BY position")]

    def chain(self) -> list[str]:
        """The chain of hashes, one link per tell; empty strings where an older version told."""
        return [row[0] for row in self._db.rows("SELECT chain FROM tells ORDER BY position")]

    def archive_hash(self) -> str:
        """The hash of what was found so far, "" where an older version told of programs."""
        link = self.last_link()
        return archive_hash(link, self.meta("guide", [])) if link else ""

    def last_link(self) -> str:
        """The chain's last link, "" before the first tell."""
        rows = self._db.rows("SELECT chain FROM tells ORDER BY position DESC LIMIT 1")
        return str(rows[0][0]) if rows else ""

    def asks(self) -> dict[int, Ask]:
        """What attempts set out to do, by program id."""
        rows = self._db.rows("SELECT * FROM asks ORDER BY program")
        return {
            program: Ask(program, operator, tuple(json.loads(parents)), tuple(json.loads(inspirations)), told)
            for program, operator, parents, inspirations, told in rows
        }

    def replies(self) -> list[Recording]:
        """All answers of models, by program id."""
        texts = dict(self._db.rows("SELECT hash, text FROM texts"))
        found = []
        rows = self._db.rows("SELECT * FROM replies ORDER BY program")
        for program, key, model, request, text, finish, error, usage in rows:
            fields = json.loads(request)
            messages = [{**message, "content": texts[message["content"]]} for message in fields["messages"]]
            question = Question(model, fields["parameters"], messages)
            found.append(Recording(program, key, question, text, finish, error, json.loads(usage)))
        return found

    def counts(self) -> dict[str, int]:
        """Number of train outcomes by kind."""
        return dict(
            self._db.rows("SELECT kind, count(*) FROM outcomes WHERE split = 'train' GROUP BY kind ORDER BY kind")
        )

    def spend(self, by: Literal["model", "operator"] = "model") -> dict[str, dict[str, float]]:
        """Tokens, dollars, seconds and calls by model or by operator."""
        sums = ", ".join(f"sum({key})" for key in _SPEND)
        rows = self._db.rows(
            f"SELECT {by}, count(*), {sums} FROM spends LEFT JOIN programs ON programs.id = program GROUP BY {by}"
        )
        return {name: dict(zip(("calls", *_SPEND), numbers, strict=True)) for name, *numbers in rows}


def run_folders(root: Path) -> list[Path]:
    """Run folders directly under root, oldest first."""
    return sorted(
        (path.parent for path in root.glob("*/run.sqlite")), key=lambda folder: (folder / "run.toml").stat().st_mtime
    )


def _program(row: Any) -> Program:
    identifier, origin, operator, parents, thought, source = row
    return Program(identifier, source, origin, operator, tuple(json.loads(parents)), thought)
