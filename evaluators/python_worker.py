"""What a sealed worker does in Python mode: execute one program, then answer instance after instance.

It holds no problem, no verifier, no reference value and no instance but those it was asked already:
each comes through the socket after the one before was answered. What a program prints goes nowhere.
"""

from __future__ import annotations

import gc
import importlib
import random
import traceback
import zlib
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from evaluators.processes import frames
from evaluators.processes.worker import DESCRIPTOR, Order, live
from evaluators.sandbox.reserve import Reserve

__all__ = ["live", "prepare", "serve"]

FILE = "<program>"
QUESTION, READY, ANSWER, FAILURE = b"Q", b"R", b"A", b"F"
_MAX_REASON = 500
_default_rng = np.random.default_rng


def prepare(modules: Sequence[str]) -> None:
    """Import, before any worker is sealed, what programs may import."""
    for name in modules:
        importlib.import_module(name)
    # numpy imports parts of itself at their first use
    np.linalg.solve(np.eye(2), np.ones(2))
    np.random.default_rng(0).permutation(3)
    np.array2string(np.ones(2))
    traceback.format_exception_only(ValueError("a first one"))
    module: Any = np.random
    module.default_rng = _seeded_rng


def serve(source: str, order: Order, prepared: None) -> bytes:
    """Load a program, then solve what comes in until nothing more does, or the program fails."""
    gc.enable()
    _seed(zlib.crc32(source.encode()))
    namespace: dict[str, Any] = {"__name__": "program"}
    if not _said(READY, "while the program was loaded", lambda: _load(source, namespace)):
        return b""
    while (body := frames.receive(DESCRIPTOR)) is not None:
        _seed(zlib.crc32(body))
        if not _said(ANSWER, "", partial(_solve, namespace, frames.unpack(body)[1])):
            break
    return b""


def _solve(namespace: dict[str, Any], question: tuple[str, dict[str, Any]]) -> Any:
    name, fields = question
    return namespace["solve"](_instance_type(name, tuple(fields))(**fields))


@cache
def _instance_type(name: str, fields: tuple[str, ...]) -> Any:
    """A type of its own, so that a program reads ``instance.duration``."""
    make: Any = namedtuple
    return make(name, fields)


def _load(source: str, namespace: dict[str, Any]) -> None:
    exec(compile(source, FILE, "exec", dont_inherit=True), namespace)


def _seed(seed: int) -> None:
    """Seed all randomness that is not seeded otherwise, by the instance."""
    random.seed(seed)
    np.random.seed(seed)


def _seeded_rng(given: Any = None) -> np.random.Generator:
    """Like numpy's default_rng; where no seed is given, that of the instance counts."""
    return _default_rng(np.random.randint(2**31) if given is None else given)


def _said(kind: bytes, place: str, work: Callable[[], Any]) -> bool:
    """Send what ``work`` returns, or why it does not; whether it did."""
    try:
        with Reserve():
            frame = frames.pack(kind, work())
    except frames.BadFrame as error:
        return _fail("infeasible", f"solve returned what is no solution: {error}")
    except MemoryError as error:
        return _fail("out_of_memory", f"{_place(error, place)}{str(error) or 'an allocation was refused'}")
    except BaseException as error:
        return _fail("crashed", f"{_place(error, place)}{type(error).__name__}: {error}")
    frames.send(DESCRIPTOR, frame)
    return True


def _fail(kind: str, reason: str) -> bool:
    frames.send(DESCRIPTOR, frames.pack(FAILURE, [kind, reason[:_MAX_REASON]]))
    return False


def _place(error: BaseException, place: str) -> str:
    """``line 12, in solve: ``: the innermost line of the program that an error passed through."""
    lines = [step for step in traceback.extract_tb(error.__traceback__) if step.filename == FILE]
    where = [place] if place else []
    if lines:
        function = "" if lines[-1].name == "<module>" else f", in {lines[-1].name}"
        where.append(f"line {lines[-1].lineno}{function}")
    return ", ".join(where) + ": " if where else ""
