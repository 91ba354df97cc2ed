"""The decisions of a deployment, one integer each, in the order in which they were taken."""

from __future__ import annotations

from problems._jit import inlined

# An entry is (number << NUMBER_SHIFT) | (instance << KIND_BITS) | kind.
SENT, HANDED, TURNED = 0, 1, 2  # number: a request, a request, 4 * tick + role
KIND_BITS = 2
NUMBER_SHIFT = 10  # instances have 8 bits


@inlined
def entry(kind: int, i: int, number: int) -> int:
    """Request ``number`` is sent or handed to instance i; or i turns to a role."""
    return (number << NUMBER_SHIFT) | (i << KIND_BITS) | kind
