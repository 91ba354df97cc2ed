"""The decisions of a router, one integer each: enough to replay a simulation without its rule."""

from __future__ import annotations

from problems._jit import inlined

SERVER_BITS = 8


@inlined
def sent_to(r: int, i: int) -> int:
    """Entry for request r at server i."""
    return (r << SERVER_BITS) | i
