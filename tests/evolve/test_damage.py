"""Full disks, damaged files and two processes on one run: one clear line, nothing lost."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys

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
            "DROP TABLE asks; DROP TABLE replies; DROP TABLE texts; DROP INDEX outcomes_by_kind;"
            "ALTER TABLE tells DROP COLUMN chain; PRAGMA user_version = 1;"
        )
    with Store(tmp_path / "run") as store, Store(whole) as before:
        assert store.tells() == before.tells()
        assert store.archive_hash() == ""
        assert store.asks() == {}
