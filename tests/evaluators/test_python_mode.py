"""Whole programs: what they may return, how failures read, and that all judging happens outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import Driver, needs_sandbox
from sequencing import EDD, MDD, PROBLEM

from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok
from evaluators.python_mode import BadSolution, PythonEvaluator, solution
from evaluators.sandbox.limits import Limits
from problems import registry

pytestmark = needs_sandbox


@pytest.fixture(scope="module")
def programs() -> Iterator[Driver]:
    driver = Driver(PythonEvaluator(PROBLEM, workers=2, limits=Limits(memory_bytes=256 * 2**20)))
    yield driver
    driver.close()


def test_programs_reproduce_the_numbers_of_the_hooks_they_are_written_after():
    hooks, programs = (registry.load(f"machine/{n}") for n in ("total_tardiness", "total_tardiness_sequencing"))
    ours, theirs = Driver(Evaluator(hooks, workers=1)), Driver(PythonEvaluator(programs, workers=1))
    try:
        for name in ("edd", "spt", "mdd"):
            outcomes = [
                driver.evaluate(problem.baseline(name).source)
                for driver, problem in ((ours, hooks), (theirs, programs))
            ]
            assert outcomes[0].raw == outcomes[1].raw
            assert outcomes[0].objectives["ratio_of_sums"] == outcomes[1].objectives["ratio_of_sums"]
    finally:
        ours.close()
        theirs.close()


def test_programs_reproduce_the_procedures_they_are_written_after():
    hooks, programs = (registry.load(f"machine/{n}") for n in ("total_tardiness", "total_tardiness_sequencing"))
    for name in ("eddc", "mdd_tail_moves"):
        namespace: dict = {}
        exec(programs.baseline(name).source, namespace)
        for instance in [*programs.probes(), *programs.splits["train"]()[::50]]:
            ours = programs.simulators["solve"](instance.data, namespace["solve"], np.zeros(0))
            theirs = hooks.baseline(name).solve(instance.data)
            assert programs.measure(instance.data, ours) == programs.measure(instance.data, theirs), instance.name


@pytest.mark.parametrize(
    "body",
    [
        "    return np.argsort(instance.due)",
        "    return np.argsort(instance.due).tolist()",
        "    return tuple(np.argsort(instance.due).tolist())",
        "    return {'order': np.argsort(instance.due)}",
        "    return (np.argsort(instance.due),)",
        "    return np.argsort(instance.due).astype(np.int32)",
        "    return np.argsort(instance.due).astype(float)",
        "    duration, due = instance\n    return np.argsort(due)",
        "    instance.due[:] += 1\n    return np.argsort(instance.due)",
    ],
)
def test_an_order_may_come_in_any_plain_form(programs: Driver, body: str):
    outcome = programs.evaluate(f"import numpy as np\ndef solve(instance):\n{body}\n")
    assert isinstance(outcome, Ok), outcome
    assert len(outcome.raw["total_tardiness"]) == 5


@pytest.mark.parametrize(
    ("body", "kind", "stage", "reason"),
    [
        ("return None", "infeasible", "verify", "got None: does every path return?"),
        ("return 'edd'", "infeasible", "verify", "order must be an array of int64 with 1 dimension, got str"),
        ("return [0.5] * len(instance.due)", "infeasible", "verify", "numbers that are no int64"),
        ("return [float('nan')] * len(instance.due)", "infeasible", "verify", "numbers that are no int64"),
        ("return [[0], [1, 2]]", "infeasible", "verify", "lists of unequal length"),
        ("return {'permutation': [0]}", "infeasible", "verify", "'order' is missing"),
        ("return list(range(len(instance.due) + 1))", "infeasible", "verify", "shape"),
        ("return [0] * len(instance.due)", "infeasible", "verify", "each job runs once"),
        ("return []", "infeasible", "verify", "shape"),
        ("return {1, 2}", "infeasible", "verify", "a set is no plain value"),
        ("return solve", "infeasible", "verify", "a function is no plain value"),
        ("return [2**70]", "infeasible", "verify", "64 bits"),
        ("return undefined", "crashed", "run", "line 2, in solve: NameError: name 'undefined' is not defined"),
        ("return 1 / 0", "crashed", "run", "line 2, in solve: ZeroDivisionError"),
        ("return [bytearray(2**30)]", "out_of_memory", "run", "an allocation was refused"),
        ("import sqlite3", "rejected", "admit", "line 2: the module 'sqlite3' is not admitted; a program may import"),
        ("return open('x')", "rejected", "admit", "line 2: open is not admitted: there are no files"),
    ],
)
def test_a_failure_says_what_and_where(programs: Driver, body: str, kind: str, stage: str, reason: str):
    outcome = programs.evaluate(f"def solve(instance):\n    {body}\n")
    assert (outcome.kind, outcome.stage) == (kind, stage), outcome
    assert reason in outcome.reason


def test_a_failure_while_loading_says_so(programs: Driver):
    outcome = programs.evaluate("TABLE = [1, 2][5]\ndef solve(instance):\n    return TABLE\n")
    assert outcome.kind == "crashed"
    assert outcome.reason == "while the program was loaded, line 1: IndexError: list index out of range"


@pytest.mark.parametrize("draw", ["np.random.default_rng()", "np.random", "random.Random(random.random())", "random"])
def test_unseeded_randomness_repeats_for_the_same_instance(programs: Driver, draw: str):
    source = (
        "import random\nimport numpy as np\ndef solve(instance):\n"
        f"    rng = {draw}\n    order = list(range(len(instance.due)))\n    rng.shuffle(order)\n    return order\n"
    )
    first, second = programs.evaluate(source), programs.evaluate(source)
    assert first.raw == second.raw
    assert first.fingerprint == second.fingerprint != ""
    assert len(set(first.raw["total_tardiness"])) > 1


def test_a_fingerprint_tells_programs_apart_by_what_they_answer(programs: Driver):
    edd, same, mdd = (
        programs.evaluate(source)
        for source in (
            EDD,
            "def solve(i):\n    return sorted(range(len(i.due)), key=lambda j: (i.due[j], i.duration[j]))",
            MDD,
        )
    )
    assert edd.fingerprint == same.fingerprint != mdd.fingerprint


def test_state_may_be_kept_between_instances_but_not_between_programs(programs: Driver):
    source = (
        "seen = []\ndef solve(instance):\n    seen.append(1)\n"
        "    return list(range(len(instance.due))) if len(seen) > 7 else list(range(len(instance.due)))[::-1]\n"
    )
    first, second = programs.evaluate(source), programs.evaluate(source)
    assert isinstance(first, Ok)
    assert first.raw == second.raw


def test_printing_is_discarded(programs: Driver):
    assert isinstance(programs.evaluate("print('x' * 10**6)\n" + EDD), Ok)


def test_a_program_sees_the_numbers_of_the_view_and_no_instance_ahead(programs: Driver):
    source = (
        "import gc\ndef solve(instance):\n"
        "    assert instance._fields == ('duration', 'due'), instance\n"
        "    assert type(instance).__name__ == 'Instance'\n"
        "    return list(range(len(instance.due)))\n"
    )
    outcome = programs.evaluate(source)
    assert outcome.kind == "rejected"  # gc is no module that a program may import
    assert isinstance(programs.evaluate(source.replace("import gc\n", "").replace(".__name__ == 'Instance'", "")), Ok)


def test_the_zygote_starts_and_stops_without_a_trace(programs: Driver):
    assert programs.workers() == []
    before = programs.zygote
    assert isinstance(programs.evaluate(MDD, "valid"), Ok)
    assert programs.zygote == before


@pytest.mark.parametrize(
    ("value", "message"), [((1, 2, 3), None), (np.zeros((2, 2)), "with 1 dimension"), (5, "with 1 dimension")]
)
def test_solution_takes_one_array(value, message):
    if message is None:
        assert solution(PROBLEM, value).order.tolist() == [1, 2, 3]
        return
    with pytest.raises(BadSolution, match=message):
        solution(PROBLEM, value)
