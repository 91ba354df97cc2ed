"""A job-shop schedule in words, checked by hand."""

import numpy as np

from problems.shop._job_shop_trace import explain, narrate
from problems.shop.job_shop import Schedule, make_instance

# Machine 1: job 1 0-3, job 2 3-7. Machine 2: job 1 3-5, job 2 7-8.
DATA = make_instance([[0, 1], [0, 1]], [[3, 2], [4, 1]])
SCHEDULE = Schedule(np.array([[0, 3], [3, 7]]))


def test_idle_time_the_bottleneck_and_the_critical_path():
    assert explain(DATA, SCHEDULE) == (
        "makespan 8; machines idle 38 % of it on average. The busiest, machine 1, has 7 of work, starts at 0 and ends "
        "at 7, idle 0 in between. Job 2 ends last: work 5, waited 3. The critical path has 3 operations and changes "
        "job 1 times; its longest wait is 3, of operation 1 of job 2 for machine 1."
    )


def test_decisions_stand_in_order_of_time():
    assert narrate(DATA, SCHEDULE) == [
        "starts operation 1 of job 1 on machine 1 at 0 (duration 3, work left in the job 5)",
        "starts operation 2 of job 1 on machine 2 at 3 (duration 2, work left in the job 2)",
        "starts operation 1 of job 2 on machine 1 at 3 (duration 4, work left in the job 5)",
        "starts operation 2 of job 2 on machine 2 at 7 (duration 1, work left in the job 1)",
    ]


def test_a_schedule_with_a_gap_that_nothing_explains_has_a_path_all_the_same():
    late = Schedule(np.array([[0, 3], [3, 9]]))
    assert "The critical path has 1 operations" in explain(DATA, late)
