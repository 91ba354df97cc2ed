"""The rules that we ship still do what their record says."""

from pathlib import Path

import pytest

from evolve import heuristic
from evolve.commands.options import evaluate_programs, load_problem

SHOWCASE = Path(__file__).parents[2] / "runs" / "showcase"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in SHOWCASE.glob("*.py")))
def test_a_shipped_rule_has_its_recorded_objectives_on_valid(name):
    source = heuristic.read_source(SHOWCASE / name)
    record = heuristic.record_of(source)
    found, _ = evaluate_programs(
        load_problem(record["problem"]), [heuristic.Named(name, source)], ["valid"], decoder=record["decoder"]
    )
    objectives = found["valid"][name].objectives
    assert {key: objectives[key] for key in record["objectives"]["valid"]} == record["objectives"]["valid"]
