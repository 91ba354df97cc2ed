"""A problem in Python mode from the command line: evaluated, searched, compared, exported."""

from __future__ import annotations

import json

import pytest
from loopback import Loopback, say

import evolve
from evaluators.outcome import Ok
from evaluators.sandbox.seal import landlock_version
from evolve.store import Store

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")

PROBLEM = "machine/total_tardiness_sequencing"
SWAPS = """Swap neighbours of the due-date order while that helps.
```python
import numpy as np


def tardiness(order, instance):
    return int(np.maximum(np.cumsum(instance.duration[order]) - instance.due[order], 0).sum())


def solve(instance):
    order = np.argsort(instance.due, kind="stable")
    best, improved = tardiness(order, instance), True
    while improved:
        improved = False
        for k in range(len(order) - 1):
            other = order.copy()
            other[k], other[k + 1] = other[k + 1], other[k]
            value = tardiness(other, instance)
            if value < best:
                order, best, improved = other, value, True
    return order
```"""
HANG = "```python\ndef solve(instance):\n    while True:\n        pass\n```"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("programs") / "run"
    settings = {}
    for split in ("train", "valid", "test"):
        folder = out.parent / split
        folder.mkdir()
        for k in range(4):
            rows = (f"{(7 * j + k) % 11 + 1},{(5 * j + len(split)) % 23 + 3}\n" for j in range(9))
            folder.joinpath(f"{k}.csv").write_text("".join(rows))
        settings[split] = folder
    with (
        Loopback(say(SWAPS), say(HANG), say("I cannot help with that.")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OPENAI_API_KEY", "sk-planted")
        evolve.run(
            PROBLEM,
            model=("openai/scripted",),
            api_base=server.url,
            price=("openai/scripted=0,0",),
            concurrency=("1",),
            evaluations=2,
            out=out,
            **settings,
        )
    return out


def test_a_model_writes_whole_programs(run):
    with Store(run) as store:
        kinds = {outcome.kind for outcome in store.outcomes("train").values()}
        program = next(p for p in store.programs() if p.thought.startswith("Swap neighbours"))
        outcome = store.outcomes("train")[program.id]
        edd = store.outcomes("train")[0]
    assert {"ok", "timed_out"} <= kinds
    assert isinstance(outcome, Ok)
    assert outcome.objectives["ratio_of_sums"] <= edd.objectives["ratio_of_sums"]


def test_the_run_is_shown_exported_and_verified(run, call, tmp_path):
    assert call("show", run)[0] == 0
    file = tmp_path / "order.py"
    with Store(run) as store:
        assert store.meta("report")["splits"]["test"]["programs"]
    assert call("verify", run)[0] == 0
    assert call("evaluate", PROBLEM, f"{run}:0", "--split", "valid")[0] == 0
    assert not file.exists()


def test_an_exported_program_is_loaded_as_plain_python(run):
    rule = evolve.load_heuristic(run, 0)
    assert not rule.compiled

    class Jobs:
        import numpy as np

        duration, due = np.array([1, 1]), np.array([9, 2])

    assert list(rule(Jobs)) == [1, 0]


def test_evaluate_and_compare_print_objectives(call):
    code, out, _ = call("evaluate", PROBLEM, "mdd", "--split", "shift-long-tail", "--json")
    assert code == 0
    assert json.loads(out)["outcome"] == "ok"
    code, out, _ = call("compare", PROBLEM, "edd", "mdd", "--split", "shift-long-tail")
    assert code == 0
    assert "difference to edd" in out


def test_a_file_that_is_no_program_is_refused_in_one_sentence(call, tmp_path):
    file = tmp_path / "rule.py"
    file.write_text("import os\ndef solve(instance):\n    return os.listdir('/')\n")
    code, _, err = call("evaluate", PROBLEM, str(file))
    assert code == 2
    assert "line 1: the module 'os' is not admitted; a program may import" in err


def test_the_offline_proposer_is_refused_with_the_ways_out(call):
    code, _, err = call("run", PROBLEM)
    assert code == 2
    assert "--model" in err
    assert "mailbox" in err
    assert "evolve evaluate" in err
    assert len(err.strip().splitlines()) == 1
