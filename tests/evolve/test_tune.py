"""``evolve tune``: recovers spoilt constants, keeps only what is better, writes one text."""

import ast
import json

import numpy as np
import pytest

from evaluators.admission.parameters import parameters

# ATC; about 1 is best for K.
SPOILT = """import math

K = param(10.0, low=0.1, high=20.0, log=True)


def priority(job, machine):
    return max(job.slack, 0.0) / (K * machine.mean_duration_left) + math.log(job.duration)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Twenty instances of 20 jobs, most of them late, to tune on and to confirm on."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(5)
    for split in ("train", "valid"):
        (folder / split).mkdir()
        for k in range(20):
            duration = rng.integers(1, 101, 20)
            due = rng.integers(0, duration.sum() * 3 // 5, 20)
            rows = [f"{p},{d}\n" for p, d in zip(duration, due, strict=True)]
            (folder / split / f"{k}.csv").write_text("".join(rows))
    return ["--train", folder / "train", "--valid", folder / "valid"]


def test_a_spoilt_program_is_tuned_written_and_measures_the_same_again(call, own, tmp_path):
    (tmp_path / "rule.py").write_text(SPOILT)
    tuned = tmp_path / "tuned.py"
    arguments = ["machine/total_tardiness", tmp_path / "rule.py", "--evaluations", "60", "--out", tuned, *own, "--json"]
    code, out, _ = call("tune", *arguments)
    found = json.loads(out)
    assert code == 0
    assert found["kept"]
    assert found["splits"]["train"]["high"] < 0
    assert tuned.read_text() == found["source"]
    (parameter,) = parameters(ast.parse(found["source"]))
    assert parameter.value == found["parameters"][0]["after"]  # to the last digit
    code, out, _ = call("evaluate", "machine/total_tardiness", tuned, "--instances", own[1], "--json")
    again = json.loads(out)["objectives"]["ratio_of_sums"]["mean"]
    assert again == found["splits"]["train"]["tuned"]
    # Already tuned: nothing to gain, so the program stays as it is.
    code, out, _ = call(
        "tune", "machine/total_tardiness", tuned, "--evaluations", "3", "--optimiser", "random", *own, "--json"
    )
    assert code == 0
    assert not json.loads(out)["kept"]
    assert json.loads(out)["source"] == tuned.read_text()


def test_literals_are_tuned_on_demand(call, own, tmp_path):
    rule = tmp_path / "rule.py"
    rule.write_text("def priority(job, machine):\n    return 0.25 * job.duration + 3.5 * job.due\n")
    arguments = ["machine/total_tardiness", rule, "--evaluations", "2", *own, "--json"]
    code, _, err = call("tune", *arguments)
    assert code == 2
    assert "lift" in err
    code, out, _ = call("tune", *arguments, "--lift")
    assert code == 0
    assert [p["before"] for p in json.loads(out)["parameters"]] == [0.25, 3.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["machine/total_tardiness", "spt"], "has no param(...)"),
        (["machine/total_tardiness", "eddc"], "a procedure has no constants"),
        (["machine/total_tardiness", "spt", "--optimiser", "cma"], "cmaes"),
        (["machine/total_tardiness", "spt", "--evaluations", "0"], "at least 1"),
        (["machine/total_tardiness", "spt", "--train", "nowhere"], "no such file"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(call, own, arguments, said):
    extra = [] if "--train" in arguments else own
    code, _, err = call("tune", *arguments, *extra)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
