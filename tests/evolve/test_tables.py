"""What tables and JSON show of numbers and programs."""

import json

import pytest

from evaluators.outcome import Ok, TimedOut
from evolve import tables
from problems import registry

PROBLEM = registry.load("shop/job_shop")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (0.1234, "0.12"),
        (99.99, "99.99"),
        (123.45, "123.5"),
        (12345.6, "12346"),
    ],
)
def test_figures_keep_what_is_worth_reading(value, shown):
    assert tables.figure(value) == shown


def test_json_has_null_for_what_does_not_apply(capsys):
    tables.print_json({"gap": float("nan"), "rows": [float("inf"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"gap": None, "rows": [None, 1.5]}


def test_an_evaluation_lists_each_instance_with_its_reference():
    instances = PROBLEM.probes()[:2]
    outcome = Ok({"gap": 1.0, "decision_time": 5.0}, {}, {"gap": [0.5, 1.5]}, {"makespan": [10.0, 20.0]})
    found = tables.evaluation_json(PROBLEM, "spt", "probes", "non-delay", outcome, instances)
    first = found["instances"][0]
    assert (first["name"], first["gap"], first["makespan"]) == (instances[0].name, 0.5, 10.0)
    assert first["makespan_reference"] == instances[0].references["makespan"].value
    assert found["objectives"]["gap"] == {"mean": 1.0, "unit": "%", "direction": "min"}


def test_a_failed_evaluation_says_stage_and_reason():
    found = tables.evaluation_json(PROBLEM, "x", "train", "non-delay", TimedOut("run", "killed after 10 s"), [])
    assert (found["outcome"], found["stage"], found["reason"]) == ("timed_out", "run", "killed after 10 s")
    assert found["objectives"] == {}
