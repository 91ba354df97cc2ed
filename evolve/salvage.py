"""Repair of run folders: look for damage, save what can still be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from evolve.archives.digest import link
from evolve.database import locked, new_database
from evolve.errors import UserError
from evolve.program import Candidate
from evolve.store import Store
from problems import registry

_TABLES = ("meta", "programs", "outcomes", "asks", "texts", "replies", "tells", "sends", "spends")

_JSON = {
    "meta": ("value",),
    "programs": ("parents",),
    "outcomes": ("body",),
    "asks": ("parents", "inspirations"),
    "replies": ("request", "usage"),
}


def repair(folder: Path, out: Path) -> list[str]:
    """Look for damage, and write what can be read of a damaged run into a new folder.

    The damaged folder is never changed. Programs told after a gap are left out, so that what is
    saved is a run that a resume can continue; replies that were paid for stay, and are used again.

    Returns
    -------
    What was done, one sentence each.

    Raises
    ------
    UserError
        If another process writes the run, or nothing can be read.
    """
    if not (folder / "run.toml").is_file() or not (folder / "run.sqlite").is_file():
        raise UserError(f"{folder}: not a run folder (it has no run.toml with run.sqlite)")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: not empty; name another --out")
    with locked(folder):
        # a copy is read: SQLite changes a database by opening it
        copy = out / "damaged"
        copy.mkdir(parents=True)
        for name in ("run.toml", "run.sqlite", "run.sqlite-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy / name)
        _restore_size(copy / "run.sqlite")
        if _is_whole(copy):
            shutil.rmtree(out)
            return [f"{folder}: nothing is damaged"]
        shutil.copy(folder / "run.toml", out / "run.toml")
        saved = _save(copy / "run.sqlite", out)
        shutil.rmtree(copy)
    if not saved["programs"]:
        shutil.rmtree(out)
        raise UserError(f"{folder}: nothing can be read from run.sqlite; restore it from a copy")
    doubt = _first_doubt(out)
    if doubt is not None:
        with contextlib.closing(sqlite3.connect(out / "run.sqlite")) as db, db:
            _cut_from(db, doubt)
    with Store(out, writable=True) as store:
        told = len(store.tells())
        store.set_meta("status", "repaired")
    counts = ", ".join(f"{number} {table}" for table, number in saved.items() if number)
    return [f"saved {counts} into {out}", f"{told} programs are told in order; continue: evolve resume {out}"]


def _restore_size(path: Path) -> None:
    """Fill a file that was cut short up with zeros: SQLite reads nothing of one with fewer pages than it says.

    Page size and number of pages are in the header [1]_.

    References
    ----------
    .. [1] SQLite, "Database File Format", section 1.3.
    """
    with path.open("r+b") as file:
        header = file.read(100)
        if not header.startswith(b"SQLite format 3\0") or len(header) < 100:
            return
        page = int.from_bytes(header[16:18], "big")
        size = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
        if file.seek(0, os.SEEK_END) < size:
            file.truncate(size)


def _is_whole(folder: Path) -> bool:
    """Whether SQLite finds a run and no damage, and the chain of hashes finds what was told."""
    try:
        with contextlib.closing(sqlite3.connect(folder / "run.sqlite")) as db:
            sound = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            sound = sound and db.execute("PRAGMA user_version").fetchone()[0] > 0
    except sqlite3.Error:
        return False
    return sound and _first_doubt(folder) is None


def _save(damaged: Path, out: Path) -> dict[str, int]:
    """Copy row by row what can be read; returns the number of rows by table."""
    new_database(out)
    saved = {}
    with (
        contextlib.closing(sqlite3.connect(damaged)) as old,
        contextlib.closing(sqlite3.connect(out / "run.sqlite")) as new,
        new,
    ):
        for table in _TABLES:
            saved[table] = _copy(old, new, table)
        _drop_broken(new)
        _cut_after_gap(new)
    return saved


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    count = 0
    # by name: a run of an older schema lacks the columns that came later, which have defaults
    names = ",".join(row[1] for row in _table(old, table))
    for row in _rows(old, table):
        with contextlib.suppress(sqlite3.Error):
            places = ",".join("?" * len(row))
            count += new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})", row).rowcount
    return count


def _table(db: sqlite3.Connection, table: str) -> list[Any]:
    """What SQLite says of a table's columns; nothing where even that is lost."""
    try:
        return db.execute(f"PRAGMA table_info({table})").fetchall()
    except sqlite3.Error:
        return []


