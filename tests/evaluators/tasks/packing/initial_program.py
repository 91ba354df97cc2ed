"""Pack items into bins of capacity 1: the fewer bins, the better."""


def helper(item, free):
    """Whether an item still fits."""
    return item <= free + 1e-9


# EVOLVE-BLOCK-START
def pack(items):
    """Next fit: a new bin whenever an item does not fit the last one."""
    bins, free = [], 0.0
    for index, item in enumerate(items):
        if not bins or not helper(item, free):
            bins.append([])
            free = 1.0
        bins[-1].append(index)
        free -= item
    return bins


# EVOLVE-BLOCK-END
