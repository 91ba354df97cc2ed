"""Exported files: readable, self-contained, verifiable to the last digit."""

import json
import subprocess
import sys

from evolve.export import _in_words
from evolve.program import Program
from problems import registry


def test_an_exported_champion_verifies_to_the_last_digit(call, finished, tmp_path):
    path = tmp_path / "rule.py"
    code, _, _ = call("export", finished, "-o", path)
    assert code == 0
    code, out, _ = call("verify", path, "--json")
    assert code == 0
    assert json.loads(out)["agrees"]


def test_a_changed_export_fails_verification(call, finished, tmp_path):
    path = tmp_path / "rule.py"
    call("export", finished, "-o", path)
    path.write_text(path.read_text().replace('"gap":', '"gap":1'))
    code, out, err = call("verify", path)
    assert code == 2
    assert "DIFFERS" in out
    assert "differ from the record" in err


def test_an_export_imports_with_nothing_but_the_standard_library_and_numpy(call, finished, tmp_path):
    call("export", finished, "-o", tmp_path / "rule.py")
    code = "import sys, rule; assert callable(rule.priority); assert not {'evolve', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_each_hook_says_what_it_reads_itself():
    problem = registry.load("serving/continuous_batching")
    source = problem.baseline("volume_one_prompt").source
    lines = _in_words(problem, Program(1, source, "baseline", "volume_one_prompt"), source)
    hooks = [line.partition("(")[0] for line in lines if not line.startswith((" ", "It reads"))]
    assert hooks == ["order", "admit", "chunk", "evict"]
    evict = lines[next(k for k, line in enumerate(lines) if line.startswith("evict")) :]
    assert [line.split()[0] for line in evict[1:]] == ["It", "request.predicted_left"]
