"""Order transactions so that conflicting ones do not wait: returns the makespan and the schedule."""


# EVOLVE-BLOCK-START
def schedule(durations):
    """First come, first served on two machines."""
    free = [0.0, 0.0]
    plan = []
    for index, duration in enumerate(durations):
        machine = free.index(min(free))
        plan.append((index, machine, free[machine]))
        free[machine] += duration
    return max(free), plan


# EVOLVE-BLOCK-END
