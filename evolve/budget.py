"""Budgets: the worst case is reserved before a step and settled after it; no cap is ever passed.

What is spent plus what is reserved never exceeds a cap, however many callers there are, as long
as no step settles for more than it reserved. Wall seconds pass by themselves: they are not
reserved, but once they are over nothing else can be.

A budget may be split: what a child is given leaves its parent until the child is closed, so that
children and parent together can spend no more than the parent alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from evolve.amounts import RESERVABLE, BudgetLimits, cap_units, from_units, show_units, to_units

__all__ = ["Budget", "BudgetExhausted", "BudgetLimits", "Reservation"]


class BudgetExhausted(Exception):
    """A step does not fit any more; ``temporary`` if it may once the steps under way have settled."""

    def __init__(self, message: str, *, resource: str, temporary: bool = False) -> None:
        super().__init__(message)
        self.resource = resource
        self.temporary = temporary


class Reservation:
    """Amounts held back for one step, until ``settle`` or ``release``.

    As a context manager it is released if the block raises, and settled in full if the block ends
    without saying what was spent.
    """

    def __init__(self, budget: Budget, units: Mapping[str, int]) -> None:
        self._budget = budget
        self._units = dict(units)
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether it was neither settled nor released yet."""
        return self._open

    @property
    def amounts(self) -> dict[str, float]:
        """What is (or was) held back, by resource."""
        return {name: from_units(name, units) for name, units in self._units.items()}

    def settle(self, **actual: float) -> None:
        """Book what was spent; a reserved resource that is not named counts as reserved.

        More than was reserved is booked as it is, since it is spent: the budget then shows it.

        Raises
        ------
        RuntimeError
            If it was settled or released before.
        ValueError
            If an amount is negative or not finite, or its resource was not reserved.
        """
        foreign = sorted(set(actual) - set(self._units))
        if foreign:
            raise ValueError(f"{foreign[0]} was not reserved; reserved: {', '.join(self._units)}")
        self._end({**self._units, **{name: to_units(name, amount) for name, amount in actual.items()}})

    def release(self) -> None:
        """Give everything back unspent.

        Raises
        ------
        RuntimeError
            If it was settled or released before.
        """
        self._end({})

    def _end(self, spent: Mapping[str, int]) -> None:
        with self._budget._lock:
            if not self._open:
                raise RuntimeError("this reservation was settled or released before")
            self._budget._demand_open()
            self._open = False
            self._budget._book(self._units, spent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._open:
            return
        if kind is None:
            self.settle()
        else:
            self.release()


class Budget:
    """Spent and reserved amounts of one run; safe to use from several threads and event loops.

    As a context manager it is closed at the end of the block.
    """

    def __init__(self, limits: BudgetLimits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or BudgetLimits()
        self._clock = clock
        self._started = clock()
        self._seconds_before = 0.0
        self._spent = dict.fromkeys(RESERVABLE, 0)
        self._reserved = dict.fromkeys(RESERVABLE, 0)
        self._caps = {name: cap_units(name, getattr(self.limits, name)) for name in RESERVABLE}
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._share: Reservation | None = None  # of a child, what its parent holds back for it
        self._closed = False

    def restore(self, spent: Mapping[str, float]) -> None:
        """Add what an earlier session spent, as ``spent`` reported it.

        Raises
        ------
        ValueError
            If a resource is unknown, or an amount negative or not finite.
        """
        units = {name: to_units(name, amount) for name, amount in spent.items() if name != "seconds"}
        with self._lock:
            self._demand_open()
            self._seconds_before += spent.get("seconds", 0.0)
            for name, amount in units.items():
                self._spent[name] += amount

    def reserve(self, **amounts: float) -> Reservation:
        """Hold the worst case of a step back.

        Raises
        ------
        BudgetExhausted
            If it does not fit; the message names resource, cap and what is spent.
        ValueError
            If a resource is unknown, or an amount negative, not finite or (counts) not whole.
        RuntimeError
            If the budget was closed.
        """
        units = {name: to_units(name, amount) for name, amount in amounts.items()}
        with self._lock:
            refusal = self._refusal(units)
            if refusal is not None:
                raise refusal
            for name, amount in units.items():
                self._reserved[name] += amount
        return Reservation(self, units)

    async def reserve_later(self, **amounts: float) -> Reservation:
        """Like reserve, but wait while steps under way may still give enough back."""
        loop = asyncio.get_running_loop()
        while True:
            freed = loop.create_future()
            # Entered before the attempt, so that no settlement between the two is missed.
            entry = (loop, freed)
            with self._lock:
                self._waiting.append(entry)
            try:
                return self.reserve(**amounts)
            except BudgetExhausted as refusal:
                if not refusal.temporary:
                    raise
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.remaining()["seconds"]):
                        await freed
            finally:
                with self._lock:
                    if entry in self._waiting:
                        self._waiting.remove(entry)

    def split(self, *, seconds: float | None = None, **amounts: float) -> Budget:
        """Hand part of what is left to a child; close it to get back what it did not use.

        Parameters
        ----------
        seconds : float, optional
            Wall seconds the child may take, within those this budget has left.
        **amounts
            What the child may spend. Of a resource that is not named it gets nothing where this
            budget has a cap, and has no limit where this one has none.

        Raises
        ------
        BudgetExhausted
            If less is left than is asked for.
        """
        share = self.reserve(**amounts)
        left_s = self.remaining()["seconds"]
        if left_s is not None:
            seconds = left_s if seconds is None else min(seconds, left_s)
        caps = {name: share._units.get(name, None if cap is None else 0) for name, cap in self._caps.items()}
        limits: dict[str, Any] = {name: None if cap is None else from_units(name, cap) for name, cap in caps.items()}
        child = Budget(BudgetLimits(seconds=seconds, **limits), clock=self._clock)
        child._caps = caps  # exactly: limits are rounded
        child._share = share
        return child

    def close(self) -> None:
        """End the use of this budget; a child's spending moves to its parent, the rest goes back.

        A step that is still under way may yet be charged, so it is booked in full; to settle or
        release it afterwards is an error, like any other use.

        Raises
        ------
        RuntimeError
            If it was closed before, or its parent was.
        """
        with self._lock:
            self._demand_open()
            self._book(dict(self._reserved), dict(self._reserved))
            self._closed = True
        if self._share is not None:
            self._share._end(self._spent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def affords(self, **amounts: float) -> bool:
        """Whether ``reserve`` would succeed now."""
        with self._lock:
            return self._refusal({name: to_units(name, amount) for name, amount in amounts.items()}) is None

    def spent(self) -> dict[str, float]:
        """What is spent, by resource; seconds are wall seconds since the start."""
        with self._lock:
            return {
                **{name: from_units(name, units) for name, units in self._spent.items()},
                "seconds": self._elapsed(),
            }

    def reserved(self) -> dict[str, float]:
        """What is held back for steps under way, by resource."""
        with self._lock:
            return {name: from_units(name, units) for name, units in self._reserved.items()}

    def remaining(self) -> dict[str, float | None]:
        """What can still be reserved, by resource, never below 0; None is unlimited."""
        with self._lock:
            left: dict[str, float | None] = {}
            for name, cap in self._caps.items():
                used = self._spent[name] + self._reserved[name]
                left[name] = None if cap is None else from_units(name, max(cap - used, 0))
            cap_s = self.limits.seconds
            left["seconds"] = None if cap_s is None else max(cap_s - self._elapsed(), 0.0)
            return left

    def _elapsed(self) -> float:
        return self._seconds_before + self._clock() - self._started

    def _demand_open(self) -> None:
        if self._closed:
            raise RuntimeError("this budget was closed")

    def _refusal(self, units: Mapping[str, int]) -> BudgetExhausted | None:
        self._demand_open()
        cap_s, elapsed_s = self.limits.seconds, self._elapsed()
        if cap_s is not None and elapsed_s >= cap_s:
            return BudgetExhausted(f"budget exhausted: {elapsed_s:.0f} of {cap_s:g} seconds spent", resource="seconds")
        refusals = []
        for name, asked in units.items():
            cap, spent, reserved = self._caps[name], self._spent[name], self._reserved[name]
            if cap is not None and spent + reserved + asked > cap:
                show = [show_units(name, amount) for amount in (spent, cap, reserved, asked)]
                message = (
                    "budget exhausted: {} of {} {name} spent, {} reserved for steps under way, the next may need {}"
                )
                text = message.format(*show, name=name)
                refusals.append(BudgetExhausted(text, resource=name, temporary=spent + asked <= cap))
        # A final refusal goes first: waiting for the others would be in vain.
        return min(refusals, key=lambda refusal: refusal.temporary, default=None)

    def _book(self, reserved: Mapping[str, int], spent: Mapping[str, int]) -> None:
        for name, units in reserved.items():
            self._reserved[name] -= units
        for name, units in spent.items():
            self._spent[name] += units
        for loop, freed in self._waiting:
            # a loop that has been closed meanwhile has nobody waiting
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_wake, freed)
        self._waiting.clear()


def _wake(freed: asyncio.Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
