"""Evaluating whole programs: sealed workers answer instance by instance, all judging is done here.

A worker gets an instance only after it answered the one before, and has ``solver.seconds`` of
wall-clock time for each; so nothing can be computed ahead, and no clock of the worker is believed.
What comes back is a plain value (see frames.py), made a solution, verified and measured here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import socket
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators import python_worker, verdict
from evaluators.admission.python_policy import MODULES, admit_program
from evaluators.evaluator import Evaluator
from evaluators.outcome import FAILURES, Crashed, Failure, Infeasible, Ok, Outcome, TimedOut
from evaluators.processes import frames
from evaluators.processes.channel import Channel
from evaluators.racing import Race
from evaluators.sandbox.limits import Limits
from evaluators.scoring import score
from problems.problem import Instance, Problem

# Paces, not this, end a slow program: it only keeps a worker from outliving an evaluator that stands still.
_MOST_S = 3600.0
_GRACE_S = 0.25  # fork, seal and the way through two sockets
_ANSWER_BYTES = 2**20  # on top of sixteen times the instance
_FAILURES = ("crashed", "infeasible", "out_of_memory")  # what a worker may say of itself


class BadSolution(ValueError):
    """A value that is no solution of the problem's form; the message says what is wanted."""


def solution(problem: Problem, value: Any) -> Any:
    """The problem's solution tuple from what a program returned.

    Parameters
    ----------
    problem : Problem
        In Python mode; its ``solver.arrays`` gives dtype and dimensions by field.
    value : object
        An array, a list or a number for a solution of one field, else a dictionary by field or a
        tuple in the order of the fields.

    Raises
    ------
    BadSolution
        If a field is missing, or is not an array of the declared type and dimensions. Numbers are
        converted only where no value changes.
    """
    assert problem.solver is not None
    arrays = problem.solver.arrays
    if isinstance(value, dict):
        given = value
    elif len(arrays) == 1 and not (isinstance(value, tuple) and len(value) == 1 and np.ndim(value[0]) > 0):
        given = {next(iter(arrays)): value}
    elif isinstance(value, tuple | list) and len(value) == len(arrays):
        given = dict(zip(arrays, value, strict=True))
    else:
        raise BadSolution(f"solve must return {', '.join(arrays)}, got {_described(value)}")
    missing = [name for name in arrays if name not in given]
    if missing:
        raise BadSolution(f"solve must return {', '.join(arrays)}: {missing[0]!r} is missing")
    return problem.solution(*(_array(name, given[name], *form) for name, form in arrays.items()))


def _array(name: str, value: Any, dtype: str, dimensions: int) -> np.ndarray:
    wanted = f"{name} must be an array of {dtype} with {dimensions} dimension{'s' * (dimensions != 1)}"
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal length
        raise BadSolution(f"{wanted}, got lists of unequal length") from None
    if array.size == 0 and array.ndim == dimensions:
        return np.zeros(array.shape, dtype)
    if array.dtype.kind not in "iufb" or array.ndim != dimensions:
        raise BadSolution(f"{wanted}, got {_described(value)}")
    with np.errstate(invalid="ignore"):
        found = array.astype(dtype)
    if not np.array_equal(found.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"):
        raise BadSolution(f"{wanted}, got numbers that are no {dtype}")
    return found


def _described(value: Any) -> str:
    if value is None:
        return "None: does every path return?"
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"{type(value).__name__}{shape}"


class PythonEvaluator(Evaluator):
    """Evaluates the programs of a problem in Python mode; see Evaluator.

    ``limits.timeout_s`` is not used: each instance has the time that the problem's solver declares.
    """

    task = "evaluators.python_worker:serve"

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "timeout_s": _MOST_S, "prepared": self._modules}

    @property
    def _modules(self) -> tuple[str, ...]:
        return MODULES

    @property
    def _worker_limits(self) -> Limits:
        return dataclasses.replace(self.limits, timeout_s=_MOST_S)

    def _admit(self, source: str) -> None:
        admit_program(source, self.problem)

    async def evaluate(self, source: str, split: str, *, probe: bool = True, race: Race | None = None) -> Outcome:
        """Evaluate a program on a split, in full: there are no races in this mode.

        With ``probe`` also fingerprint its answers on the probes.
        """
        if refusal := self.refusal(source):
            return refusal
        instances = self.instances(split)
        probes = self.problem.probes() if probe else ()
        async with self._slots, self._alone_at_first():
            asked_at_s = time.monotonic()
            talk = _Talk(self.problem, [*probes, *instances])
            ended = await self._run(source, split, probe, talk=talk)
            if isinstance(ended, Failure):
                return ended
            failure = (
                talk.failure or verdict.of_death(ended, self.limits)
                if len(talk.solutions) < len(talk.instances)
                else None
            )
            if failure is not None:
                return failure
            answered_at_s = time.monotonic()
            n = len(probes)
            outcome = score(self.problem, instances, talk.solutions[n:], talk.nanoseconds[n:])
            self._verified |= isinstance(outcome, Ok)
        if not isinstance(outcome, Ok):
            return outcome
        cost = {"run_s": answered_at_s - asked_at_s, "score_s": time.monotonic() - answered_at_s}
        fingerprint = _fingerprint(talk.solutions[:n]) if probe else ""
        return dataclasses.replace(outcome, fingerprint=fingerprint, cost=cost)


