"""Champions by group of instances."""

import math

import pytest
from stories import failed

from evaluators.outcome import Ok
from evolve.archives.groups import group_champions
from evolve.program import Candidate, Program
from problems.problem import Objective


def candidate(number, **groups):
    return Candidate(Program(number, "", "import"), Ok({}, {g: {"cost": v} for g, v in groups.items()}, {}, {}))


def champions(candidates, direction="min"):
    objective = Objective("cost", "cost", "1", "mean", direction=direction)
    return [c.program.id for c in group_champions(candidates, objective)]


def test_who_leads_in_a_group_is_kept_though_worse_elsewhere():
    entrants = [
        candidate(0, small=2.0, large=2.0),
        candidate(1, small=9.0, large=1.0),
        candidate(2, small=8.0, large=8.0),
    ]
    assert champions(entrants) == [0, 1]
    assert champions(entrants, "max") == [1, 2]


def test_ties_go_to_the_earlier_and_nobody_is_named_twice():
    assert champions([candidate(3, a=1.0, b=1.0), candidate(2, a=1.0, b=1.0)]) == [3]


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_failures_and_non_finite_values_lead_nowhere(bad):
    assert champions([failed(0), candidate(1, a=bad), candidate(2, a=5.0)]) == [2]
    assert champions([failed(0), candidate(1, a=bad)]) == []
