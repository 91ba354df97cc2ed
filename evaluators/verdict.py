"""From how a worker ended, and what it wrote until then, to an outcome."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Sequence

from evaluators.outcome import Crashed, Failure, Ok, Outcome, TimedOut
from evaluators.processes import wire
from evaluators.processes.executor import Ended
from evaluators.sandbox.limits import Limits
from evaluators.scoring import score
from problems.problem import Instance, Problem


def of_death(ended: Ended, limits: Limits) -> Failure:
    """How a worker ended that gave no answer."""
    if ended.fate == "timed out":
        return timed_out(limits)
    if ended.fate == "flooded":
        return Crashed("run", f"killed for answering more than {limits.result_bytes:,} bytes")
    if ended.code < 0:
        return Crashed("run", f"the worker died of {_signal_name(-ended.code)}")
    return Crashed("run", f"the worker ended with exit code {ended.code} and no answer")


def timed_out(limits: Limits) -> TimedOut:
    """The program passed the time limit."""
    return TimedOut("run", f"killed after {limits.timeout_s:g} s of wall-clock time")


def decoded(data: bytes, problem: Problem, layout: Sequence[wire.Layout], count: int) -> wire.Answer | Failure:
    """What a worker wrote, if it is a failure or so many solutions."""
    try:
        return wire.decode(data, problem.solution, layout, count)
    except wire.BadAnswer as bad:
        return Crashed("run", f"the worker's answer is malformed: {bad}")


def of_answer(answer: wire.Answer, problem: Problem, instances: Sequence[Instance], asked_at_s: float) -> Outcome:
    """Verify and measure solutions here; ``asked_at_s`` is on the clock time.monotonic."""
    received_at_s = time.monotonic()
    outcome = score(problem, instances, answer.solutions, answer.nanoseconds)
    if not isinstance(outcome, Ok):
        return outcome
    cost = {
        "seal_s": max(0.0, answer.sealed_at_s - asked_at_s),
        "compile_s": answer.compile_s,
        "run_s": answer.run_s,
        "transfer_s": max(0.0, received_at_s - answer.sealed_at_s - answer.compile_s - answer.run_s),
        "score_s": time.monotonic() - received_at_s,
    }
    return dataclasses.replace(outcome, fingerprint=answer.fingerprint, cost=cost, compiler=answer.compiler)


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (the machine may be out of memory)" if number == signal.SIGKILL else name
