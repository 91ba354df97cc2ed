"""Replays: the same archive from the stored replies alone, wherever and on however many workers."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from loopback import Loopback, say_by, status
from scripted import evolve, finish, improve, model, search
from tiny import job_shops

from evolve import run as search_offline
from evolve.store import Store

BLOCK = """
import os, socket

def refuse(*arguments, **options):
    open(os.environ["BLOCKED"], "a").write(repr(arguments))
    raise OSError("the network is blocked")

class Blocked(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == socket.AF_UNIX else refuse(address)

    connect_ex = connect

socket.socket, socket.getaddrinfo = Blocked, refuse
"""


def two_models(server_gives_up_after: int) -> Loopback:
    """One model answers always, the other a few times: then its key, name or quota is refused for good."""
    count = itertools.count()

    def answer(handler) -> None:
        if handler.asked.body["model"] == "leaving" and next(count) >= server_gives_up_after:
            status(404, "this model was withdrawn")(handler)
        else:
            say_by(improve, delay_s=lambda request: os.urandom(1)[0] / 255 * 0.3)(handler)

    return Loopback(answer)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run in order of completion that loses one of its models: its order is no function of its settings."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with two_models(2) as server:
        code, _, err = finish(search(folder, server, "--evaluations", 14, "--model", "leaving"))
    assert code == 0, err
    with Store(folder) as store:
        drawn = [recording.question.model for recording in store.replies()]
        assert any("withdrawn" in recording.error for recording in store.replies())
    assert drawn[-1] == "openai/scripted"
    return folder


@pytest.fixture
def offline(tmp_path):
    """Environment of a process that cannot open a connection, and the file that tells if it tried."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(tmp_path / "block"), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "BLOCKED": str(tmp_path / "tried")}


def found(folder) -> str:
    with Store(folder) as store:
        assert store.archive_hash()
        return store.archive_hash()


def test_the_block_blocks(offline):
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, **offline}, capture_output=True, text=True)
    assert "the network is blocked" in ended.stderr
    assert os.path.exists(offline["BLOCKED"])


@pytest.mark.parametrize("workers", [1, 4])
def test_a_replay_without_network_key_or_old_folder_gives_the_same_hash(recorded, tmp_path, offline, workers):
    moved = recorded.rename(tmp_path / "moved")
    try:
        code, out, err = finish(evolve("replay", moved, "--out", tmp_path / "again", "--workers", workers, **offline))
    finally:
        moved.rename(recorded)
    assert code == 0, err
    assert "replayed" in out
    assert not os.path.exists(offline["BLOCKED"])
    with Store(tmp_path / "again") as again, Store(recorded) as before:
        assert again.chain() == before.chain()
        assert [r.question.model for r in again.replies()] == [r.question.model for r in before.replies()]
    assert found(tmp_path / "again") == found(recorded)


def test_the_front_verifies_without_network(recorded, offline):
    code, out, err = finish(evolve("verify", recorded, **offline))
    assert code == 0, err
    assert "agrees" in out
    assert "DIFFERS" not in out
    assert not os.path.exists(offline["BLOCKED"])


def test_the_cassette_of_a_run_in_order_of_completion_names_the_way_to_repeat_it(recorded, tmp_path, call):
    code, out, _ = call("cassette", recorded, "-o", tmp_path / "tape.jsonl")
    assert code == 0
    assert "evolve replay" in out
    code, _, err = call("run", "--cassette", tmp_path / "tape.jsonl", "--out", tmp_path / "again")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "in the order in which replies came" in err
    assert not (tmp_path / "again").exists()


def test_a_run_of_the_first_schema_is_not_replayed(recorded, tmp_path, call):
    shutil.copytree(recorded, tmp_path / "old")
    with sqlite3.connect(tmp_path / "old" / "run.sqlite") as db:
        db.execute("DELETE FROM asks")
    code, _, err = call("replay", tmp_path / "old", "--out", tmp_path / "again")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "made by an older version" in err
    assert not (tmp_path / "again").exists()


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


# one ends when its evaluations are done, the other when no call can be afforded
@pytest.mark.parametrize("caps", [("--evaluations", 8), ("--evaluations", 60, "--max-calls", 9)])
def test_a_cassette_repeats_a_deterministic_run_and_holds_no_key(tmp_path, caps):
    with model() as server:
        code, _, err = finish(search(tmp_path / "run", server, *caps, "--deterministic"))
    assert code == 0, err
    code, out, err = finish(evolve("cassette", tmp_path / "run", "-o", tmp_path / "tape.jsonl"))
    assert code == 0, err
    text = (tmp_path / "tape.jsonl").read_text()
    assert "sk-1234567" not in text
    assert all({"key", "question", "text"} <= json.loads(line).keys() for line in text.splitlines()[1:])
    code, out, err = finish(evolve("run", "--cassette", tmp_path / "tape.jsonl", "--out", tmp_path / "again"))
    assert code == 0, err + out
    assert found(tmp_path / "again") == found(tmp_path / "run")
