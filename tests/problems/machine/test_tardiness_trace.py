"""An order of jobs in words, checked by hand."""

import numpy as np

from problems.machine._jobs import make_instance
from problems.machine._tardiness_trace import explain, narrate
from problems.machine.total_tardiness import Schedule

DATA = make_instance([4, 2], [3, 6])


def test_the_most_tardy_job_stands_with_what_was_before_it():
    # job 2 ends at 2, in time; job 1 at 6, 3 late
    assert explain(DATA, Schedule(np.array([1, 0]))) == (
        "total tardiness 3, 1 of 2 jobs late, the first at position 2; job 1 (duration 4, due 3) ran at position 2 and "
        "was 3 late, behind 1 jobs due later (longest: 2, due 6)."
    )
    assert narrate(DATA, Schedule(np.array([1, 0]))) == [
        "takes job 2 (duration 2, due 6) at time 0",
        "takes job 1 (duration 4, due 3) at time 2",
    ]


def test_where_no_job_is_late_it_says_so():
    assert explain(make_instance([1, 1], [5, 5]), Schedule(np.array([0, 1]))) == "no job is late."