class _Talk:
    """One worker's conversation: the program, then instance by instance, each against the clock."""

    def __init__(self, problem: Problem, instances: Sequence[Instance]) -> None:
        assert problem.solver is not None
        self._problem, self._solver = problem, problem.solver
        self.instances = instances
        self.solutions: list[Any] = []
        self.nanoseconds: list[int] = []  # wall-clock time of each answer, measured here
        self.failure: Failure | None = None

    async def __call__(self, channel: Channel) -> None:
        """Ask until everything is answered or something fails."""
        self.solutions, self.nanoseconds = [], []
        # a worker that died: its exit says how
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await self._ask(channel.end, b"", "the program", python_worker.READY)
                for instance in self.instances:
                    await self._put(channel.end, instance)
            except _Broken as broken:
                self.failure = broken.args[0]
                channel.fate = "killed"

    async def _put(self, end: socket.socket, instance: Instance) -> None:
        """Have one instance answered, and read the answer."""
        view = self._solver.view(instance.data)
        question = frames.pack(
            python_worker.QUESTION, (type(view).__name__, dict(zip(view._fields, view, strict=True)))
        )
        started_ns = time.monotonic_ns()
        value = await self._ask(end, question, f"instance {instance.name}", python_worker.ANSWER)
        self.nanoseconds.append(time.monotonic_ns() - started_ns)
        try:
            self.solutions.append(solution(self._problem, value))
        except BadSolution as error:
            raise _Broken(Infeasible("verify", f"instance {instance.name}: {error}")) from None

    async def _ask(self, end: socket.socket, message: bytes, what: str, wanted: bytes) -> Any:
        """Send a message and get the value of the frame that answers it."""
        limit = _ANSWER_BYTES + 16 * len(message)
        try:
            async with asyncio.timeout(self._solver.seconds + _GRACE_S):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(end, message)
                size = frames.length(await receive(end, 4))
                if size > limit:
                    reason = f"{what}: an answer of {size:,} bytes, more than the {limit:,} admitted"
                    raise _Broken(Crashed("run", reason))
                body = await receive(end, size)
        except TimeoutError:
            reason = f"{what}: killed after {self._solver.seconds:g} s of wall-clock time without an answer"
            raise _Broken(TimedOut("run", reason)) from None
        try:
            kind, value = frames.unpack(body)
        except frames.BadFrame as error:
            raise _Broken(Crashed("run", f"{what}: the worker's answer is malformed: {error}")) from None
        if kind == python_worker.FAILURE:
            raise _Broken(_failure(value, what))
        if kind != wanted:
            raise _Broken(Crashed("run", f"{what}: the worker's answer is malformed: it is of another kind"))
        return value


class _Broken(Exception):
    """A conversation ended early; the argument is the outcome."""


def _failure(value: Any, what: str) -> Failure:
    """What a worker says of its own failure: a kind it may name, and text without control characters."""
    if not (isinstance(value, list) and len(value) == 2 and value[0] in _FAILURES and isinstance(value[1], str)):
        return Crashed("run", f"{what}: the worker's answer is malformed: it is a failure of no known kind")
    text = "".join(c if c.isprintable() else " " for c in value[1][:1000])
    stage = "verify" if value[0] == "infeasible" else "run"
    return FAILURES[value[0]](stage, f"{what}: {text}" if what != "the program" else text)


async def receive(end: socket.socket, size: int) -> bytes:
    """Exactly so many bytes from a worker.

    Raises
    ------
    asyncio.IncompleteReadError
        If it closes its end before.
    """
    data = bytearray()
    while len(data) < size:
        chunk = await asyncio.get_running_loop().sock_recv(end, min(size - len(data), 2**18))
        if not chunk:
            raise asyncio.IncompleteReadError(bytes(data), size)
        data += chunk
    return bytes(data)


def _fingerprint(solutions: Sequence[Any]) -> str:
    """Digest of solutions: equal for programs that decide alike."""
    digest = hashlib.sha256()
    for found in solutions:
        for array in found:
            digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()