def _rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows from the front up to the damage, then from the back down to it."""
    for order in ("", "DESC"):
        try:
            keys = ",".join(row[1] for row in _table(db, table) if row[5]) or "rowid"
            ordered = ",".join(f"{key} {order}" for key in keys.split(","))
            yield from db.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {ordered}")
        except sqlite3.Error:
            continue
        return


def _drop_broken(db: sqlite3.Connection) -> None:
    """Forget rows whose text was damaged: values that are no JSON, and zeros where pages are lost."""
    for table, columns in _JSON.items():
        for column in columns:
            db.execute(f"DELETE FROM {table} WHERE NOT json_valid({column})")
    for table, column in (("programs", "source"), ("programs", "thought"), ("replies", "reply")):
        db.execute(f"DELETE FROM {table} WHERE instr({column}, char(0)) > 0")
    # a text is kept under its own hash, and a reply without its question is none
    for digest, text in db.execute("SELECT hash, text FROM texts").fetchall():
        if sha256(text.encode()).hexdigest() != digest:
            db.execute("DELETE FROM texts WHERE hash = ?", (digest,))
            db.execute("DELETE FROM replies WHERE instr(request, ?) > 0", (digest,))


def _cut_after_gap(db: sqlite3.Connection) -> None:
    """Forget tells from the first on whose program or outcome is lost."""
    db.execute("DELETE FROM outcomes WHERE program NOT IN (SELECT id FROM programs)")
    told = db.execute(
        "SELECT position, program IN (SELECT program FROM outcomes WHERE split = 'train') FROM tells ORDER BY position"
    ).fetchall()
    gap = next((p for k, (p, whole) in enumerate(told, 1) if not whole or p != k), None)
    _cut_from(db, len(told) + 1 if gap is None else gap)


def _cut_from(db: sqlite3.Connection, position: int) -> None:
    """Forget tells from a position on, and what was set out to do after them."""
    db.execute("DELETE FROM tells WHERE position >= ?", (position,))
    # what follows is of a later state than what is told
    db.execute("DELETE FROM asks WHERE told > (SELECT count(*) FROM tells)")
    # nothing vouches for a program that is not told; it is made again, from its stored reply where a model wrote it
    told = "(SELECT program FROM tells)"
    db.execute(f"DELETE FROM programs WHERE origin NOT IN ('baseline', 'import') AND id NOT IN {told}")
    db.execute("DELETE FROM outcomes WHERE program NOT IN (SELECT id FROM programs)")
    db.execute("DELETE FROM outcomes WHERE split <> 'train' AND program NOT IN (SELECT program FROM tells)")
    db.execute("DELETE FROM meta WHERE key IN ('champion', 'report', 'front', 'guide')")


def _first_doubt(folder: Path) -> int | None:
    """Position of the first tell whose program or outcome is not what its link in the chain was made of."""
    with Store(folder) as store:
        objectives = registry.load(store.config.problem).objectives
        programs, outcomes = {program.id: program for program in store.programs()}, store.outcomes("train")
        chain = ""
        for position, (number, recorded) in enumerate(zip(store.tells(), store.chain(), strict=True), 1):
            if number not in programs or number not in outcomes:
                return position
            chain = link(chain, Candidate(programs[number], outcomes[number]), objectives)
            if recorded not in ("", chain):
                return position
    return None
