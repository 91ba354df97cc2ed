"""A program in a process of its own, and the module that stands in for it elsewhere.

The stand-in looks up names and calls functions over a socket, in frames of plain values. It is
imported as often as the evaluator likes, by whatever means; there is one program behind all of them.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

from evaluators.processes import frames
from evaluators.sandbox.reserve import Reserve

# What an evaluator finds at program_path instead of the program.
STAND_IN = '''"""The program runs in a process of its own; this module calls it there."""

import sys

_there = sys.modules["evaluators.tasks.program_proxy"]
_there.load()


def __getattr__(name):
    return _there.look_up(name)


def __dir__():
    return _there.names()
'''

_VALUE, _FUNCTION, _FAILURE = b"A", b"C", b"F"
_lock = threading.Lock()
_socket: list[int] = []


class ProgramError(RuntimeError):
    """The program raised; the message says what and at which of its lines."""


# the evaluator's side


def connect(descriptor: int) -> None:
    """Use this socket for everything below."""
    _socket[:] = [descriptor]


def load() -> None:
    """Have the program executed, once; its error is raised each time."""
    _ask("load")


def names() -> list[str]:
    """Public names that the program defines."""
    found: list[str] = _ask("names")[1]
    return found


def look_up(name: str) -> Any:
    """A value of the program, or a function that calls one of its functions."""
    if name.startswith("__"):
        raise AttributeError(name)
    kind, value = _ask("look_up", name)
    if kind != _FUNCTION:
        return value

    def call(*arguments: Any, **keywords: Any) -> Any:
        return _ask("call", name, list(arguments), keywords)[1]

    call.__name__ = call.__qualname__ = name
    return call


def _ask(*question: Any) -> tuple[bytes, Any]:
    try:
        message = frames.pack(b"Q", list(question))
    except frames.BadFrame as error:
        raise TypeError(f"an argument cannot be sent to the program's process: {error}") from None
    with _lock:
        try:
            frames.send(_socket[0], message)
            answer = frames.receive(_socket[0])
        except OSError:
            answer = None
    if answer is None:
        raise ProgramError("the program ended its process")
    kind, value = frames.unpack(answer)
    if kind != _FAILURE:
        return kind, value
    name, text = value
    if name == "AttributeError" and question[0] == "look_up":
        raise AttributeError(str(text).removeprefix("AttributeError: "))
    raise ProgramError(f"{text}")


# the program's side


def serve(descriptor: int, source: str, path: str) -> None:
    """Execute a program when asked to, and answer until nobody asks any more."""
    there = _There(source, path)
    while (question := frames.receive(descriptor)) is not None:
        frames.send(descriptor, there.answer(*frames.unpack(question)[1]))


class _There:
    def __init__(self, source: str, path: str) -> None:
        self._source, self._path = source, path
        self._namespace: dict[str, Any] = {"__name__": "program", "__file__": path}
        self._loaded = False
        self._error = ""

    def answer(self, verb: str, *arguments: Any) -> bytes:
        try:
            with Reserve():
                if not self._loaded:
                    self._load()
                return getattr(self, f"_{verb}")(*arguments)
        except frames.BadFrame as error:
            return frames.pack(_FAILURE, ["BadFrame", f"the program returned what cannot be sent: {error}"])
        except BaseException as error:
            return frames.pack(_FAILURE, [type(error).__name__, self._told(error)])

    def _load(self) -> bytes:
        if not self._loaded:
            self._loaded = True
            # by name, for dataclasses and the like, which look their module up
            sys.modules["program"] = type(sys)("program")
            sys.modules["program"].__dict__.update(self._namespace)
            self._namespace = sys.modules["program"].__dict__
            try:
                exec(compile(self._source, self._path, "exec", dont_inherit=True), self._namespace)
            except BaseException as error:
                self._error = self._told(error)
        if self._error:
            raise ProgramError(self._error)
        return frames.pack(_VALUE, None)

    def _names(self) -> bytes:
        return frames.pack(_VALUE, [name for name in self._namespace if not name.startswith("_")])

    def _look_up(self, name: str) -> bytes:
        if name not in self._namespace:
            raise AttributeError(f"the program does not define {name!r}")
        value = self._namespace[name]
        return frames.pack(_FUNCTION, None) if callable(value) else frames.pack(_VALUE, value)

    def _call(self, name: str, arguments: list[Any], keywords: dict[str, Any]) -> bytes:
        return frames.pack(_VALUE, self._namespace[name](*arguments, **keywords))

    def _told(self, error: BaseException) -> str:
        if isinstance(error, ProgramError):
            return str(error)
        lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == self._path]
        where = f"line {lines[-1]}: " if lines else ""
        return f"{where}{type(error).__name__}: {str(error)[:400]}"
