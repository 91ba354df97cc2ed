"""Sequencing procedures for total tardiness that look back at what they have placed.

They are opponents of dispatching rules, not rules: each works on a whole partial sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems._jit import inlined, kernel
from problems.machine._jobs import Jobs


def edd_challenger(data: Jobs) -> np.ndarray:
    """EDDC: the (n,) job order from shortest first, where earlier due dates pass predecessors that are on time."""
    order = np.lexsort((data.due, data.duration))
    _bubble(data, order)
    return order


@kernel
def _bubble(data: Jobs, order: np.ndarray) -> None:
    """Move each job of order forward past neighbours that are due later and complete before their due date."""
    placed = 0
    for i, job in enumerate(order.copy()):
        completion = placed  # of the neighbour before the moving job
        j = i
        while j > 0 and data.due[job] < data.due[order[j - 1]] and completion < data.due[order[j - 1]]:
            completion -= data.duration[order[j - 1]]
            order[j] = order[j - 1]
            j -= 1
        order[j] = job
        placed += data.duration[job]


@kernel
def rule_order(data: Jobs, challenger: bool, tail_moves: bool) -> np.ndarray:
    """Append jobs by MDD, or by MDDC if challenger; with tail_moves repair the sequence after each.

    A tail move takes one placed job to the end of the partial sequence. The best one that lowers
    its total tardiness is made (ties: the earliest position), at most one after each append.

    Returns
    -------
    (n,) int64 job order.
    """
    order = np.arange(len(data.duration))
    now, work_left = 0, data.duration.sum()
    for k in range(len(order)):
        chosen = _choose(data, order[k:], now, work_left, challenger)
        order[k], order[k + chosen] = order[k + chosen], order[k]
        now += data.duration[order[k]]
        work_left -= data.duration[order[k]]
        if tail_moves:
            _move_to_tail(data, order[: k + 1], now)
    return order


@kernel
def _choose(data: Jobs, left: np.ndarray, now: int, work_left: int, challenger: bool) -> int:
    """Index in left of the job with the lowest score; ties go to the shorter, then to the lower job."""
    longest_left = 0
    for job in left:
        longest_left = max(longest_left, data.duration[job])
    chosen, lowest = -1, np.inf
    for i, job in enumerate(left):
        p, d = data.duration[job], data.due[job]
        score = float(max(now + p, d))
        if challenger:
            inflated = max(1.1 * p + now, d)
            share = min(1.0, p / (now + longest_left))
            score = inflated * (1.0 + share**2 / (1.0 + share**2)) + p / (now + work_left / len(left))
        tied = score == lowest and (p, job) < (data.duration[left[chosen]], left[chosen])
        if score < lowest or tied:
            chosen, lowest = i, score
    return chosen


@kernel
def _move_to_tail(data: Jobs, order: np.ndarray, end: int) -> None:
    """Make the best tail move in order, whose last job completes at end, if it lowers total tardiness."""
    most, best = 0, -1
    completion = 0
    last = len(order) - 1
    for i in range(last):
        moved = order[i]
        length = data.duration[moved]
        completion += length
        gain = max(0, completion - data.due[moved]) - max(0, end - data.due[moved])
        later = completion
        for job in order[i + 1 :]:
            later += data.duration[job]
            gain += max(0, later - data.due[job]) - max(0, later - length - data.due[job])
        if gain > most:
            most, best = gain, i
    if best >= 0:
        moved = order[best]
        order[best:last] = order[best + 1 :].copy()
        order[last] = moved


class _Sequence(NamedTuple):
    """A complete sequence; k is a position in it."""

    order: np.ndarray  # (n,) int64, order[k] is a job
    completion: np.ndarray  # (n,) int64, when it completes
    tardiness_before: np.ndarray  # (n + 1,) int64, total tardiness of the positions before k


@kernel
def swap_descent(data: Jobs, order: np.ndarray, steepest: bool) -> np.ndarray:
    """Swap two jobs of order while that lowers total tardiness.

    Pairs of positions i < j are scanned by i, then j. Steepest: each scan ends with its best swap
    (ties: the first found). Otherwise each swap that helps is made at once.

    Returns
    -------
    (n,) int64 job order; the one given is changed.
    """
    n = len(order)
    sequence = _Sequence(order, np.zeros(n, np.int64), np.zeros(n + 1, np.int64))
    _complete(data, sequence)
    improved = True
    while improved:
        improved = False
        most, best_i, best_j = 0, -1, -1
        for i in range(n - 1):
            for j in range(i + 1, n):
                gain = _swap_gain(data, sequence, i, j, most)
                if gain > most and steepest:
                    most, best_i, best_j = gain, i, j
                elif gain > most:
                    _swap(data, sequence, i, j)
                    improved = True
        if best_i >= 0:
            _swap(data, sequence, best_i, best_j)
            improved = True
    return order


@kernel
def _complete(data: Jobs, sequence: _Sequence) -> None:
    """Bring completion and tardiness_before up to date with order."""
    now = 0
    for k, job in enumerate(sequence.order):
        now += data.duration[job]
        sequence.completion[k] = now
        sequence.tardiness_before[k + 1] = sequence.tardiness_before[k] + max(0, now - data.due[job])


@kernel
def _swap(data: Jobs, sequence: _Sequence, i: int, j: int) -> None:
    """Swap positions i and j."""
    sequence.order[i], sequence.order[j] = sequence.order[j], sequence.order[i]
    _complete(data, sequence)


@inlined
def _swap_gain(data: Jobs, sequence: _Sequence, i: int, j: int, needed: int) -> int:
    """By how much total tardiness falls when positions i < j are swapped; needed if not by more than that."""
    first, second = sequence.order[i], sequence.order[j]
    end_i, end_j = sequence.completion[i], sequence.completion[j]
    shift = data.duration[first] - data.duration[second]  # by which the jobs between complete sooner
    gain = max(0, end_i - data.due[first]) - max(0, end_j - data.due[first])
    gain += max(0, end_j - data.due[second]) - max(0, end_i - shift - data.due[second])
    # The jobs between cannot gain more than this: most pairs are settled without looking at them.
    most = 0
    if shift > 0:
        most = min(sequence.tardiness_before[j] - sequence.tardiness_before[i + 1], shift * (j - i - 1))
    if gain + most <= needed:
        return needed
    if shift != 0:
        for k in range(i + 1, j):
            late = sequence.completion[k] - data.due[sequence.order[k]]
            gain += max(0, late) - max(0, late - shift)
    return gain
