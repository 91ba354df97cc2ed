"""EDDC: shortest first, then earlier due dates pass predecessors that are on time."""

import numpy as np


def solve(instance):
    """Move each job forward past neighbours that are due later and complete before their due date."""
    duration, due = instance.duration.tolist(), instance.due.tolist()
    order = np.lexsort((instance.due, instance.duration)).tolist()
    placed = 0
    for position, job in enumerate(list(order)):
        completion = placed  # of the neighbour before the moving job
        k = position
        while k > 0 and due[job] < due[order[k - 1]] and completion < due[order[k - 1]]:
            completion -= duration[order[k - 1]]
            order[k] = order[k - 1]
            k -= 1
        order[k] = job
        placed += duration[job]
    return order
