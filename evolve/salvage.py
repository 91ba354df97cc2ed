"""Repair of run folders: look for damage, save what can still be read."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolve.database import locked, new_database
from evolve.errors import UserError
from evolve.store import Store

_TABLES = ("meta", "programs", "outcomes", "asks", "texts", "replies", "tells", "spends")


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
        out.mkdir(parents=True, exist_ok=True)
        # a copy is read: SQLite changes a database by opening it
        copy = out / "damaged.sqlite"
        for suffix in ("", "-wal"):
            if (folder / f"run.sqlite{suffix}").exists():
                shutil.copy(folder / f"run.sqlite{suffix}", f"{copy}{suffix}")
        if _is_whole(copy):
            shutil.rmtree(out)
            return [f"{folder}: nothing is damaged"]
        shutil.copy(folder / "run.toml", out / "run.toml")
        saved = _save(copy, out)
    if not saved["programs"]:
        shutil.rmtree(out)
        raise UserError(f"{folder}: nothing can be read from run.sqlite; restore it from a copy")
    with Store(out, writable=True) as store:
        told = len(store.tells())
        store.set_meta("status", "repaired")
    counts = ", ".join(f"{number} {table}" for table, number in saved.items() if number)
    return [f"saved {counts} into {out}", f"{told} programs are told in order; continue: evolve resume {out}"]


def _is_whole(path: Path) -> bool:
    """Whether SQLite finds no damage."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            return bool(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


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
        _cut_after_gap(new)
    for leftover in out.glob("damaged.sqlite*"):
        leftover.unlink()
    return saved


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    count = 0
    for row in _rows(old, table):
        with contextlib.suppress(sqlite3.Error):
            count += new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", row).rowcount
    return count


def _rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Rows from the front up to the damage, then from the back down to it."""
    for order in ("", "DESC"):
        try:
            keys = ",".join(row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]) or "rowid"
            ordered = ",".join(f"{key} {order}" for key in keys.split(","))
            yield from db.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {ordered}")
        except sqlite3.Error:
            continue
        return


def _cut_after_gap(db: sqlite3.Connection) -> None:
    """Forget tells from the first on whose program or outcome is lost."""
    db.execute("DELETE FROM outcomes WHERE program NOT IN (SELECT id FROM programs)")
    told = db.execute(
        "SELECT position, program IN (SELECT program FROM outcomes WHERE split = 'train') FROM tells ORDER BY position"
    ).fetchall()
    gap = next((p for k, (p, whole) in enumerate(told) if not whole or p != told[0][0] + k), None)
    if gap is not None:
        db.execute("DELETE FROM tells WHERE position >= ?", (gap,))
    if told and told[0][0] != 1:
        db.execute("DELETE FROM tells")
    # what follows is of a later state than what is told
    db.execute("DELETE FROM asks WHERE told > (SELECT count(*) FROM tells)")
    db.execute(
        "DELETE FROM programs WHERE origin <> 'baseline' AND id NOT IN (SELECT program FROM tells)"
        " AND id NOT IN (SELECT program FROM asks)"
    )
    db.execute("DELETE FROM outcomes WHERE program NOT IN (SELECT id FROM programs)")
    db.execute("DELETE FROM outcomes WHERE split <> 'train' AND program NOT IN (SELECT program FROM tells)")
    db.execute("DELETE FROM meta WHERE key IN ('champion', 'report', 'front', 'guide')")
