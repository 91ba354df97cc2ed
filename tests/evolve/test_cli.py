"""The commands as a user types them: what they print, what they refuse, and with which exit code."""

import json
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from evolve import reader
from evolve.codec import load_outcome

SPT = "def priority(op, shop):\n    return op.duration\n"
TINY = "2 2\n0 3 1 2\n1 2 0 4\n"  # jobs: M0 3, M1 2 | M1 2, M0 4


def test_problems_are_listed_by_path(call):
    code, out, _ = call("problems", "--json")
    assert code == 0
    assert {"shop/job_shop", "machine/total_tardiness"} <= {p["name"] for p in json.loads(out)}


def test_show_problem_gives_hooks_with_units(call):
    code, out, _ = call("problems", "show", "shop/job_shop", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["hooks"][0]["name"] == "priority"
    fields = shown["hooks"][0]["arguments"][0]["fields"]
    assert all({"name", "unit", "doc"} <= field.keys() for field in fields)
    assert {"name", "title", "citation"} <= shown["baselines"][0].keys()
    assert shown["splits"]["test"] == 80


def test_evaluate_gives_objectives_groups_and_instances(call):
    code, out, _ = call("evaluate", "shop/job_shop", "spt", "--split", "valid", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["outcome"] == "ok"
    assert found["objectives"]["gap"].keys() == {"mean", "unit", "direction"}
    row = found["instances"][0]
    assert {"name", "group", "gap", "makespan"} <= row.keys()
    assert np.isclose(row["gap"], 100 * (row["makespan"] / row["makespan_reference"] - 1))


def test_own_instances_are_measured_against_the_lower_bound_and_say_so(call, tmp_path):
    (tmp_path / "tiny.txt").write_text(TINY)
    code, out, _ = call("evaluate", "shop/job_shop", "spt", "--instances", tmp_path / "tiny.txt")
    assert code == 0
    assert "lower bound" in out


def test_compare_pairs_by_instance(call):
    code, out, _ = call("compare", "shop/job_shop", "spt", "mwkr", "--split", "valid", "--json")
    found = json.loads(out)
    assert code == 0
    gap = next(row for row in found["differences"] if row["objective"] == "gap")
    means = [e["objectives"]["gap"]["mean"] for e in found["evaluations"]]
    assert np.isclose(gap["difference"], means[1] - means[0])
    assert gap["low"] <= gap["difference"] <= gap["high"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "shop/jobshop"], "did you mean 'shop/job_shop'"),
        (["run", "shop/job_shop", "--evaluations", "-3"], "evaluations: must be at least 1, got -3"),
        (["run", "shop/job_shop", "--max-usd", "-1"], "max_usd: must be positive"),
        (["run"], "name a problem"),
        (["show", "no/such/run"], "not a run folder"),
        (["evaluate", "shop/job_shop", "nothing"], "no file, no RUN:ID and no baseline"),
        (["evaluate", "shop/job_shop", "spt", "--split", "tset"], "unknown split 'tset'"),
        (["evaluate", "shop/job_shop", "spt", "--decoder", "magic"], "unknown decoder 'magic'"),
        (["evaluate", "shop/job_shop", "spt", "--instances", "no/such/file"], "no such file"),
        (["compare", "shop/job_shop", "spt"], "two programs or more"),
        (["verify", "no/such/file.py"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, arguments, said):
    code, _, err = call(*arguments)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"def other(op, shop):\n    return 1.0\n", "priority"),
        (b"def priority(op, shop):\n    return (op.duration, 1.0)\n", "compile_error"),
        (b"def priority(op, shop):\n    return op.lenght\n", "lenght"),
        (b"import os\ndef priority(op, shop):\n    return 1.0\n", "rejected"),
        (b"def priority(op, shop:\n", "line 1"),
    ],
)
def test_a_bad_program_is_one_line_and_exit_code_2(call, tmp_path, source, said):
    (tmp_path / "rule.py").write_bytes(source)
    code, _, err = call("evaluate", "shop/job_shop", tmp_path / "rule.py", "--split", "train")
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_bad_instance_line_is_named(call, tmp_path):
    (tmp_path / "bad.txt").write_text("2 2\n0 3 1 2\n1 x 0 4\n")
    code, _, err = call("evaluate", "shop/job_shop", "spt", "--instances", tmp_path / "bad.txt")
    assert code == 2
    assert "bad.txt" in err
    assert "line 3" in err


def test_a_folder_that_cannot_be_written_is_named(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("run", "shop/job_shop", "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "cannot be written" in err


def test_a_finished_run_shows_champion_report_and_front(call, finished):
    _, out, _ = call("show", finished, "--json")
    shown = json.loads(out)
    assert shown["status"] == "finished"
    assert shown["outcomes"]["ok"] > 5
    assert shown["report"]["splits"]["test"]["instances"] == 80
    _, out, _ = call("front", finished, "--json")
    front = json.loads(out)
    assert all({"id", "origin", "objectives", "source"} <= row.keys() for row in front)
    gaps = [row["objectives"]["train"]["gap"] for row in front]
    times = [row["objectives"]["train"]["decision_time"] for row in front]
    assert gaps == sorted(gaps)
    assert len(front) == 1 or times != sorted(times)


def test_the_front_is_read_without_the_rest_of_the_run(call, finished, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(reader, "load_outcome", lambda kind, body: read.append(kind) or load_outcome(kind, body))
    _, out, _ = call("front", finished, "--json")
    splits = sum(len(row["objectives"]) for row in json.loads(out))
    assert len(read) <= 2 * splits + len(json.loads(out))
    # runs of older versions do not say who is on it
    shutil.copytree(finished, tmp_path / "old")
    with sqlite3.connect(tmp_path / "old" / "run.sqlite") as db:
        db.execute("DELETE FROM meta WHERE key = 'front'")
    read.clear()
    assert call("front", tmp_path / "old", "--json")[1] == out
    assert len(read) > 30


def test_lineage_reaches_a_baseline_and_diff_shows_the_edit(call, finished):
    _, out, _ = call("front", finished, "--json")
    child = next((row for row in json.loads(out) if row["origin"] == "genetic"), None)
    if child is None:
        pytest.skip("no bred program on the front of this short run")
    _, out, _ = call("lineage", finished, child["id"], "--json")
    ancestors = json.loads(out)
    assert ancestors[-1]["origin"] == "baseline"
    _, out, _ = call("diff", finished, ancestors[-1]["id"], child["id"])
    assert "+" in out


def test_an_imported_program_joins_the_run(call, finished, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def priority(op, shop):\n    return op.duration / op.work_left + 0.01 * op.machine_queue\n")
    code, out, _ = call("import", finished, path)
    assert code == 0
    assert "gap" in out
    number = int(out.split("is program ")[1].split()[0])
    code, out, _ = call("evaluate", "shop/job_shop", f"{finished}:{number}", "--split", "train", "--json")
    assert code == 0
    assert json.loads(out)["outcome"] == "ok"


def test_doctor_lists_layers_with_what_they_protect(call):
    code, out, _ = call("doctor", "--json")
    assert code == 0
    assert all({"layer", "protects", "works"} <= record.keys() for record in json.loads(out))


def test_the_command_starts_without_importing_litellm_or_numba(tmp_path):
    code = (
        "import sys, evolve.cli\n"
        "slow = {'litellm', 'openai', 'scipy', 'moocore', 'numba'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
