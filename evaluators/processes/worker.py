"""A worker's life: seal, read one program, compile and run it, answer, exit.

Everything below ``live`` runs in a forked child that can do nothing but compute. This is the only
module with a broad except: whatever a program raises becomes an outcome here.
"""

from __future__ import annotations

import gc
import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from evaluators.admission.language import Rejection
from evaluators.compiler.compile import CompiledProgram, CompileFailure, compile_draft
from evaluators.processes import wire
from evaluators.sandbox.reserve import Reserve
from evaluators.sandbox.seal import seal
from problems.problem import NonFiniteScore, Problem

DESCRIPTOR = 3  # the socket to the trusted process, once sealed
# Short simulations are repeated, and the shortest time counts, until this much is spent.
_REPEAT_NS = 2_000_000
_MAX_REPEATS = 5


class Case(NamedTuple):
    """One instance, ready to run."""

    name: str
    data: Any
    simulate: Callable[..., Any]  # (data, *hooks, theta) -> solution


@dataclass
class Prepared:
    """What workers inherit from the zygote."""

    problem: Problem
    probes: list[Case] = field(default_factory=list)
    splits: dict[str, list[Case]] = field(default_factory=dict)


class Order(NamedTuple):
    """What one worker is asked for."""

    split: str
    probe: bool
    timeout_s: float
    memory_bytes: int
    weak: bool
    mode: str = "once"  # or blocks, losses: serve requests until the other end closes


Task = Callable[[str, Order, Prepared], bytes]


def live(descriptor: int, zygote: int, order: Order, prepared: Prepared, task: Task) -> NoReturn:
    """The whole life of a worker, from fork to exit.

    Parameters
    ----------
    descriptor : int
        Socket that the program comes from and the answer goes to.
    zygote : int
        Process that forked this one; when it dies, so does the worker.
    order, prepared
        What to run.
    task : callable
        What to do with the program; ``evaluate`` except in tests of the sandbox.
    """
    status = 1
    try:
        gc.disable()  # it would touch, and so copy, every page shared with the zygote
        try:
            seal(descriptor, zygote, order.memory_bytes, order.timeout_s, order.weak)
        except OSError as error:
            _answer(wire.encode_failure("crashed", "run", f"the worker could not be sealed: {error}"), order)
        else:
            _answer(_attempt(task, _receive(), order, prepared), order)
        status = 0
    finally:
        os._exit(status)


def _attempt(task: Task, source: str, order: Order, prepared: Prepared) -> bytes:
    try:
        with Reserve():
            return task(source, order, prepared)
    except MemoryError as error:
        return wire.encode_failure("out_of_memory", "run", str(error) or "an allocation was refused")
    except BaseException as error:
        return wire.encode_failure("crashed", "run", f"{type(error).__name__}: {error}")


def evaluate(source: str, order: Order, prepared: Prepared) -> bytes:
    """Compile a program, or its draft, and run it on the probes, then on every instance of a split."""
    sealed_at_s = time.monotonic()
    try:
        program = compile_draft(source, prepared.problem)
    except (CompileFailure, Rejection) as error:
        return wire.encode_failure("compile_error", "compile", str(error))
    except MemoryError:
        return wire.encode_failure("out_of_memory", "compile", "compiling took more memory than admitted")
    except Exception as error:
        return wire.encode_failure("compile_error", "compile", f"{type(error).__name__}: {error}")
    compiled_at_s = time.monotonic()
    try:
        # Always: running them also touches the code before it is timed.
        probes = [_simulate(case, program) for case in prepared.probes]
        fingerprint = _fingerprint(probes) if order.probe else bytes(32)
        if order.mode != "once":
            seconds = (sealed_at_s, compiled_at_s - sealed_at_s, time.monotonic() - compiled_at_s)
            return serve(program, prepared, order, fingerprint, seconds)
        solutions, nanoseconds = _run(prepared.splits[order.split], program)
    except _FailedOn as failed:
        return _explain(failed)
    run_s = time.monotonic() - compiled_at_s
    answer = wire.Answer(solutions, nanoseconds, "", sealed_at_s, compiled_at_s - sealed_at_s, run_s, program.compiler)
    return wire.encode_answer(answer, fingerprint)


class _FailedOn(Exception):
    """A simulation raised; the cause says what, the argument on which instance."""


