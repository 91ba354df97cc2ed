"""The books of a fleet's replay: a record per place, the clock, and the rules that a log can break."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from problems._jit import inlined
from problems.serving._cluster.data import DOWN, LOADING, UP
from problems.serving._cluster.service import Shared
from problems.serving._server.ledger import Ledger

DRAINING = 3
FINE, NOT_NEXT, NOT_UP, NO_PLACE, NOT_FIRST, NOT_DOWN, NOT_LIVE, TOO_FEW, EARLY, LATE, NO_TICK = range(11)
BROKEN = (
    "",
    "log entry {at} must be about request {value}, which is next at the router",
    "log entry {at} sends a request to place {value}, where no instance is up",
    "move {at} is about place {value}, which there is not, or is no move",
    "move {at} must be the first start of place {value}, at time 0",
    "move {at} starts an instance at place {value}, where there is one",
    "move {at} stops the instance at place {value}, where there is none, or which is stopped",
    "before move {at}, pool {value} has fewer instances than are always wanted, and a place for one",
    "the log ends after {at} entries, before request {value} is sent",
    "log entry {at} comes after the end",
    "move {at} is not at a tick of the simulation, or out of order",
)

SLOT = np.dtype(
    (
        np.record,
        [
            ("status", np.int64),
            ("begun_s", np.float64),
            ("ready_s", np.float64),
            ("end_s", np.float64),  # of an instance that drains: when it is done, if it does not fail
            ("paid_s", np.float64),
            ("since", np.int64),  # first entry of the log that may be about its instance
            ("left", np.int64),  # of an instance that drains: requests that are not done then
        ],
    )
)
CLOCK = np.dtype(
    (
        np.record,
        [
            ("now_s", np.float64),  # when something last happened
            ("free_s", np.float64),
            ("last_s", np.float64),  # when the last step has ended
            ("tick", np.int64),
            ("failed", np.int64),
            ("arrived", np.int64),
            ("first", np.int64),
            ("queued", np.int64),
            ("sends", np.int64),
            ("moves", np.int64),
            ("broken", np.int64),
            ("at", np.int64),
            ("value", np.int64),
        ],
    )
)


class Books(NamedTuple):
    """All that a replay keeps."""

    ledger: Ledger
    shared: Shared
    slot: np.ndarray  # (places,) SLOT
    clock: np.ndarray  # (1,) CLOCK
    at_s: np.ndarray  # (n,) float64, when a request was last sent
    sent_s: np.ndarray  # (entries of the log,) float64
    back: np.ndarray  # (n,) int64, ring of requests that failures have sent back
    back_s: np.ndarray  # (n,) float64


@inlined
def break_rule(books: Books, broken: int, at: int, value: int) -> None:
    """Note the first broken rule."""
    clock = books.clock[0]
    if clock.broken == FINE:
        clock.broken, clock.at, clock.value = broken, at, value


@inlined
def send_back(books: Books, left: np.ndarray, now_s: float) -> None:
    """Requests go back to the router."""
    clock = books.clock[0]
    for k in range(len(left)):
        place = (clock.first + clock.queued) % len(books.back)
        books.back[place], books.back_s[place] = left[k], now_s
        clock.queued += 1


@inlined
def wake(books: Books, now_s: float) -> None:
    """Something happens: what has loaded is up."""
    books.clock[0].now_s = now_s
    for i in range(len(books.slot)):
        if books.slot[i].status == LOADING and books.slot[i].ready_s <= now_s:
            books.slot[i].status = UP


@inlined
def gone(slot: Any, end_s: float) -> None:
    """An instance is paid for and gone."""
    slot.paid_s += end_s - slot.begun_s
    slot.status = DOWN
