"""Tasks: what a folder may say, how outcomes follow from metrics, where a program runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Driver, needs_sandbox

from evaluators.outcome import Ok
from evaluators.tasks import exploits
from evaluators.tasks.external import ExternalEvaluator
from problems import registry, task
from problems.problem import Problem

TASKS = Path(__file__).parent
SCORE = "def evaluate(program_path):\n    import importlib.util as u\n"
SCORE += "    s = u.spec_from_file_location('p', program_path)\n"
SCORE += "    p = u.module_from_spec(s)\n    s.loader.exec_module(p)\n"


def make(folder: Path, evaluator: str, program: str = "def f():\n    return 1.0\n", settings: str = "") -> Problem:
    """A task in an empty folder."""
    (folder / "initial_program.py").write_text(program)
    (folder / "evaluator.py").write_text(evaluator)
    if settings:
        (folder / "task.toml").write_text(settings)
    return task.load(folder)


def outcome_of(problem: Problem, source: str = "") -> object:
    driver = Driver(ExternalEvaluator(problem, workers=2))
    try:
        return driver.evaluate(source or problem.baselines[0].source)
    finally:
        driver.close()


@pytest.fixture(scope="module")
def packing() -> Iterator[Driver]:
    driver = Driver(ExternalEvaluator(f"task:{TASKS / 'packing'}", workers=2))
    yield driver
    driver.close()


def test_a_folder_is_a_problem_by_its_path():
    problem = registry.load(f"task:{TASKS / 'packing'}")
    assert problem.name == f"task:{TASKS / 'packing'}"
    assert problem.form == "task"
    assert problem.primary.direction == "max"
    assert "every index must occur once" in problem.statement
    assert [b.name for b in problem.rules] == ["initial"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("tiemout_s = 3", "unknown setting 'tiemout_s'"),
        ("timeout_s = 0", "timeout_s must be positive"),
        ("timeout_s = true", "timeout_s is a bool"),
        ("objectives = []", "be one at least"),
        ("[[objectives]]\ndirection = 'max'", "a table with a name"),
        ("[[objectives]]\nname = 'a'\ndirection = 'up'", "direction must be min or max, got 'up'"),
        ("[[objectives]]\nname = 'a'\n[[objectives]]\nname = 'a'", "named once each"),
        ("= 3", "not a TOML file"),
        ("read = [3]", "read must be a list of folders"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, settings: str, reason: str):
    with pytest.raises(task.BadTask) as caught:
        make(tmp_path, "", settings=settings)
    assert reason in str(caught.value)
    assert "task.toml" in str(caught.value)


def test_the_statement_comes_from_a_configuration_file_or_docstrings(tmp_path: Path):
    assert make(tmp_path, '"""Scores."""\n', '"""Starts."""\n').statement == "Starts.\n\nScores."
    text = "max_iterations: 10\nprompt:\n  system_message: |\n    You pack.\n\n      Tightly.\n  num_top: 3\n"
    (tmp_path / "config.yaml").write_text(text)
    assert task.load(tmp_path).statement == "You pack.\n\n  Tightly."
    (tmp_path / "README.md").write_text("Read me.")
    assert task.load(tmp_path).statement == "Read me."


@needs_sandbox
@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("    return {'combined_score': p.f(), 'other': 2}", "ok", ""),
        ("    return type('R', (), {'metrics': {'combined_score': 1}})()", "ok", ""),
        ("    from openevolve.evaluation_result import EvaluationResult\n"
         "    return EvaluationResult(metrics={'combined_score': 1}, artifacts={'note': 'x'})", "ok", ""),
        ("    return {'score': 1}", "crashed", "no metric 'combined_score', but: score; name the objectives"),
        ("    return {'combined_score': float('nan')}", "non_finite", "combined_score is nan"),
        ("    return {'combined_score': 1e400}", "non_finite", "combined_score is inf"),
        ("    return {'combined_score': 0.0, 'error': 'no luck'}", "crashed", "the evaluator reports: no luck"),
        ("    return 3", "crashed", "returned a int, not a dictionary"),
        ("    raise KeyError('x')", "crashed", "evaluator.py, line 6: KeyError: 'x'"),
        ("    import time\n    time.sleep(60)", "timed_out", "killed after 1 s"),
        ("    import os\n    os._exit(0)", "crashed", "exit code 0 and no answer"),
        ("    bytearray(10**10)", "out_of_memory", "evaluator.py, line 6"),
        ("    import subprocess\n    subprocess.run(['true'])", "crashed", "PermissionError"),
        ("    import socket\n    socket.socket()", "crashed", "PermissionError"),
        ("    open('/etc/passwd')", "crashed", "PermissionError"),
        ("    open(__file__, 'a')", "crashed", "PermissionError"),
        ("    open('note', 'w').write('x')\n    return {'combined_score': len(open('note').read())}", "ok", ""),
        ("    import threading\n    t = threading.Thread(target=p.f)\n    t.start()\n    t.join()\n"
         "    return {'combined_score': 1}", "ok", ""),
        ("    return {'combined_score': 1, 'validity': 0.0}", "infeasible", "validity is 0.0"),
    ],
)  # fmt: skip
def test_an_outcome_follows_from_what_the_evaluator_does(tmp_path: Path, body: str, kind: str, reason: str):
    feasible = "feasible = 'validity'\n" if "validity" in body else ""
    problem = make(tmp_path, f"{SCORE}{body}\n", settings=f"timeout_s = 1\nisolate = true\n{feasible}")
    outcome = outcome_of(problem)
    assert outcome.kind == kind, outcome
    assert reason in getattr(outcome, "reason", "")


@needs_sandbox
def test_an_evaluator_that_writes_its_metrics_is_read(tmp_path: Path):
    text = "import json, os\ndef main(program_path, results_dir):\n"
    text += "    json.dump({'combined_score': 2.0}, open(os.path.join(results_dir, 'metrics.json'), 'w'))\n"
    text += "    json.dump({'correct': %s, 'error': 'wrong'}, open(os.path.join(results_dir, 'correct.json'), 'w'))\n"
    assert outcome_of(make(tmp_path, text % "True")).objectives == {"combined_score": 2.0}
    assert outcome_of(make(tmp_path, text % "False")).reason == "the evaluator reports: wrong"


@needs_sandbox
def test_several_objectives_are_declared_with_their_directions(tmp_path: Path):
    settings = "[[objectives]]\nname = 'cost'\ndirection = 'min'\n[[objectives]]\nname = 'speed'\n"
    problem = make(tmp_path, f"{SCORE}    return {{'speed': 1, 'cost': 2, 'note': 'x'}}\n", settings=settings)
    assert [(o.name, o.direction) for o in problem.objectives] == [("cost", "min"), ("speed", "max")]
    assert outcome_of(problem).objectives == {"cost": 2.0, "speed": 1.0}


@needs_sandbox
def test_both_splits_are_one_evaluation(packing: Driver):
    source = packing.evaluator.problem.baselines[0].source
    assert packing.evaluate(source, "train") is packing.evaluate(source, "valid")


@needs_sandbox
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("free + 1e-9", "free + 1"), "text outside the EVOLVE-BLOCK region must stay as it is"),
        (("# EVOLVE-BLOCK-END", ""), "has no"),
        (("def pack(items)", "def pack(items"), "not Python"),
        (('"""Pack', "#" * 200_000 + '\n"""Pack'), "characters, more than"),
    ],
)
def test_edits_outside_the_markers_are_rejected(packing: Driver, change: tuple[str, str], reason: str):
    outcome = packing.evaluate(packing.evaluator.problem.baselines[0].source.replace(*change))
    assert (outcome.kind, outcome.stage) == ("rejected", "admit")
    assert reason in outcome.reason


@needs_sandbox
def test_a_program_runs_apart_where_the_evaluator_allows_it_and_together_where_not(packing: Driver):
    assert packing.run(packing.evaluator.isolates())
    driver = Driver(ExternalEvaluator(f"task:{TASKS / 'calling'}", workers=2))
    try:
        assert not driver.run(driver.evaluator.isolates())
        assert isinstance(driver.evaluate(driver.evaluator.problem.baselines[0].source), Ok)
        findings = driver.run(exploits.examine(driver.evaluator))
    finally:
        driver.close()
    assert {f.probe for f in findings if f.exploits} >= {"forges the evaluator's answer"}
    assert findings[0].detail == "runs in the evaluator's own process"


@needs_sandbox
def test_a_program_apart_gives_values_functions_and_errors(tmp_path: Path):
    program = (
        "import numpy as np\nLIMIT = 3\ndef f(a, *, b=2):\n    return {'sum': np.arange(a) + b, 'pair': (a, None)}\n"
    )
    body = (
        "    r = p.f(2, b=5)\n    assert p.LIMIT == 3 and hasattr(p, 'f') and not hasattr(p, 'g') and 'f' in dir(p)\n"
    )
    body += "    assert r['pair'] == (2, None)\n    r['sum'][0] += 1\n"
    body += "    try: p.f('x')\n    except Exception as error: assert 'line 4: TypeError' in str(error), error\n"
    body += "    return {'combined_score': r['sum'].sum()}\n"
    problem = make(tmp_path, SCORE + body, program, "isolate = true\n")
    assert outcome_of(problem).objectives == {"combined_score": 12.0}


@needs_sandbox
@pytest.mark.parametrize(
    ("body", "exploit"),
    [
        ("    return {'combined_score': p.f()}", "believes a number that the program reports"),
        (
            "    try: return {'combined_score': -abs(p.f() - 0.5)}\n"
            "    except Exception: return {'combined_score': 0.0}",
            "rewards a program that raises",
        ),
        (
            "    import json, os\n    p.f()\n    for name in ('results.json',):\n"
            "        if os.path.exists(name): return json.load(open(name))\n    return {'combined_score': 1.0}",
            "reads the score from a file that the program may write",
        ),
        (
            "    import time\n    start = time.perf_counter()\n    time.sleep(0.05)\n    p.f()\n"
            "    return {'combined_score': -(time.perf_counter() - start) // 0.04}",
            "takes time from a clock that the program may patch",
        ),
    ],
)
def test_each_kind_of_gullible_evaluator_is_named(tmp_path: Path, body: str, exploit: str):
    together = "isolate = false\n" if "file" in exploit or "clock" in exploit else ""
    problem = make(tmp_path, f"{SCORE}{body}\n", settings=together)
    driver = Driver(ExternalEvaluator(problem, workers=2))
    try:
        findings = driver.run(exploits.examine(driver.evaluator))
    finally:
        driver.close()
    assert exploit in {finding.detail for finding in findings if finding.exploits}


@needs_sandbox
def test_a_folder_that_moves_is_still_a_task(tmp_path: Path):
    folder = shutil.copytree(TASKS / "packing", tmp_path / "elsewhere")
    assert isinstance(outcome_of(registry.load(f"task:{folder}")), Ok)


@needs_sandbox
def test_an_evaluator_in_openevolves_form_is_scored_without_openevolve():
    problem = registry.load(f"task:{TASKS / 'cascade'}")
    assert problem.statement.startswith("You are an expert in scheduling.")  # all that is read of its config.yaml
    initial = problem.baselines[0].source
    wspt, broken = (initial.replace("float(duration)", text) for text in ("duration / weight", "1 / 0"))
    driver = Driver(ExternalEvaluator(problem, workers=2))
    first, better, failed = (driver.evaluate(source) for source in (initial, wspt, broken))
    fixed = driver.evaluate(initial.replace('kind="stable"', 'kind="heapsort"'))
    driver.close()
    assert isinstance(first, Ok)
    assert isinstance(better, Ok)
    assert first.objectives["combined_score"] < better.objectives["combined_score"] == 1.0
    assert failed.kind == "crashed"
    assert "division by zero" in failed.reason
    assert fixed.kind == "rejected"  # outside of EVOLVE-BLOCK


@needs_sandbox
def test_an_evaluator_in_shinkaevolves_form_is_scored_without_shinka():
    problem = registry.load(f"task:{TASKS / 'experiment'}")
    initial = problem.baselines[0].source
    shortest = 'np.argsort(durations, kind="stable")'
    programs = (initial, *(initial.replace(shortest, new) for new in ("np.argsort(durations / weights)", "[0] * 12")))
    driver = Driver(ExternalEvaluator(problem, workers=2))
    first, better, invalid = (driver.evaluate(source) for source in programs)
    driver.close()
    assert isinstance(first, Ok)
    assert isinstance(better, Ok)
    assert first.objectives["combined_score"] < better.objectives["combined_score"] == pytest.approx(1.0)
    assert (invalid.kind, "Every job must be sequenced once" in invalid.reason) == ("crashed", True)


@needs_sandbox
def test_stages_alone_are_run_one_after_the_other(tmp_path: Path):
    stages = SCORE.replace("evaluate", "evaluate_stage1") + "    return {'runs': 1.0, 'combined_score': 0.0}\n"
    stages += SCORE.replace("evaluate", "evaluate_stage2") + "    return {'combined_score': p.f()}\n"
    found = outcome_of(make(tmp_path, stages))
    assert isinstance(found, Ok)
    assert found.objectives["combined_score"] == 1.0
    assert found.raw["runs"] == [1.0]


@needs_sandbox
def test_an_evaluator_that_starts_programs_is_told_that_it_cannot(tmp_path: Path):
    body = SCORE + "    import subprocess\n    subprocess.run(['true'])\n    return {'combined_score': 1.0}\n"
    found = outcome_of(make(tmp_path, body))
    assert found.kind == "crashed"
    assert "docs/tasks.md" in found.reason
