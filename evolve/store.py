"""The run store: the only reader and writer of run folders.

One folder per run: ``run.toml`` (resolved settings, versions) and ``run.sqlite``. Every fact is
written in the transaction that makes it true, so that a killed run loses only what was in flight.

Tables
------
meta        key, value (JSON): status, report, champion
programs    one row per attempt, baselines first; source is empty where no program came out
outcomes    one row per program and split
tells       the order in which the strategy heard of programs on train
spends      what an attempt cost: tokens (cached and reasoning ones among them), dollars,
            seconds of LLM time, with the raw reply
"""

from __future__ import annotations

import fcntl
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from evaluators.outcome import FAILURES, Failure, Ok, Outcome
from evolve.config import RunConfig
from evolve.errors import UserError
from evolve.program import Program

_SPEND = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usd", "seconds")
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE programs (
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL, operator TEXT NOT NULL, parents TEXT NOT NULL,
    thought TEXT NOT NULL, source TEXT NOT NULL);
CREATE TABLE outcomes (
    program INTEGER NOT NULL REFERENCES programs, split TEXT NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (program, split)) WITHOUT ROWID;
CREATE TABLE tells (position INTEGER PRIMARY KEY, program INTEGER NOT NULL UNIQUE REFERENCES programs);
CREATE TABLE spends (
    program INTEGER NOT NULL, model TEXT NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    usd REAL NOT NULL, seconds REAL NOT NULL, reply TEXT NOT NULL);
