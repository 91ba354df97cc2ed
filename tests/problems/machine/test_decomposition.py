from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.machine._decomposition import MAX_JOBS, MAX_WORK, least_total_tardiness

ROOT = Path(__file__).resolve().parents[3]
CLASSIC = ROOT / "../shared/data/classic"


def least_by_subsets(duration: list[int], due: list[int]) -> int:
    """Dynamic program over all subsets: the last job of a subset completes at the subset's work."""
    n = len(duration)
    work = [sum(duration[j] for j in range(n) if subset >> j & 1) for subset in range(2**n)]
    least = [0] * 2**n
    for subset in range(1, 2**n):
        least[subset] = min(least[subset ^ 1 << j] + max(0, work[subset] - due[j]) for j in range(n) if subset >> j & 1)
    return least[-1]


@settings(max_examples=500, deadline=None)
@given(jobs=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), min_size=1, max_size=8))
def test_decomposition_equals_brute_force(jobs):
    duration, due = [p for p, _ in jobs], [d for _, d in jobs]
    assert least_total_tardiness(np.array(duration), np.array(due)) == least_by_subsets(duration, due)


@settings(max_examples=200, deadline=None)
@given(jobs=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12)), min_size=8, max_size=10))
def test_equal_durations_and_due_dates_do_not_mislead(jobs):
    duration, due = [p for p, _ in jobs], [d for _, d in jobs]
    assert least_total_tardiness(np.array(duration), np.array(due)) == least_by_subsets(duration, due)


@pytest.mark.parametrize("jobs", [20, 50, 100, 200])
def test_optima_of_the_own_seed_sets_are_proved(jobs):
    file = CLASSIC / f"smtt_n{jobs}.json"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    for k, instance in enumerate(json.loads(file.read_text())["instances"]):
        found = least_total_tardiness(np.array(instance["p"]), np.array(instance["d"]))
        assert found == instance["opt"], f"instance {k}"


def test_three_jobs_by_hand():
    # Order 0, 1, 2 has tardiness 1 + 3 + 5, order 1, 2, 0 has 0 + 0 + 7.
    assert least_total_tardiness(np.array([10, 3, 3]), np.array([9, 10, 11])) == 7


def test_too_few_subproblems_leave_it_unsolved():
    rng = np.random.default_rng(0)
    duration, due = rng.integers(1, 100, 40), rng.integers(0, 1000, 40)
    assert least_total_tardiness(duration, due, max_states=3) is None
    assert least_total_tardiness(duration, due) is not None


def test_what_does_not_fit_a_memo_key_is_left_unsolved():
    many = np.ones(MAX_JOBS + 1, np.int64)
    assert least_total_tardiness(many, many) is None
    assert least_total_tardiness(np.array([MAX_WORK, 1]), np.array([0, 0])) is None


def test_the_largest_jobs_that_fit_a_memo_key_are_solved():
    half = MAX_WORK // 2
    assert least_total_tardiness(np.array([half, half - 1, 1]), np.array([0, 0, 0])) == 1 + half + MAX_WORK


def test_the_cached_solver_loads_in_a_fresh_process():
    # numba crashes when it loads some recursive functions from its cache: see _least.
    code = (
        "import numpy as np; from problems.machine._decomposition import least_total_tardiness as f;"
        "print(f(np.array([10, 3, 3]), np.array([9, 10, 11])))"
    )
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True)
        assert (run.returncode, run.stdout.strip()) == (0, "7"), run.stderr
