"""Replays: the same archive from the stored replies alone, wherever and on however many workers."""

import json
import sqlite3

import pytest
from scripted import evolve, finish, model, search
from tiny import job_shops

from evolve import run as search_offline
from evolve.store import Store


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run in order of completion: the hard case, because its order is no function of its settings."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with model(slowest_s=0.3) as server:
        code, _, err = finish(search(folder, server, "--evaluations", 12))
    assert code == 0, err
    return folder


def found(folder) -> str:
    with Store(folder) as store:
        assert store.archive_hash()
        return store.archive_hash()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_replay_without_model_key_or_old_folder_gives_the_same_hash(recorded, tmp_path, workers):
    moved = recorded.rename(tmp_path / "moved")
    try:
        code, out, err = finish(evolve("replay", moved, "--out", tmp_path / "again", "--workers", workers))
    finally:
        moved.rename(recorded)
    assert code == 0, err
    assert "replayed" in out
    assert found(tmp_path / "again") == found(recorded)


def test_a_prompt_that_differs_ends_the_replay_with_a_diff(recorded, tmp_path):
    with sqlite3.connect(recorded / "run.sqlite") as db:
        rows = db.execute("SELECT hash, text FROM texts").fetchall()
        digest, text = max(rows, key=lambda row: len(row[1]))
        db.execute("UPDATE texts SET text = ? WHERE hash = ?", (text.replace("schedul", "plann"), digest))
        db.execute("UPDATE replies SET key = 'other'")
    try:
        code, _, err = finish(evolve("replay", recorded, "--out", tmp_path / "again"))
    finally:
        with sqlite3.connect(recorded / "run.sqlite") as db:
            db.execute("UPDATE texts SET text = ? WHERE hash = ?", (text, digest))
    assert code == 2
    assert "its prompt differs from the recorded one" in err
    assert "--- recorded prompt" in err
    assert any(line.startswith("+") and "schedul" in line for line in err.splitlines())
    assert any(line.startswith("-") and "plann" in line for line in err.splitlines())


def test_a_genetic_run_replays_with_a_program_that_was_imported(call, tmp_path):
    own = job_shops(tmp_path / "own")
    folder = search_offline("shop/job_shop", evaluations=20, seed=6, **own, out=tmp_path / "run")
    (tmp_path / "mine.py").write_text("def priority(op, shop):\n    return op.duration + 0.125 * op.work_left\n")
    code, _, err = call("import", folder, tmp_path / "mine.py")
    assert code == 0, err
    code, _, err = call("replay", folder, "--out", tmp_path / "again")
    assert code == 0, err
    assert found(tmp_path / "again") == found(folder)


def test_a_cassette_repeats_a_deterministic_run_and_holds_no_key(tmp_path):
    with model() as server:
        code, _, err = finish(search(tmp_path / "run", server, "--evaluations", 8, "--deterministic"))
    assert code == 0, err
    code, out, err = finish(evolve("cassette", tmp_path / "run", "-o", tmp_path / "tape.jsonl"))
    assert code == 0, err
    text = (tmp_path / "tape.jsonl").read_text()
    assert "sk-1234567" not in text
    assert all({"key", "question", "text"} <= json.loads(line).keys() for line in text.splitlines()[1:])
    code, out, err = finish(evolve("run", "--cassette", tmp_path / "tape.jsonl", "--out", tmp_path / "again"))
    assert code == 0, err + out
    assert found(tmp_path / "again") == found(tmp_path / "run")
