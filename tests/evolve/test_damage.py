"""Full disks, damaged files and two processes on one run: one clear line, nothing lost."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny import job_shops

import evolve
from evolve import salvage, session
from evolve.errors import UserError
from evolve.store import Store


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return job_shops(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, own):
    return evolve.run("shop/job_shop", evaluations=40, seed=4, **own, out=tmp_path_factory.mktemp("whole") / "run")


def found(folder) -> str:
    with Store(folder) as store:
        assert store.archive_hash()
        return store.archive_hash()


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    code = "from evolve.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def test_a_full_disk_is_one_line_and_what_is_written_resumes_to_the_same_end(tmp_path, own, whole):
    paths = [text for name, path in own.items() for text in (f"--{name}", path)]
    # no file may grow beyond this: like a full disk, in the middle of the search
    limit = 400_000
    run = ["run", "shop/job_shop", "--evaluations", 40, "--seed", 4, "--out", tmp_path / "run", *paths]
    ended = command(*run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "cannot be written" in ended.stderr
    assert "evolve resume" in ended.stderr
    with Store(tmp_path / "run") as store:
        assert store.tells()
    session.resume(tmp_path / "run")
    assert found(tmp_path / "run") == found(whole)


def test_a_second_resume_names_the_process_that_holds_the_run(whole):
    with Store(whole, writable=True) as store:
        store.set_meta("status", "interrupted")
        ended = command("resume", whole)
        store.set_meta("status", "finished")
    assert ended.returncode == 2
    assert f"pid {os.getpid()}" in ended.stderr


def test_a_damaged_page_loses_no_more_than_what_followed_it(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        page = db.execute("PRAGMA page_size").fetchone()[0]
    with Store(whole) as store:
        last = store.program(store.tells()[-1]).source.encode()
    data = (whole / "run.sqlite").read_bytes()
    victim = data.rindex(last) // page  # of the table of programs, near its end
    (tmp_path / "run" / "run.sqlite").write_bytes(data[: victim * page] + b"\xff" * page + data[(victim + 1) * page :])
    done = salvage.repair(tmp_path / "run", tmp_path / "saved")
    assert "continue: evolve resume" in done[-1]
    with Store(tmp_path / "saved") as saved, Store(whole) as before:
        told = saved.tells()
        assert told
        assert saved.chain() == before.chain()[: len(told)]
    session.resume(tmp_path / "saved")
    assert found(tmp_path / "saved") == found(whole)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_that_was_cut_short_is_repaired_and_resumes_to_the_same_end(tmp_path, whole, call, share):
    data = (whole / "run.sqlite").read_bytes()
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "run.sqlite").write_bytes(data[: int(len(data) * share)])
    for command in ("show", "resume", "front", "verify", "replay"):
        code, _, err = call(command, tmp_path / "run")
        assert code == 2, command
        assert len(err.strip().splitlines()) == 1
        assert f"evolve repair {tmp_path / 'run'}" in err
    code, out, err = call("repair", tmp_path / "run", "--out", tmp_path / "saved")
    assert code == 0, err
    assert "evolve resume" in out
    session.resume(tmp_path / "saved")
    assert found(tmp_path / "saved") == found(whole)


def test_a_program_that_is_not_the_one_that_was_told_is_not_saved(tmp_path, whole):
    """Damage inside a text leaves a sound database: only the chain of hashes tells."""
    shutil.copytree(whole, tmp_path / "run")
    with Store(whole) as store:
        told = store.tells()
        victim = store.program(told[40]).source
    data = (whole / "run.sqlite").read_bytes()
    assert data.count(victim.encode()) == 1
    (tmp_path / "run" / "run.sqlite").write_bytes(
        data.replace(victim.encode(), victim.replace("op.", "oq.", 1).encode())
    )
    done = salvage.repair(tmp_path / "run", tmp_path / "saved")
    assert "40 programs are told in order" in done[-1]
    session.resume(tmp_path / "saved")
    assert found(tmp_path / "saved") == found(whole)


def test_an_empty_file_is_no_run(tmp_path, whole, call):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "run.sqlite").write_bytes(b"")
    assert "no run is in it" in call("show", tmp_path / "run")[2]
    code, _, err = call("repair", tmp_path / "run", "--out", tmp_path / "saved")
    assert code == 2
    assert "restore it from a copy" in err


def test_a_damaged_run_does_not_hide_the_others(tmp_path, whole, call):
    for name in ("whole", "damaged"):
        shutil.copytree(whole, tmp_path / name)
    (tmp_path / "damaged" / "run.sqlite").write_bytes(b"not a database" * 100)
    code, out, _ = call("runs", tmp_path, "--json")
    rows = {os.path.basename(row["run"]): row for row in json.loads(out)}
    assert code == 0
    assert rows["whole"]["status"] == "finished"
    assert rows["damaged"]["status"].startswith("unreadable: ")


def unfinished(whole, folder, told: int) -> None:
    """A copy of a run as a kill leaves it: its last transactions are in the write-ahead log only."""
    shutil.copytree(whole, folder)
    db = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    later = db.execute("SELECT * FROM tells WHERE position > ? ORDER BY position", (told,)).fetchall()
    outcomes = {row[1]: db.execute("SELECT * FROM outcomes WHERE program = ?", (row[1],)).fetchall() for row in later}
    db.execute("DELETE FROM outcomes WHERE program IN (SELECT program FROM tells WHERE position > ?)", (told,))
    db.execute("DELETE FROM tells WHERE position > ?", (told,))
    db.execute("UPDATE meta SET value = '\"running\"' WHERE key = 'status'")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for tell in later:
        db.execute("BEGIN")
        db.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?)", outcomes[tell[1]])
        db.execute("INSERT INTO tells VALUES (?, ?, ?)", tell)
        db.execute("COMMIT")
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"run.sqlite{suffix}", folder / f"kept{suffix}")
    db.close()
    for suffix in ("", "-wal"):
        os.replace(folder / f"kept{suffix}", folder / f"run.sqlite{suffix}")


@pytest.mark.parametrize("at", [0.0, 0.5])
def test_a_corrupt_log_loses_no_more_than_what_followed_the_damage(tmp_path, whole, at):
    folder = tmp_path / "run"
    unfinished(whole, folder, 30)
    log = bytearray((folder / "run.sqlite-wal").read_bytes())
    start = 64 + int(at * len(log))
    log[start : start + 64] = b"\xff" * 64
    (folder / "run.sqlite-wal").write_bytes(log)
    with Store(folder) as store, Store(whole) as before:
        told = store.tells()
        assert 30 <= len(told) < len(before.tells())
        assert store.chain() == before.chain()[: len(told)]
    session.resume(folder)
    assert found(folder) == found(whole)


@pytest.fixture(params=[False, True], ids=["ended", "killed"])
def read_only(whole, request):
    """A copy of a run that this process may read and not write."""
    parent = Path(tempfile.mkdtemp())
    folder = parent / "run"
    if request.param:
        unfinished(whole, folder, 30)
    else:
        shutil.copytree(whole, folder)
    for path, mode in ((parent, 0o755), *((path, 0o444) for path in folder.iterdir()), (folder, 0o555)):
        path.chmod(mode)
    if os.getuid() == 0:
        os.seteuid(65534)  # permissions do not bind root
    yield folder
    os.seteuid(os.getuid())
    folder.chmod(0o755)
    shutil.rmtree(parent)


def test_a_run_that_may_only_be_read_is_shown_and_not_written(whole, read_only, call):
    before = {path.name: path.read_bytes() for path in read_only.iterdir()}
    with Store(read_only) as store:
        assert len(store.tells()) > 40
    assert call("lineage", read_only, "12")[0] == 0
    for command in (["import", read_only, __file__], ["repair", read_only]):
        code, _, err = call(*command)
        assert code == 2
        assert "cannot be written: Permission denied" in err
    with pytest.raises(UserError, match=r"run: cannot be written: Permission denied"):
        Store(read_only, writable=True)
    assert {path.name: path.read_bytes() for path in read_only.iterdir()} == before


def test_a_run_cannot_be_made_where_a_file_is(tmp_path, call):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        code, _, err = call("run", "shop/job_shop", "--out", out)
        assert code == 2
        assert "cannot be written" in err
        assert "name another --out" in err


def test_an_undamaged_run_is_left_alone(tmp_path, whole):
    before = (whole / "run.sqlite").read_bytes()
    assert "nothing is damaged" in salvage.repair(whole, tmp_path / "saved")[0]
    assert (whole / "run.sqlite").read_bytes() == before
    assert not (tmp_path / "saved").exists()


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "run.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="nothing can be read"):
        salvage.repair(tmp_path / "run", tmp_path / "saved")


def test_the_front_of_a_run_evaluates_again_to_the_last_digit(call, whole):
    code, out, err = call("verify", whole)
    assert code == 0, err
    assert "gap recorded" in out
    assert "DIFFERS" not in out


def test_a_front_that_was_tampered_with_differs(call, tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    with Store(tmp_path / "run") as store:
        champion = store.meta("champion")
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        db.execute(
            "UPDATE outcomes SET body = json_set(body, '$.objectives.gap', 1.25) WHERE program = ? AND split = 'train'",
            (champion,),
        )
    code, out, err = call("verify", tmp_path / "run")
    assert code == 2
    assert "recorded 1.25" in out
    assert "differ from the record" in err


def test_a_run_of_the_first_schema_is_brought_up_to_date(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        db.executescript(
            "DROP TABLE sends; DROP TABLE asks; DROP TABLE replies; DROP TABLE texts; DROP INDEX outcomes_by_kind;"
            "ALTER TABLE tells DROP COLUMN chain; ALTER TABLE programs DROP COLUMN model; PRAGMA user_version = 1;"
        )
    with Store(tmp_path / "run") as store, Store(whole) as before:
        assert store.tells() == before.tells()
        assert store.archive_hash() == ""
        assert store.asks() == {}


def of_the_third_schema(folder):
    """Bring a copy of a run back to what it was before programs named their model."""
    with sqlite3.connect(folder / "run.sqlite") as db:
        programs = [row[0] for row in db.execute("SELECT id FROM programs WHERE origin != 'baseline'")]
        asked = [(n, "", "openai/old", "{}", "", "", "", "{}") for n in programs[:3]]
        db.executemany("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", asked)
        db.executescript("ALTER TABLE programs DROP COLUMN model; PRAGMA user_version = 3;")
    return programs


def test_a_run_of_the_third_schema_learns_the_models_of_its_programs_from_their_replies(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    programs = of_the_third_schema(tmp_path / "run")
    with Store(tmp_path / "run") as store:
        models = {p.id: p.model for p in store.programs()}
    assert {n: m for n, m in models.items() if m} == dict.fromkeys(programs[:3], "openai/old")


def test_a_damaged_run_of_the_third_schema_is_saved_as_well(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    of_the_third_schema(tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        db.execute("UPDATE programs SET source = 'x' WHERE id = (SELECT program FROM tells WHERE position = 20)")
    salvage.repair(tmp_path / "run", tmp_path / "saved")
    with Store(tmp_path / "saved") as saved, Store(whole) as before:
        assert saved.tells()
        assert saved.tells() == before.tells()[: len(saved.tells())]
