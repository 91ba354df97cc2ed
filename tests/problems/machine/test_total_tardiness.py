from __future__ import annotations

import math
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.compiler.compile import CompiledProgram, compile_hooks, simulate
from problems.machine import total_tardiness
from problems.machine._decomposition import least_total_tardiness
from problems.machine.total_tardiness import PROBLEM, Job, Jobs, Machine, Schedule, lower_bounds, make_instance, verify
from problems.problem import Baseline, Infeasible

CLASSIC = Path(__file__).resolve().parents[3] / "../shared/data/classic"
RULES = [baseline.name for baseline in PROBLEM.rules]

# The long job is due first. EDD runs it first; MDD sees that it is late anyway.
LONG_JOB_DUE_FIRST = make_instance([10, 3, 3], [9, 10, 11])

instances = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 60)), min_size=1, max_size=12).map(
    lambda jobs: make_instance([p for p, _ in jobs], [d for _, d in jobs])
)


@cache
def program(rule: str) -> CompiledProgram:
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    return compile_hooks(baseline.source, PROBLEM)


def order(data: Jobs, baseline: str) -> list[int]:
    found = PROBLEM.baseline(baseline)
    assert found is not None
    solution = found.solve(data) if found.solve else simulate(PROBLEM, "append", data, program(baseline))
    return solution.order.tolist()


def tardiness(data: Jobs, sequence: Any) -> int:
    now = total = 0
    for j in sequence:
        now += int(data.duration[j])
        total += max(0, now - int(data.due[j]))
    return total


def described(data: Jobs, placed: list[int]) -> tuple[Machine, dict[int, Job]]:
    """What the hook sees of the machine and of each job left, every sum from scratch."""
    p, d = data.duration.tolist(), data.due.tolist()
    left = [j for j in range(len(p)) if j not in placed]
    now, work_left = sum(p[j] for j in placed), sum(p[j] for j in left)
    machine = Machine(
        now=float(now),
        work_left=float(work_left),
        mean_duration_left=work_left / len(left),
        max_duration_left=float(max(p[j] for j in left)),
        mean_duration=sum(p) / len(p),
        late_left=float(sum(now + p[j] > d[j] for j in left)),
        jobs_left=float(len(left)),
        jobs=float(len(p)),
    )
    jobs = {
        j: Job(
            duration=float(p[j]),
            due=float(d[j]),
            slack=float(d[j] - now - p[j]),
            work_due_sooner=float(sum(p[i] for i in left if d[i] <= d[j])),
            work_shorter=float(sum(p[i] for i in left if p[i] <= p[j])),
        )
        for j in left
    }
    return machine, jobs


def naive_append(data: Jobs, rule: Any) -> list[int]:
    placed: list[int] = []
    while len(placed) < len(data.due):
        machine, jobs = described(data, placed)
        placed.append(min((rule(job, machine), job.duration, j) for j, job in jobs.items())[2])
    return placed


def every_quantity(job, machine):
    """Far from sensible: each field changes the order."""
    first = job.duration + 0.7 * job.due - 0.3 * job.slack + 0.9 * job.work_due_sooner - 1.1 * job.work_shorter
    second = (
        job.duration * machine.mean_duration_left + 0.1 * job.due * machine.late_left - job.slack * machine.jobs_left
    )
    third = (
        job.due - machine.now
    ) * machine.work_left / machine.max_duration_left + job.duration * machine.mean_duration
    return first * machine.jobs + math.sin(second) * third


def test_edd_runs_the_long_job_first_for_a_tardiness_of_nine():
    # Completions 10, 13, 16 against due dates 9, 10, 11.
    assert order(LONG_JOB_DUE_FIRST, "edd") == [0, 1, 2]
    assert tardiness(LONG_JOB_DUE_FIRST, [0, 1, 2]) == 1 + 3 + 5


def test_mdd_runs_the_long_job_last_for_a_tardiness_of_seven():
    # At 0 the modified due dates are 10, 10, 11: the tie goes to the shorter job 1.
    # At 3 they are 13 and 11. Completions 3, 6, 16 against 10, 11, 9.
    assert order(LONG_JOB_DUE_FIRST, "mdd") == [1, 2, 0]
    assert PROBLEM.measure(LONG_JOB_DUE_FIRST, Schedule(np.array([1, 2, 0]))) == {"total_tardiness": 7.0}


def test_seven_is_optimal_there():
    assert min(tardiness(LONG_JOB_DUE_FIRST, p) for p in permutations(range(3))) == 7
    assert least_total_tardiness(LONG_JOB_DUE_FIRST.duration, LONG_JOB_DUE_FIRST.due) == 7


