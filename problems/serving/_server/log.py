"""The decisions of a simulation, one integer each: enough to replay it without its rules.

Two low bits say what: a step, an admission, a preemption, or a wait. Above them stands the
request; of a step, whether it decodes (1 bit), how often it is repeated (32 bits), and its prompt tokens.
"""

from __future__ import annotations

import numpy as np

from problems._jit import inlined

STEP, ADMIT, EVICT, WAIT = 0, 1, 2, 3
KEEP = WAIT  # in place of waits, which servers of programs do not know
KIND_BITS, REPEAT_BITS, NUMBER_BITS = 2, 32, 24
REPEAT_SHIFT = KIND_BITS + 1
PREFILL_SHIFT = REPEAT_SHIFT + REPEAT_BITS

# Where rules may preempt as they like, a wait with a code says more: a request is swapped out, or goes behind the
# other prompts; a step is cut after so many segments, or goes on.
SWAP, RANK, CUT, RESUME = 1, 2, 3, 4
CODE_BITS = 3
CODE_MASK = (1 << CODE_BITS) - 1


@inlined
def more(code: int, number: int) -> int:
    """Entry with a code and a request or number of segments."""
    return WAIT | (code << KIND_BITS) | (number << (KIND_BITS + CODE_BITS))


@inlined
def subject(entry: int) -> int:
    """The request that an entry is about; of a cut, the number of segments."""
    return entry >> (KIND_BITS + CODE_BITS) if entry & 3 == WAIT else entry >> KIND_BITS


@inlined
def about(kind: int, r: int) -> int:
    """Entry for an admission or a preemption of request r."""
    return kind | (r << KIND_BITS)


@inlined
def keep_entry(r: int, milliseconds: int) -> int:
    """Entry for the context of call r, which stays in the KV cache for so long."""
    return KEEP | (r << KIND_BITS) | (milliseconds << (KIND_BITS + NUMBER_BITS))


@inlined
def step_entry(prefill: int, decode: int, repeats: int) -> int:
    """Entry for equal steps in a row."""
    return STEP | (decode << KIND_BITS) | (repeats << REPEAT_SHIFT) | (prefill << PREFILL_SHIFT)


@inlined
def with_room(log: np.ndarray, used: int, more: int) -> np.ndarray:
    """The log itself, or a longer copy of it, with room for so many more entries."""
    if used + more <= log.size:
        return log
    longer = np.empty(2 * log.size + more, np.int64)
    longer[:used] = log[:used]
    return longer