"""


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
        self.config = RunConfig.load(folder / "run.toml", out=folder)
        self._lock = _lock(folder) if writable else None
        mode = "rw" if writable else "ro"
        try:
            self._db = sqlite3.connect(
                f"file:{(folder / 'run.sqlite').absolute()}?mode={mode}", uri=True, isolation_level=None
            )
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if writable:
                self._db.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error as error:
            self._release()
            raise UserError(f"{folder / 'run.sqlite'}: cannot be read: {error}; restore it from a copy") from None
        if version != _SCHEMA_VERSION:
            self._release()
            raise UserError(
                f"{folder / 'run.sqlite'}: schema {version}, this version of evolve reads {_SCHEMA_VERSION}"
            )

    @classmethod
    def create(cls, config: RunConfig, versions: dict[str, str]) -> Store:
        """Make a new run folder; an existing non-empty folder is refused, never overwritten."""
        folder = config.out
        assert folder is not None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UserError(f"{folder}: not empty; name another --out, or continue it: evolve resume {folder}")
            db = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA + f"PRAGMA user_version={_SCHEMA_VERSION};")
            db.close()
            config.save(folder / "run.toml", versions)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}; name another --out") from None
        except sqlite3.Error as error:
            raise UserError(f"{folder}: cannot be written: {error}; name another --out") from None
        return cls(folder, writable=True)

    def close(self) -> None:
        """Release the lock and the database."""
        self._db.close()
        self._release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes true together, or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:  # commits, or rolls back if anything is raised
            yield

    # writing

    def add_program(self, program: Program) -> None:
        """Record an attempt, before it is evaluated."""
        self._db.execute(
            "INSERT INTO programs VALUES (?, ?, ?, ?, ?, ?)",
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
        self._db.execute(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)",
            (program, split, outcome.kind, _dump_outcome(outcome)),
        )

    def add_tell(self, program: int) -> None:
        """Record that the strategy heard of a program's outcome on train."""
        self._db.execute("INSERT INTO tells (program) VALUES (?)", (program,))

    def add_spend(self, program: int, spend: Mapping[str, Any]) -> None:
        """Record what one LLM call of an attempt cost, with its raw reply."""
        numbers = [spend.get(key) or 0 for key in _SPEND]
        self._db.execute(
            "INSERT INTO spends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (program, spend.get("model", ""), *numbers, spend.get("reply", "")),
        )

    def set_meta(self, key: str, value: Any) -> None:
        """Record one JSON value under a key."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, dumps(value)))

    # reading

    def meta(self, key: str, default: Any = None) -> Any:
        """The JSON value of a key."""
        row = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(row[0][0]) if row else default

    def programs(self) -> list[Program]:
        """All attempts by id."""
        return [_program(row) for row in self._rows("SELECT * FROM programs ORDER BY id")]

    def program(self, identifier: int) -> Program:
        """One attempt.

        Raises
        ------
        UserError
            If the run has no program of that id.
        """
        rows = self._rows("SELECT * FROM programs WHERE id = ?", (identifier,))
        if not rows:
            last = self._rows("SELECT max(id) FROM programs")[0][0]
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
        rows = self._rows("SELECT program, kind, body FROM outcomes WHERE split = ? ORDER BY program", (split,))
        return {program: _load_outcome(kind, body) for program, kind, body in rows}

    def outcomes_of(self, program: int) -> dict[str, Outcome]:
        """Outcomes of one program by split."""
        rows = self._rows("SELECT split, kind, body FROM outcomes WHERE program = ?", (program,))
        return {split: _load_outcome(kind, body) for split, kind, body in rows}

    def tells(self) -> list[int]:
        """Program ids in the order the strategy heard of them."""
        return [row[0] for row in self._rows("SELECT program FROM tells ORDER BY position")]

    def counts(self) -> dict[str, int]:
        """Number of train outcomes by kind."""
        return dict(self._rows("SELECT kind, count(*) FROM outcomes WHERE split = 'train' GROUP BY kind ORDER BY kind"))

    def spend(self, by: Literal["model", "operator"] = "model") -> dict[str, dict[str, float]]:
        """Tokens, dollars, seconds and calls by model or by operator."""
        sums = ", ".join(f"sum({key})" for key in _SPEND)
        rows = self._rows(
            f"SELECT {by}, count(*), {sums} FROM spends LEFT JOIN programs ON programs.id = program GROUP BY {by}"
        )
        return {name: dict(zip(("calls", *_SPEND), numbers, strict=True)) for name, *numbers in rows}

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise UserError(f"{self.folder / 'run.sqlite'}: cannot be read: {error}; restore it from a copy") from None


def dumps(value: Any) -> str:
    """JSON text, with null for NaN and infinities (JSON has none)."""
    return json.dumps(_finite(value), separators=(",", ":"))


def run_folders(root: Path) -> list[Path]:
    """Run folders directly under root, oldest first."""
    return sorted(
        (path.parent for path in root.glob("*/run.sqlite")), key=lambda folder: (folder / "run.toml").stat().st_mtime
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _lock(folder: Path) -> IO[str]:
    try:
        handle = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        # held by the process, so that a kill of any kind releases it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise UserError(f"{folder}: another process is writing this run; wait for it or stop it") from None
    return handle


def _program(row: Any) -> Program:
    identifier, origin, operator, parents, thought, source = row
    return Program(identifier, source, origin, operator, tuple(json.loads(parents)), thought)


def _dump_outcome(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return dumps({"stage": outcome.stage, "reason": outcome.reason})
    return dumps(
        {
            "objectives": dict(outcome.objectives),
            "groups": {group: dict(values) for group, values in outcome.groups.items()},
            "values": dict(outcome.values),
            "raw": dict(outcome.raw),
            "fingerprint": outcome.fingerprint,
            "cost": dict(outcome.cost),
        }
    )


def _load_outcome(kind: str, body: str) -> Outcome:
    fields = json.loads(body)
    if kind != Ok.kind:
        return FAILURES[kind](**fields)
    nan = float("nan")
    for name in ("values", "raw"):
        fields[name] = {key: [nan if v is None else v for v in row] for key, row in fields[name].items()}
    fields["objectives"] = {key: nan if v is None else v for key, v in fields["objectives"].items()}
    fields["groups"] = {
        group: {key: nan if v is None else v for key, v in row.items()} for group, row in fields["groups"].items()
    }
    return Ok(**fields)