def test_equal_scores_go_to_the_shorter_job_then_to_the_lower_number():
    assert order(make_instance([5, 2, 2], [9, 9, 9]), "edd") == [1, 2, 0]


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_rules_append_like_the_naive_simulator(rule, data):
    baseline = PROBLEM.baseline(rule)
    assert order(data, rule) == naive_append(data, baseline.hooks["priority"])


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_every_quantity_is_what_its_text_says(data):
    source = Baseline("every", "", "", {"priority": every_quantity}).source
    compiled = _every(source)
    assert simulate(PROBLEM, "append", data, compiled).order.tolist() == naive_append(data, every_quantity)


@cache
def _every(source: str) -> CompiledProgram:
    return compile_hooks(source, PROBLEM)


def panwalkar_smith_koulamas(data: Jobs) -> list[int]:
    """PSK step by step: the active job holds against later, longer ones unless a later one is due earlier."""
    p, d = data.duration.tolist(), data.due.tolist()
    left, now, placed = sorted(range(len(p)), key=lambda j: (p[j], j)), 0, []
    while left:
        active = left[0]
        for j in left[1:]:
            if now + p[active] >= d[active] or d[active] <= now + p[j]:
                break
            if d[j] < d[active]:
                active = j
        left.remove(active)
        placed.append(active)
        now += p[active]
    return placed


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_psk_and_mdd_are_one_rule(data):
    assert order(data, "psk") == order(data, "mdd") == panwalkar_smith_koulamas(data)


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_bounds_are_below_the_optimum_and_positive_with_it(data):
    optimum = least_total_tardiness(data.duration, data.due)
    bound = lower_bounds(data)["total_tardiness"]
    assert bound <= optimum
    assert (bound > 0) == (optimum > 0)


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_no_baseline_beats_the_optimum(data):
    optimum = least_total_tardiness(data.duration, data.due)
    assert all(tardiness(data, order(data, baseline.name)) >= optimum for baseline in PROBLEM.baselines)


@settings(deadline=None)  # the first call compiles
@given(data=instances, unit=st.integers(2, 50))
def test_rules_do_not_depend_on_the_unit(data, unit):
    scaled = make_instance(data.duration * unit, data.due * unit)
    for rule in ("edd", "spt", "mdd", "psk"):  # the others round
        assert order(data, rule) == order(scaled, rule)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (np.array([0.0, 1.0, 2.0]), "int64 array, got float64"),
        (np.array([0, 1, 2], dtype=np.int32), "int64 array, got int32"),
        ([0, 1, 2], "int64 array, got list"),
        (np.array([0, 1]), r"shape \(3,\), got \(2,\)"),
        (np.array([[0, 1, 2]]), r"shape \(3,\), got \(1, 3\)"),
        (np.array([0, 1, 3]), r"order\[2\] must be a job in 0\.\.2, got 3"),
        (np.array([0, -1, 2]), r"order\[1\] must be a job in 0\.\.2, got -1"),
        (np.array([0, 2, 2]), r"job 2 is both order\[1\] and order\[2\]"),
    ],
)
def test_verify_names_the_entry_and_the_rule(sequence, message):
    with pytest.raises(Infeasible, match=message):
        verify(LONG_JOB_DUE_FIRST, Schedule(sequence))


@pytest.mark.parametrize(
    ("duration", "due", "message"),
    [
        ([], [], "equal length >= 1"),
        ([1, 2], [1], "equal length"),
        ([[1]], [[1]], "equal length"),
        ([1, 0], [1, 1], "duration must be positive, got 0 at job 1"),
        ([1, 1], [1, -4], "due date must not be negative, got -4 at job 1"),
        ([2**52, 2**52], [1, 1], r"below 2\*\*53"),
        ([1], [2**53], r"below 2\*\*53"),
    ],
)
def test_instances_are_checked(duration, due, message):
    with pytest.raises(ValueError, match=message):
        make_instance(duration, due)


def test_edd_minimises_the_largest_tardiness_that_bounds_are_made_of():
    # One long job: everything after it is late; no order can have a smaller maximum than EDD's 6.
    data = make_instance([8, 1, 1], [2, 9, 12])
    assert lower_bounds(data) == {"total_tardiness": 6.0}


def test_splits_and_probes_are_made_once():
    assert PROBLEM.splits["train"]() is PROBLEM.splits["train"]()
    assert total_tardiness.probes() is total_tardiness.probes()
