"""Reading run folders: what the tables of a run's journal say, as values.

The tables are described in ``store.py``, which adds the writing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from evaluators.outcome import Outcome
from evolve.archives.digest import archive_hash
from evolve.cassette import Question, Recording
from evolve.codec import load_outcome
from evolve.config import RunConfig
from evolve.database import Database
from evolve.errors import UserError
from evolve.program import Program

SPEND = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usd", "seconds")


class Ask(NamedTuple):
    """What an attempt set out to do."""

    program: int
    operator: str
    parents: tuple[int, ...]
    inspirations: tuple[int, ...]
    told: int  # how many programs the strategy had heard of
    model: str = ""  # that it named, if it did


class Reader:
    """An open run folder, to be read; a store adds the writing.

    Parameters and errors are those of ``Store``.
    """

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        if not (folder / "run.toml").is_file() or not (folder / "run.sqlite").is_file():
            raise UserError(f"{folder}: not a run folder (it has no run.toml with run.sqlite); list runs: evolve runs")
        self.config = RunConfig.of_run(folder)
        self._db = Database(folder, writable=writable)

    def close(self) -> None:
        """Release the lock and the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def next_number(self) -> int:
        """The id that the next program is to have: no attempt had it, nor is one under way with it."""
        sql = "SELECT max(n) FROM (SELECT max(id) AS n FROM programs UNION ALL SELECT max(program) FROM asks)"
        last = self._db.rows(sql)[0][0]
        return 0 if last is None else int(last) + 1

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
            program: Ask(program, operator, tuple(json.loads(parents)), tuple(json.loads(inspirations)), *rest)
            for program, operator, parents, inspirations, *rest in rows
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

    def in_flight(self) -> dict[str, float]:
        """Calls under way, or under way when the run was killed, and what they may cost at most."""
        names = ("calls", "input_tokens", "output_tokens", "usd")
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in names[1:])
        row = self._db.rows(f"SELECT count(*), {sums} FROM sends")[0]
        return dict(zip(names, row, strict=True))

    def spend(self, by: Literal["model", "operator"] = "model") -> dict[str, dict[str, float]]:
        """Tokens, dollars, seconds and calls by model or by operator."""
        sums = ", ".join(f"sum(spends.{key})" for key in SPEND)
        # a call that was lost may have no program, but what it was for was written down
        name = "spends.model" if by == "model" else "coalesce(programs.operator, asks.operator, '')"
        rows = self._db.rows(
            f"SELECT {name}, count(*), {sums} FROM spends LEFT JOIN programs ON programs.id = spends.program"
            " LEFT JOIN asks ON asks.program = spends.program GROUP BY 1"
        )
        return {name: dict(zip(("calls", *SPEND), numbers, strict=True)) for name, *numbers in rows}


def _program(row: Any) -> Program:
    identifier, origin, operator, parents, thought, source, model = row
    return Program(identifier, source, origin, operator, tuple(json.loads(parents)), thought, model)
