"""MDD, where after each append the best move of a placed job to the tail is made if it helps."""

import numpy as np


def move_to_tail(order, duration, due):
    """The order after its best tail move (ties: the earliest position), or as it was."""
    p, d = duration[order], due[order]
    completion = np.cumsum(p)
    late = np.maximum(completion - d, 0)
    # sooner[i, j]: tardiness of the job at j > i once the job at i no longer stands before it
    sooner = np.maximum(completion[None, :] - p[:, None] - d[None, :], 0)
    behind = np.triu(np.ones((len(order), len(order)), dtype=bool), 1)
    gain = np.where(behind, late[None, :] - sooner, 0).sum(axis=1)
    gain += late - np.maximum(completion[-1] - d, 0)
    best = int(np.argmax(gain))
    return [*order[:best], *order[best + 1 :], order[best]] if gain[best] > 0 else order


def solve(instance):
    """Order built from the front, repaired after each job."""
    left = np.argsort(instance.duration, kind="stable")
    order, now = [], 0
    while len(left):
        modified = np.maximum(now + instance.duration[left], instance.due[left])
        chosen = int(np.argmin(modified))
        order.append(int(left[chosen]))
        now += int(instance.duration[left[chosen]])
        left = np.delete(left, chosen)
        order = move_to_tail(order, instance.duration, instance.due)
    return order
