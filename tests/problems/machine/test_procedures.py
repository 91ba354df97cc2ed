"""Procedures against plain Python that recomputes everything."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.machine import _procedures
from problems.machine.total_tardiness import Jobs, make_instance

instances = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 60)), min_size=1, max_size=12).map(
    lambda jobs: make_instance([p for p, _ in jobs], [d for _, d in jobs])
)


def tardiness(data: Jobs, sequence: list[int]) -> int:
    now = total = 0
    for j in sequence:
        now += int(data.duration[j])
        total += max(0, now - int(data.due[j]))
    return total


def swapped(sequence: list[int], i: int, j: int) -> list[int]:
    copy = list(sequence)
    copy[i], copy[j] = copy[j], copy[i]
    return copy


@pytest.mark.parametrize("steepest", [False, True])
@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_no_swap_improves_a_descended_sequence(data, steepest):
    start = _procedures.rule_order(data, False, False)
    before = tardiness(data, start.tolist())
    found = _procedures.swap_descent(data, start, steepest).tolist()
    assert sorted(found) == list(range(len(found)))
    assert tardiness(data, found) <= before
    for i, j in combinations(range(len(found)), 2):
        assert tardiness(data, swapped(found, i, j)) >= tardiness(data, found)


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_steepest_descent_makes_the_first_best_swap(data):
    sequence = _procedures.rule_order(data, False, False).tolist()
    found = _procedures.swap_descent(data, np.array(sequence), True).tolist()
    while True:
        pairs = combinations(range(len(sequence)), 2)
        best = min((swapped(sequence, i, j) for i, j in pairs), key=lambda s: tardiness(data, s), default=sequence)
        if tardiness(data, best) >= tardiness(data, sequence):
            break
        sequence = best
    assert found == sequence


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_first_improvement_makes_each_swap_as_it_is_found(data):
    sequence = _procedures.rule_order(data, False, False).tolist()
    found = _procedures.swap_descent(data, np.array(sequence), False).tolist()
    improved = True
    while improved:
        improved = False
        for i, j in combinations(range(len(sequence)), 2):
            if tardiness(data, swapped(sequence, i, j)) < tardiness(data, sequence):
                sequence, improved = swapped(sequence, i, j), True
    assert found == sequence


def modified_due_date(p: int, d: int, now: int, longest: int, mean: float) -> float:
    return max(now + p, d)


def challenger_score(p: int, d: int, now: int, longest: int, mean: float) -> float:
    u, q = max(1.1 * p + now, d), min(1.0, p / (now + longest))
    return u * (1 + q * q / (1 + q * q)) + p / (now + mean)


@pytest.mark.parametrize("rule", [modified_due_date, challenger_score])
@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_tail_moves_keep_the_best_after_each_append(data, rule):
    p, d = data.duration.tolist(), data.due.tolist()
    sequence: list[int] = []
    while len(sequence) < len(p):
        left = [j for j in range(len(p)) if j not in sequence]
        now, longest, mean = sum(p[j] for j in sequence), max(p[j] for j in left), sum(p[j] for j in left) / len(left)
        sequence.append(min((rule(p[j], d[j], now, longest, mean), p[j], j) for j in left)[2])
        moved = [sequence[:i] + sequence[i + 1 :] + [sequence[i]] for i in range(len(sequence))]
        sequence = min([sequence, *moved], key=lambda s: tardiness(data, s))
    assert _procedures.rule_order(data, rule is challenger_score, True).tolist() == sequence


@settings(deadline=None)  # the first call compiles
@given(data=instances)
def test_eddc_lets_earlier_due_dates_pass_jobs_that_are_on_time(data):
    p, d = data.duration.tolist(), data.due.tolist()
    sequence = sorted(range(len(p)), key=lambda j: (p[j], d[j], j))
    for i in range(1, len(sequence)):
        for k in range(i, 0, -1):
            before, job = sequence[k - 1], sequence[k]
            if not (d[job] < d[before] and d[before] > sum(p[j] for j in sequence[:k])):
                break
            sequence = swapped(sequence, k - 1, k)
    assert _procedures.edd_challenger(data).tolist() == sequence
