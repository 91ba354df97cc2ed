"""A user's own task, run and probed from the command line with a loopback model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loopback import Loopback, say

from evaluators.outcome import Ok, Rejected
from evaluators.sandbox.seal import landlock_version
from evolve.store import Store

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")

TASKS = Path(__file__).parents[1] / "evaluators" / "tasks"
FIRST_FIT = """Use the first bin with room.
```python
{before}# EVOLVE-BLOCK-START
def pack(items):
    bins, free = [], []
    for index in sorted(range(len(items)), key=lambda i: -items[i]):
        place = next((k for k, room in enumerate(free) if helper(items[index], room)), None)
        if place is None:
            bins.append([])
            free.append(1.0)
            place = len(bins) - 1
        bins[place].append(index)
        free[place] -= items[index]
    return bins


# EVOLVE-BLOCK-END
```"""
CHEAT = """Make every item fit.
<<<<<<< SEARCH
    return item <= free + 1e-9
=======
    return True
>>>>>>> REPLACE"""
LOSE_ONE = """Leave out the last bin.
<<<<<<< SEARCH
    return bins
=======
    return bins[:-1]
>>>>>>> REPLACE"""


def evolve(*arguments: object, key: str = "sk-planted") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from evolve.cli import main; main()", *map(str, arguments)],
        env={**os.environ, "OPENAI_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str], Loopback]:
    out = tmp_path_factory.mktemp("task") / "run"
    before = (TASKS / "packing" / "initial_program.py").read_text().split("# EVOLVE-BLOCK-START")[0]
    answers = [say(CHEAT), say(LOSE_ONE), say(FIRST_FIT.format(before=before)), say("I cannot help with that.")]
    with Loopback(*answers) as server:
        flags = ("--model", "openai/scripted", "--api-base", server.url, "--price", "openai/scripted=0,0")
        ended = evolve("run", "--task", TASKS / "packing", *flags, "--evaluations", 2, "--concurrency", 1, "--out", out)
    return out, ended, server


def test_a_task_folder_is_improved_by_a_model(run):
    out, ended, server = run
    assert ended.returncode == 0, ended.stderr
    with Store(out) as store:
        outcomes, champion = store.outcomes("train"), store.meta("champion")
        initial = store.programs()[0]
        assert initial.operator == "initial"
        assert store.program(champion).thought == "Use the first bin with room."
        found = outcomes[champion]
        assert isinstance(found, Ok)
        assert found.objectives["combined_score"] > outcomes[initial.id].objectives["combined_score"]
        assert "combined_score is better" not in ended.stdout
    assert "no test split" in " ".join(ended.stdout.split())
    assert "every index must occur once" in server.requests[0].prompt
    assert "EVOLVE-BLOCK-START" in server.requests[0].prompt


def test_an_edit_outside_the_markers_is_rejected_and_a_wrong_answer_has_no_score(run):
    out, _, _ = run
    with Store(out) as store:
        kinds = {o.kind: o for o in store.outcomes("train").values()}
    refused = [o for o in kinds.values() if isinstance(o, Rejected)]
    assert refused
    assert kinds["crashed"].reason.endswith("ValueError: every item must be packed once")
    with Store(out) as store:
        reasons = [o.reason for o in store.outcomes("train").values() if isinstance(o, Rejected)]
    assert any("text outside the EVOLVE-BLOCK region must stay as it is" in reason for reason in reasons)


def test_a_run_of_a_task_is_shown_exported_verified_and_loaded(run, tmp_path):
    out, _, _ = run
    shown = evolve("show", out)
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "packer.py"
    assert evolve("export", out, "-o", file).returncode == 0
    assert "# evolve: Descends from" in file.read_text()
    verified = evolve("verify", file)
    assert verified.returncode == 0, verified.stderr
    assert "agrees" in verified.stdout
    scored = evolve("evaluate", f"task:{TASKS / 'packing'}", file, "--json")
    assert json.loads(scored.stdout)["outcome"] == "ok"

    from evolve import load_heuristic

    assert load_heuristic(out).pack([0.5, 0.5, 0.4]) == [[0, 1], [2]]


def test_a_run_of_a_task_is_replayed_without_a_model(run, tmp_path):
    out, _, _ = run
    again = evolve("replay", out, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr


def test_doctor_names_the_exploit_of_an_unmodified_gullible_evaluator():
    ended = evolve("doctor", "--task", TASKS / "trusting", "--json")
    assert ended.returncode == 3, ended.stderr
    report = json.loads(ended.stdout)
    exploits = {row["probe"]: row["detail"] for row in report["probes"] if row["exploits"]}
    assert exploits["returns an empty answer"] == "rewards an empty answer"
    assert exploits["reports half beside its answer"] == "believes a number that the program reports beside its answer"


def test_doctor_finds_nothing_in_an_honest_evaluator():
    ended = evolve("doctor", "--task", TASKS / "packing")
    assert ended.returncode == 0, ended.stdout
    assert "EXPLOIT" not in ended.stdout


def test_a_run_refuses_a_gullible_evaluator_before_any_call_and_names_the_flag(tmp_path):
    with Loopback(say("unused")) as server:
        flags = ("--model", "openai/scripted", "--api-base", server.url, "--price", "openai/scripted=0,0")
        ended = evolve("run", "--task", TASKS / "trusting", *flags, "--out", tmp_path / "run")
        assert server.requests == []
    assert ended.returncode == 2
    assert "the evaluator rewards an empty answer" in ended.stderr
    assert "--trust-evaluator" in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--task", "{task}"), "which the offline proposer cannot vary: name a model"),
        (("shop/job_shop", "--task", "{task}"), "name a problem or --task, not both"),
        (("--task", "{empty}"), "has no initial_program.py or initial.py"),
        (("--task", "{empty}/nowhere"), "no such folder"),
        (("--task", "{task}", "--proposer", "mailbox", "--train", "{task}"), "a task has no instance files"),
    ],
)
def test_bad_input_is_one_line(flags, reason, tmp_path):
    places = {"task": TASKS / "packing", "empty": tmp_path}
    ended = evolve("run", *(flag.format(**places) for flag in flags))
    assert ended.returncode == 2
    assert reason in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_an_initial_program_without_a_score_is_refused_with_the_reason(tmp_path):
    folder = shutil.copytree(TASKS / "packing", tmp_path / "task")
    (folder / "initial_program.py").write_text("def pack(items):\n    return []\n")
    ended = evolve("run", "--task", folder, "--proposer", "mailbox", "--out", tmp_path / "run")
    assert ended.returncode == 2
    assert "the initial program has no score: crashed at run: evaluator.py, line 18: ValueError" in ended.stderr
