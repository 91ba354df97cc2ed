"""A run's SQLite file: schema and migrations, the lock of its one writer, transactions.

What the rows mean is in ``store.py``. Every error of SQLite becomes one line that names the file
and the way out.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from evolve.errors import UserError

NAME = "run.sqlite"
SCHEMA_VERSION = 4
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
# What each version added to the one before; a new run is made of version 1 and all of them.
_MIGRATIONS = {
    2: """
ALTER TABLE tells ADD COLUMN chain TEXT NOT NULL DEFAULT '';
CREATE TABLE asks (
    program INTEGER PRIMARY KEY, operator TEXT NOT NULL, parents TEXT NOT NULL, inspirations TEXT NOT NULL,
    told INTEGER NOT NULL);
CREATE TABLE texts (hash TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE replies (
    program INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL,
    reply TEXT NOT NULL, finish TEXT NOT NULL, error TEXT NOT NULL, usage TEXT NOT NULL);
CREATE INDEX replies_by_key ON replies (key);
CREATE INDEX outcomes_by_kind ON outcomes (split, kind);
""",
    3: """
CREATE TABLE sends (
    program INTEGER PRIMARY KEY, model TEXT NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, usd REAL NOT NULL);
ALTER TABLE asks ADD COLUMN model TEXT NOT NULL DEFAULT '';
""",
    4: """
ALTER TABLE programs ADD COLUMN model TEXT NOT NULL DEFAULT '';
UPDATE programs SET model = coalesce((SELECT model FROM replies WHERE replies.program = programs.id), '');
""",
}


class Database:
    """The open database of a run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    writable : bool
        Whether to take the run's lock; a second writer is refused, readers never wait.

    Raises
    ------
    UserError
        If it is damaged, cannot be written, or another process writes it.
    """

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        self._lock = _lock(folder) if writable else None
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        try:
            self._db = _connect(folder, "rw" if writable else "ro")
            version = self._version()
            if writable:
                self._db.execute("PRAGMA synchronous=FULL")
            if 0 < version < SCHEMA_VERSION:
                self._migrate(version)
                version = SCHEMA_VERSION
        except sqlite3.Error as error:
            self._release()
            raise self._unreadable(error) from None
        if version != SCHEMA_VERSION:
            self._release()
            reads = f"schema {version}, this version of evolve reads {SCHEMA_VERSION}"
            raise UserError(f"{folder / NAME}: {reads if version else 'no run is in it; restore it from a copy'}")

    def _version(self) -> int:
        """The schema; SQLite reads a file in this mode only next to files that it may write."""
        try:
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.OperationalError:
            if self._lock is not None or _may_write(self.folder):
                raise
            self._read_a_copy()
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _read_a_copy(self) -> None:
        """Go on with a copy of a run that is not to be written."""
        self._db.close()
        self._copy = tempfile.TemporaryDirectory(prefix="evolve-")
        for path in (self.folder / NAME, self.folder / f"{NAME}-wal"):
            if path.exists():
                shutil.copyfile(path, Path(self._copy.name) / path.name)
        self._db = _connect(Path(self._copy.name), "rw")

    def _migrate(self, version: int) -> None:
        """Bring a run of an older version up to date; a reader does so through a writer."""
        if self._lock is None and self._copy is None:
            if _may_write(self.folder):
                Database(self.folder, writable=True).close()
                return
            self._read_a_copy()
        for step in range(version + 1, SCHEMA_VERSION + 1):
            self._db.executescript(f"BEGIN; {_MIGRATIONS[step]} PRAGMA user_version={step}; COMMIT;")

    def close(self) -> None:
        """Release the lock and the database."""
        self._db.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
        if self._copy is not None:
            self._copy.cleanup()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._db.in_transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes true together, or not at all.

        Raises
        ------
        UserError
            If it cannot be written, e.g. to a full disk; what was written before stands.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:  # commits, or rolls back if anything is raised
                yield
        except sqlite3.Error as error:
            raise UserError(
                f"{self.folder / NAME}: cannot be written: {error}; everything up to here is kept: "
                f"make room on the disk, then evolve resume {self.folder}"
            ) from None

    def write(self, sql: str, values: tuple[Any, ...]) -> None:
        """Execute a statement that changes rows; errors are those of the transaction around it."""
        self._db.execute(sql, values)

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"{self.folder / NAME}: cannot be read: {error}; save what can be read: evolve repair {self.folder}"
        )


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=True)


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str((folder / NAME).absolute()))}?mode={mode}", uri=True, isolation_level=None)


def new_database(folder: Path) -> None:
    """Make the empty database of a run.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    try:
        db = sqlite3.connect(folder / NAME, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(_SCHEMA + "".join(_MIGRATIONS.values()) + f"PRAGMA user_version={SCHEMA_VERSION};")
        db.close()
    except sqlite3.Error as error:
        raise OSError(str(error)) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's lock, without opening its database."""
    handle = _lock(folder)
    try:
        yield
    finally:
        handle.close()


def _lock(folder: Path) -> IO[str]:
    try:
        # not "w": that would wipe out who holds it
        handle = (folder / "lock").open("a+")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        # held by the process, so that a kill of any kind releases it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip()
        handle.close()
        who = f"another process (pid {holder})" if holder else "another process"
        raise UserError(f"{folder}: {who} is writing this run; wait for it or stop it") from None
    try:
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
    except OSError as error:
        handle.close()
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}; make room on the disk") from None
    return handle
