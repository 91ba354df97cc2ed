"""A circuit breaker per model: which failures end the use of it, and for how long.

A key, model or quota that cannot work takes a model out for good; many lost calls in a row take it
out for a while, longer each time, since waiting for a provider that is down costs money.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from evolve.answers import Fault

# With this many calls per slot lost in a row, the provider is down and waiting longer costs money.
_LOST_PER_SLOT = 3
# A model that is down is left alone for a while, longer each time, and then tried again.
_FIRST_REST_S, _LONGEST_REST_S = 60.0, 1800.0


class Breaker:
    """Whether a model may be asked now.

    Parameters
    ----------
    slots : int
        How many calls are made at once.
    """

    def __init__(self, slots: int) -> None:
        self.answered = False  # whether any call has worked
        self._most_lost = _LOST_PER_SLOT * slots
        self._lost_in_a_row = 0
        self._out, self._out_until, self._rest_s = "", 0.0, _FIRST_REST_S

    def out(self, clock: Callable[[], float]) -> str:
        """Why no call is to be made now, or an empty string."""
        return self._out if clock() < self._out_until else ""

    def worked(self) -> None:
        """A call gave an answer."""
        self.answered = True
        self._lost_in_a_row, self._rest_s = 0, _FIRST_REST_S

    def failed(self, fault: Fault, reason: str, clock: Callable[[], float]) -> tuple[str, bool]:
        """A call gave none, for the given reason.

        Returns
        -------
        The reason in full, and whether the model is taken out.
        """
        self._lost_in_a_row += 1
        if fault.kind == "fatal" or (fault.kind == "setup" and not self.answered):
            self._out, self._out_until = reason, math.inf
            return reason, True
        down = self._lost_in_a_row >= self._most_lost
        if not down and (fault.kind != "busy" or self.answered):
            return reason, False
        if down:
            reason += f"; {self._lost_in_a_row} calls in a row gave no answer, try again later"
        if not self.out(clock):
            self._out, self._out_until = reason, clock() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        return reason, True
