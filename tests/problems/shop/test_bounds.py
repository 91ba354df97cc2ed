"""The one-machine bound against all permutations."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.shop._bounds import one_machine_bound

tasks = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5)


def best_without_preemption(jobs) -> int:
    def makespan(order) -> int:
        now = worst = 0
        for head, duration, tail in order:
            now = max(now, head) + duration
            worst = max(worst, now + tail)
        return worst

    return min(map(makespan, permutations(jobs)))


@given(tasks)
@settings(deadline=None)  # the first call compiles
def test_it_is_between_the_simple_bound_and_the_optimum_without_preemption(jobs):
    head, duration, tail = (np.array(column, dtype=float) for column in zip(*jobs, strict=True))
    bound = one_machine_bound(head, duration, tail)
    assert max((head + duration + tail).max(), head.min() + duration.sum() + tail.min()) <= bound
    assert bound <= best_without_preemption(jobs)


def test_preemption_is_used_where_it_helps():
    # The long task (0, 5, 0) yields at 1 to (1, 1, 9): done at 2, with its tail 11; then 2-6.
    head, duration, tail = np.array([0.0, 1.0]), np.array([5.0, 1.0]), np.array([0.0, 9.0])
    assert one_machine_bound(head, duration, tail) == 11
