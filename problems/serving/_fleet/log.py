"""The decisions about the size of a fleet, one integer each, in order of time.

Two low bits say what, then stands the place in 8 bits, above it the time in milliseconds. Instances that are up
from the beginning are started at 0.
"""

from __future__ import annotations

from problems._jit import inlined

START, STOP = 0, 1
KIND_BITS, PLACE_BITS = 2, 8
TIME_SHIFT = KIND_BITS + PLACE_BITS


@inlined
def move(kind: int, place: int, at_ms: int) -> int:
    """Entry for an instance that is started or stopped."""
    return (at_ms << TIME_SHIFT) | (place << KIND_BITS) | kind
