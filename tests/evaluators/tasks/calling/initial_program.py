"""A program whose one function gets a function: it cannot run in a process of its own."""


def search(cost):
    """The whole number below 40 of least cost."""
    return min(range(40), key=cost)