def _simulate(case: Case, program: CompiledProgram) -> Any:
    try:
        return case.simulate(case.data, *program.hooks, program.theta)
    except Exception as error:
        raise _FailedOn(case.name) from error


def _explain(failed: _FailedOn) -> bytes:
    error, place = failed.__cause__, f"on instance {failed}"
    if isinstance(error, NonFiniteScore):
        return wire.encode_failure("non_finite", "run", f"{error} {place}")
    if isinstance(error, MemoryError):
        return wire.encode_failure("out_of_memory", "run", f"an allocation was refused {place}")
    return wire.encode_failure("crashed", "run", f"{type(error).__name__}: {error}, {place}")


def serve(
    program: CompiledProgram, prepared: Prepared, order: Order, fingerprint: bytes, seconds: tuple[float, float, float]
) -> bytes:
    """Solve instances as they are asked for, with other parameters where those come along.

    Which come next, and whether any do, is decided by the trusted process from the answers.

    Parameters
    ----------
    program, prepared, order
        What runs on what.
    fingerprint, seconds
        Go out with the first answer: when the worker was sealed, how long compiling and probes took.
    """
    cases = prepared.splits[order.split]
    while (request := wire.read_request(_read)) is not None:
        chosen = [cases[i] for i in request.positions]
        if order.mode == "losses":
            _frame(wire.encode_losses(losses(chosen, program._replace(theta=request.theta), prepared.problem)))
            continue
        begun_s = time.monotonic()
        solutions, nanoseconds = _run(chosen, program, len(chosen) / len(cases))
        sealed_at_s, compile_s, probe_s = seconds
        run_s = time.monotonic() - begun_s + probe_s
        answer = wire.Answer(solutions, nanoseconds, "", sealed_at_s, compile_s, run_s, program.compiler)
        _frame(wire.encode_answer(answer, fingerprint))
        fingerprint, seconds = bytes(32), (sealed_at_s, 0.0, 0.0)
    return b""


def losses(cases: Sequence[Case], program: CompiledProgram, problem: Problem) -> list[float]:
    """The metric that the primary objective is made of; NaN from the first instance that fails on."""
    found = [math.nan] * len(cases)
    for i, case in enumerate(cases):
        try:
            found[i] = float(problem.measure(case.data, _simulate(case, program))[problem.primary.of])
        except _FailedOn:
            break
    return found


def _run(cases: Sequence[Case], program: CompiledProgram, share: float = 1.0) -> tuple[list[Any], list[int]]:
    """Solve every instance; CPU time per instance is the shortest of a few repeats.

    ``share`` is these instances' share of the split, and of the time for repeats.
    """
    solutions, nanoseconds = [], []
    for case in cases:
        start = time.thread_time_ns()
        solutions.append(_simulate(case, program))
        nanoseconds.append(time.thread_time_ns() - start)
    once = max(sum(nanoseconds), 1)
    for _ in range(min(_MAX_REPEATS, int(share * _REPEAT_NS) // once)):
        for i, case in enumerate(cases):
            start = time.thread_time_ns()
            _simulate(case, program)
            nanoseconds[i] = min(nanoseconds[i], time.thread_time_ns() - start)
    return solutions, nanoseconds


def _fingerprint(solutions: Sequence[Any]) -> bytes:
    """Digest of solutions: equal for programs that decide alike."""
    digest = hashlib.sha256()
    for solution in solutions:
        for array in solution:
            digest.update(np.asarray(array).tobytes())
    return digest.digest()


def _receive() -> str:
    """Read the program: its length in four bytes, then its text."""
    length = int.from_bytes(_read(4), "little")
    return _read(length).decode("utf-8")


def _read(size: int) -> bytes:
    """That many bytes, fewer only where the other end closed."""
    data = b""
    while len(data) < size:
        chunk = os.read(DESCRIPTOR, size - len(data))
        if not chunk:
            break
        data += chunk
    return data


def _answer(data: bytes, order: Order) -> None:
    """The last word of a worker."""
    if order.mode == "once":
        _send(data)
    elif data:
        _frame(data)


def _frame(data: bytes) -> None:
    _send(len(data).to_bytes(8, "little") + data)


def _send(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(DESCRIPTOR, view) :]
