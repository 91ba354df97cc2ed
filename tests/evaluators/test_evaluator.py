"""From source to outcome, through admission, sealed worker and scoring."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from conftest import Driver, needs_sandbox
from one_machine import PROBLEM

from evaluators.compiler.compile import compile_hooks, simulate
from evaluators.evaluator import Evaluator, solve_procedure
from evaluators.outcome import Ok, Rejected
from evaluators.sandbox.limits import Limits
from problems.problem import BadInstance

pytestmark = needs_sandbox

SMITH, LONGEST = (rule.source for rule in PROBLEM.rules)


def test_smiths_rule_is_optimal_on_every_instance(driver: Driver):
    outcome = driver.evaluate(SMITH)
    assert isinstance(outcome, Ok)
    assert outcome.objectives["gap"] == 0.0
    assert outcome.values["gap"] == [0.0] * 6
    assert set(outcome.groups) == {"n=5", "n=20"}
    assert outcome.raw["cost"] == outcome.values["cost"]
    assert 0 < outcome.objectives["decision_ns"] < 1e6
    assert set(outcome.cost) == {"seal_s", "compile_s", "run_s", "transfer_s", "score_s"}


def test_the_sealed_result_is_the_trusted_one(driver: Driver):
    program = compile_hooks(LONGEST, PROBLEM)
    trusted = [
        PROBLEM.measure(i.data, simulate(PROBLEM, "forward", i.data, program))["cost"]
        for i in PROBLEM.splits["train"]()
    ]
    outcome = driver.evaluate(LONGEST)
    assert isinstance(outcome, Ok)
    assert outcome.raw["cost"] == trusted


def test_equal_decisions_have_equal_fingerprints_and_others_do_not(driver: Driver):
    rules = (SMITH, "def priority(job, machine):\n    return 3 * job.duration / job.weight + 1", LONGEST)
    same, scaled, other = (driver.evaluate(rule).fingerprint for rule in rules)
    assert same == scaled != other
    assert driver.run(driver.evaluator.evaluate(SMITH, "train", probe=False)).fingerprint == ""


def test_a_parameter_gives_what_its_value_written_out_gives(driver: Driver):
    rule = "{}\ndef priority(job, machine):\n    return job.duration - A * job.weight"
    lifted = driver.evaluate(rule.format("A = param(1.5, low=0, high=9)"))
    written = driver.evaluate(rule.format("A = 1.5"))
    assert lifted.raw == written.raw
    assert lifted.fingerprint == written.fingerprint


FAILURES = {
    "NaN": ("return (job.weight - job.weight) / 0.0", "non_finite", "run", "NaN or an infinity on instance 4-20"),
    "infinity": ("return 1.0 / (job.weight - job.weight)", "non_finite", "run", "on instance 4-20"),
    "tuple": ("return job.weight, 1.0", "compile_error", "compile", "must return a number on every path, got a tuple"),
    "no return": ("if job.weight > 3:\n        return 1.0", "compile_error", "compile", "got None"),
    "never returns": ("while True:\n        pass\n    return 1.0", "compile_error", "compile", "never returns"),
    "out of range": ("return np.zeros(3)[int(job.weight) + 3]", "crashed", "run", "IndexError: index is out of bounds"),
    "tuple out of range": ("return (1.0, 2.0)[5]", "compile_error", "compile", "tuple index out of range"),
    "20 GB": ("return np.zeros(20 * 10**9 // 8)[0]", "out_of_memory", "run", "allocation was refused"),
    "endless": ("x = 1.0\n    while x > 0:\n        x = x + 1.0\n    return x", "timed_out", "run", "killed after 3 s"),
    "long": (
        "x = 0.0\n    for i in range(10**12):\n        x = x * 0.5 + machine.now\n    return x",
        "timed_out",
        "run",
        "killed",
    ),
    "two types": (
        "x = 1.0\n    if job.weight > 3:\n        x = (1.0, 2.0)\n    return x",
        "compile_error",
        "compile",
        "'x' is a float in one place and a tuple in another",
    ),
    "write to a constant": ("T[0] = 1.0\n    return 1.0", "rejected", "admit", "only arrays made in the same function"),
    "import": ("import os\n    return 1.0", "rejected", "admit", "only `import math` and `import numpy as np`"),
    "open": ("return open('/etc/passwd')", "rejected", "admit", "'open' is not admitted"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_rule_gets_its_typed_outcome(driver: Driver, name: str):
    body, kind, stage, reason = FAILURES[name]
    outcome = driver.evaluate(f"import numpy as np\nT = (1.0, 2.0)\ndef priority(job, machine):\n    {body}\n")
    assert (outcome.kind, outcome.stage) == (kind, stage), outcome
    assert reason in outcome.reason


def test_a_compile_error_quotes_the_line_it_is_about(driver: Driver):
    outcome = driver.evaluate("# first line\ndef priority(job, machine):\n    x = 1.0\n    return x, 2.0\n")
    assert outcome.reason.startswith("line 4: ")
    assert outcome.reason.endswith("`return x, 2.0`")


def test_a_program_that_takes_long_to_compile_is_killed_in_time():
    lines = "\n".join(f"    x = max(x, {i}.5) * math.exp(-x) + min(x, job.weight, {i})" for i in range(180))
    # an array, so that numba compiles it
    head = "import math\nimport numpy as np\ndef priority(job, machine):\n    x = np.ones(1)[0]"
    source = f"{head}\n{lines}\n    return x\n"
    driver = Driver(Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=0.5)))
    try:
        outcome = driver.evaluate(source)
        assert outcome.kind == "timed_out"
        assert isinstance(driver.evaluate(SMITH), Ok)
    finally:
        driver.close()


def test_a_missing_hook_is_refused_with_its_signature(driver: Driver):
    outcome = driver.evaluate("def priorty(job, machine):\n    return 1.0\n")
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "the program must define priority(job, machine) -> float; did you mean 'priorty'?"


def test_forty_evaluations_at_once_queue_and_all_end(driver: Driver):
    async def many():
        return await asyncio.gather(*(driver.evaluator.evaluate(SMITH, "train") for _ in range(40)))

    outcomes = driver.run(many())
    assert {o.kind for o in outcomes} == {"ok"}
    assert driver.workers() == []


def test_another_split_is_loaded_when_it_is_first_asked_for(driver: Driver):
    async def both():
        return await asyncio.gather(
            *(driver.evaluator.evaluate(SMITH, split) for split in ("train", "valid", "train", "valid"))
        )

    assert [len(o.values["gap"]) for o in driver.run(both())] == [6, 4, 6, 4]


def test_users_own_instances_replace_a_split(tmp_path: Path):
    (tmp_path / "mine.csv").write_text("3,1\n1,1\n")
    driver = Driver(Evaluator(PROBLEM, workers=1, sets={"own": tmp_path / "mine.csv"}))
    try:
        assert [i.name for i in driver.evaluator.instances("own")] == ["mine"]
        assert driver.evaluate(SMITH, "own").raw == {"cost": [1.0 + 4.0]}
        (tmp_path / "bad.csv").write_text("3,x\n")
    finally:
        driver.close()
    with pytest.raises(BadInstance, match=r"bad\.csv"):
        Evaluator(PROBLEM, sets={"own": tmp_path / "bad.csv"}).instances("own")


def test_unknown_names_get_a_suggestion(driver: Driver):
    with pytest.raises(ValueError, match=r"unknown split 'trian'; did you mean 'train'\?"):
        driver.evaluate(SMITH, "trian")
    with pytest.raises(ValueError, match=r"unknown decoder 'foreward'; did you mean 'forward'\?"):
        Evaluator(PROBLEM, decoder="foreward")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        Evaluator(PROBLEM, workers=0)


def test_an_evaluator_that_was_not_started_says_so():
    with pytest.raises(RuntimeError, match="not started"):
        asyncio.run(Evaluator(PROBLEM, workers=1).evaluate(SMITH, "train"))


def test_a_procedure_is_scored_like_a_program(driver: Driver):
    exact = PROBLEM.baseline("exact")
    outcome = solve_procedure(PROBLEM, exact, driver.evaluator.instances("train"))
    assert outcome.raw == driver.evaluate(SMITH).raw
    assert outcome.objectives["gap"] == 0.0


def test_instances_are_frozen_and_the_same_on_both_sides(driver: Driver):
    for instance in driver.evaluator.instances("train"):
        assert not any(array.flags.writeable for array in instance.data)
        assert np.isfinite(instance.data.duration).all()


@pytest.mark.parametrize(
    ("term", "compiler"),
    [
        ("max(x, 1, 2.0, n, x)", "lowered"),  # of four kinds of arguments: not among those that are prepared
        ("np.maximum(n, x) + np.abs(n) + np.arctan2(n, 2)", "lowered"),
        ("math.sqrt(n) + math.erf(n) + math.hypot(n, n)", "lowered"),
        ("round(n) + abs(n > 1) + (n > 1) * 2", "numba"),
        ("np.zeros(3)[n]", "numba"),
        ("int(x) + round(x) + math.floor(x)", "lowered"),
    ],
)
def test_an_outcome_says_how_its_program_was_compiled(driver: Driver, term: str, compiler: str):
    body = f"x = job.duration / job.weight\n    n = 1 if x > 2 else 0\n    return x + 0.0 * ({term})"
    outcome = driver.evaluate(f"import math\nimport numpy as np\ndef priority(job, machine):\n    {body}\n")
    assert isinstance(outcome, Ok), outcome
    assert outcome.compiler == compiler
