"""Published dispatching rules for job shops: lowest first, ties to the lowest job."""

from __future__ import annotations

from collections.abc import Callable

from problems.problem import Baseline
from problems.shop._floor import Operation, Shop


def fifo(op: Operation, shop: Shop) -> float:
    """First in, first out: the operation that has waited longest."""
    return -op.waiting


def spt(op: Operation, shop: Shop) -> float:
    """Shortest processing time."""
    return op.duration


def lpt(op: Operation, shop: Shop) -> float:
    """Longest processing time."""
    return -op.duration


def mwkr(op: Operation, shop: Shop) -> float:
    """Most work remaining in the job."""
    return -op.work_left


def mopnr(op: Operation, shop: Shop) -> float:
    """Most operations remaining in the job."""
    return -op.operations_left


def fdd_mwkr(op: Operation, shop: Shop) -> float:
    """Flow due date (work of the job up to and including this operation) over work remaining."""
    return (op.work_done + op.duration) / op.work_left


def lrm(op: Operation, shop: Shop) -> float:
    """Longest work remaining after this operation."""
    return -op.tail


def winq(op: Operation, shop: Shop) -> float:
    """Least work in the queue of the job's next machine."""
    return op.next_machine_queue


def pt_winq(op: Operation, shop: Shop) -> float:
    """Processing time plus work in the next queue."""
    return op.duration + op.next_machine_queue


def p_over_work_left(op: Operation, shop: Shop) -> float:
    """Processing time over the job's work remaining."""
    return op.duration / op.work_left


def random(op: Operation, shop: Shop) -> float:
    """Any waiting operation."""
    return op.noise


_SURVEY = 'Panwalkar and Iskander (1977), "A survey of scheduling rules", Operations Research 25(1):45-61'
_RANKING = (
    'Chang, Sueyoshi and Sullivan (1996), "Ranking dispatching rules by data envelopment analysis in a job shop '
    'environment", IIE Transactions 28(8):631-642'
)
_COMPARISON = (
    'Sels, Gheysen and Vanhoucke (2012), "A comparison of priority rules for the job shop scheduling problem under '
    'different flow time- and tardiness-related objective functions", International Journal of Production Research '
    "50(15):4255-4270"
)
_QUEUES = (
    'Holthaus and Rajendran (1997), "Efficient dispatching rules for scheduling in a job shop", International Journal '
    "of Production Economics 48(1):87-105"
)


def _rule(function: Callable[[Operation, Shop], float], title: str, citation: str) -> Baseline:
    return Baseline(function.__name__, title, citation, hooks={"priority": function})


RULES = (
    _rule(fifo, "FIFO", _SURVEY),
    _rule(spt, "SPT", _SURVEY),
    _rule(lpt, "LPT", _SURVEY),
    _rule(mwkr, "MWKR", _SURVEY),
    _rule(mopnr, "MOPNR", _SURVEY),
    _rule(fdd_mwkr, "FDD/MWKR", _COMPARISON),
    _rule(lrm, "LRM", _RANKING),
    _rule(winq, "WINQ", _SURVEY),
    _rule(pt_winq, "PT+WINQ", _QUEUES),
    _rule(p_over_work_left, "SPT/TWKR: p / work left", _RANKING),
    _rule(random, "Random", _SURVEY),
)
