"""What a server did in words, checked by hand."""

import numpy as np

from problems.queue._jobs import make_instance
from problems.queue._service_trace import explain, narrate
from problems.queue.single_server import Service

# Two jobs at once, of sizes 4 and 2: the first is served 0-4, though it was predicted to be the shorter one.
DATA = make_instance([0, 0], [4, 2], [1, 2])
SERVICE = Service(np.array([0, 1]), np.array([0, 4]), np.array([4, 6]))


def test_the_queue_the_large_jobs_and_those_that_waited_longest():
    # flow times 4 and 6, the mean size 3
    assert explain(DATA, SERVICE) == (
        "mean flow time 1.67 mean sizes; queue peak 2 jobs at 0; the largest tenth of jobs has 40 % of all flow time; "
        "jobs predicted at less than half their size, 50 % of all, have 40 % of it; 0 resumptions; a job of size 0.67 "
        "predicted 0.67 waited 1.33; a job of size 1.3 predicted 0.33 waited 0."
    )


def test_services_stand_in_order_of_time():
    assert narrate(DATA, SERVICE) == [
        "serves job 1 (predicted 1, arrived 0) from 0 to 4",
        "serves job 2 (predicted 2, arrived 0) from 4 to 6",
    ]
