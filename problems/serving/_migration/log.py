"""The migrations that a rule starts, one integer each, in order of time; and what becomes of them.

Above the server in 8 bits and the request in 24 stands the number of the tick.
"""

from __future__ import annotations

from problems._jit import inlined
from problems.serving._cluster.log import SERVER_BITS

REQUEST_BITS = 24
MOST_REQUESTS = 1 << REQUEST_BITS
MOST_TICKS = 1 << 31

# What becomes of a migration.
LOST = 0  # the request finished, was preempted or admitted before; or the simulation ended
REFUSED = 1  # the target lacked memory or a place, so the request stayed
QUEUED = 2  # it waits at the target
JOINED = 3  # it decodes at the target
RECOMPUTED = 4  # what was free at the target is not any more: it waits there, to be computed anew


@inlined
def migration(tick: int, r: int, target: int) -> int:
    """Entry for request r, which goes to a server."""
    return (tick << (REQUEST_BITS + SERVER_BITS)) | (r << SERVER_BITS) | target
