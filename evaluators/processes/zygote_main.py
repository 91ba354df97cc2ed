"""The zygote: a clean process that is ready to run programs, and forks a worker for each.

It is started by ``evaluators.processes.zygote`` with a scrubbed environment and one socket, on which lines
of JSON go both ways::

    -> {"module": ..., "decoder": ..., "splits": [...], "sets": {...}, ...}    once
    <- {"ready": {...}}  or  {"missing": [...]}
    -> {"load": split}                                  <- {"loaded": split}
    -> {"run": id, "split": ..., "probe": ..., "mode": ..., "timeout_s": ...} + socket
                                                        <- {"exited": id, ...}
    -> {"kill": id}

It never reads a program: that goes through the socket which comes along with ``run`` and which
the worker inherits. When the other end of its own socket closes, it kills its workers and ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from evaluators.processes import pages
from evaluators.sandbox import doctor, namespaces, seal

if TYPE_CHECKING:
    from evaluators.processes.preparation import Ready
    from evaluators.processes.worker import Order
    from evaluators.sandbox.namespaces import Hideout

_ORDERED = ("split", "probe", "mode", "timeout_s")  # what a run is ordered by
_WATCH_S = 0.5
_ORPHAN_ROUNDS = 100  # more than enough for all but a fork bomb, which dies with the zygote


def main(descriptor: int, parent: int) -> None:
    """Get ready, say so, serve until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    with _ending_with(parent):
        lines = Lines(control)
        settings = lines.wait()
        # First, while forks are cheap: numba is not imported yet.
        records = {record["layer"]: record for record in doctor.probe()}
        missing = doctor.missing(records.values())
        if missing and not settings["weak"]:
            _say(control, missing=missing)
            return
        seal.volunteer_for_oom_killer()
        pages.reserve()
        seal.prepare()
        hideout = namespaces.hide({name for name, record in records.items() if record["works"]})
        zygote = Zygote(control, lines, settings, hideout)
        zygote.prepare(missing)
    zygote.serve()


@contextlib.contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """End if the parent does, also in the middle of an import: looked at twice a second."""

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _WATCH_S, _WATCH_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _say(control: socket.socket, **message: object) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


class Lines:
    """JSON lines from a socket, and the descriptors that come along."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._text = b""
        self.descriptors: deque[int] = deque()

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for bytes; the whole lines among them, None at the end."""
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        self.descriptors.extend(descriptors)
        if not data:
            return None
        *lines, self._text = (self._text + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def wait(self) -> dict[str, Any]:
        """The first line."""
        while (found := self.receive()) is not None:
            if found:
                return found[0]
        raise SystemExit("the parent has gone")


class _Worker(NamedTuple):
    number: int  # the parent's name for it
    deadline: float


class Zygote:
    """Forks workers, kills the overdue, reports how each ended."""

    def __init__(self, control: socket.socket, lines: Lines, settings: dict[str, Any], hideout: Hideout) -> None:
        self._control = control
        self._lines = lines
        self._settings = settings
        self._hideout = hideout
        self._workers: dict[int, _Worker] = {}  # by process
        self._fate: dict[int, str] = {}  # processes killed from here, and why
        self._ready: Ready

    def prepare(self, missing: list[str]) -> None:
        """Get ready, say how solutions look, and from then on change as little memory as possible."""
        # Here, not above: numba takes longer to import than everything before.
        from evaluators.processes import preparation

        self._ready = preparation.prepare(self._settings)
        _be_single_threaded()
        gc.collect()
        pages.fill_holes()
        gc.freeze()  # collections would otherwise touch, and so copy, shared pages
        pages.gather()
        found = {"layout": self._ready.layout, "missing": missing, "compiled": self._ready.compiled}
        _say(self._control, ready=found)

    def serve(self) -> None:
        """Obey until the parent closes its end; no worker outlives this."""
        wake, alarm = os.pipe()
        os.set_blocking(alarm, False)
        control = self._control.fileno()
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while True:
                readable, _, _ = select.select([control, wake], [], [], self._patience())
                if wake in readable:
                    os.read(wake, 4096)
                if control in readable:
                    messages = self._lines.receive()
                    if messages is None:
                        return
                    for message in messages:
                        self._obey(message)
                self._bury()
                self._kill_overdue()
        except BrokenPipeError:
            return  # the parent has gone
        finally:
            for process in self._workers:
                _kill_group(process)

    def _patience(self) -> float | None:
        """Seconds until the next worker is overdue; those already killed are waited for."""
        deadlines = [w.deadline for process, w in self._workers.items() if process not in self._fate]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _obey(self, message: dict[str, Any]) -> None:
        if "load" in message:
            self._ready.load(message["load"])
            gc.collect()
            gc.freeze()
            _say(self._control, loaded=message["load"])
        elif "run" in message:
            self._fork(message["run"], self._ready.order(*(message[key] for key in _ORDERED)))
        else:
            for process, worker in self._workers.items():
                if worker.number == message["kill"]:
                    self._kill(process, "killed")

    def _fork(self, number: int, order: Order) -> None:
        descriptor = self._lines.descriptors.popleft()
        zygote = os.getpid() if self._hideout.init is None else 0  # as a worker sees it: outside its namespace
        process = _fork(hooks="prepared" in self._settings)
        if process == 0:
            self._become(descriptor, zygote, order)
        os.close(descriptor)
        self._workers[process] = _Worker(number, time.monotonic() + order.timeout_s)

    def _become(self, descriptor: int, zygote: int, order: Order) -> NoReturn:
        if self._hideout.root is not None:
            os.fchdir(self._hideout.root)
        signal.set_wakeup_fd(-1)
        self._ready.live(descriptor, zygote, order, self._ready.prepared, self._ready.task)
        raise AssertionError("a worker never returns")

    def _kill(self, process: int, why: str) -> None:
        self._fate[process] = why
        _kill_group(process)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for process, worker in self._workers.items():
            if now >= worker.deadline and process not in self._fate:
                self._kill(process, "timed out")

    def _bury(self) -> None:
        """Report the workers that have ended."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            if process == self._hideout.init:
                os._exit(1)  # its namespace is dead, and all workers with it: no fault of theirs
            if process not in self._workers:
                continue  # an orphan, adopted
            # else it could not start anything that outlives it
            if self._settings["weak"] or self._settings.get("forks"):
                self._kill_orphans(process)
            worker = self._workers.pop(process)
            fate = self._fate.pop(process, "exited")
            _say(self._control, exited=worker.number, fate=fate, code=os.waitstatus_to_exitcode(status))

    def _kill_orphans(self, process: int) -> None:
        """Kill what an ended worker started: its group, and what left that, adopted by the namespace or here."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        for _ in range(_ORPHAN_ROUNDS):
            adopted = namespaces.children(self._hideout.init or os.getpid()) - self._workers.keys()
            if not adopted:
                return
            for orphan in adopted:
                _kill_group(orphan)
                if self._hideout.init is None:
                    os.waitpid(orphan, 0)
            time.sleep(0.001)


def _kill_group(process: int) -> None:
    """SIGKILL a worker and its group, if it has made one yet."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(process, signal.SIGKILL)


def _be_single_threaded() -> None:
    """Forking a process with threads copies their locks, but not the threads that hold them."""
    tasks = Path("/proc/self/task")
    count = len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()
    assert count == 1, f"the zygote has {count} threads, so it cannot fork safely"


def _fork(hooks: bool) -> int:
    """Fork; without what modules asked Python to do then, unless programs are Python that may use those modules.

    Those hooks mend locks that other threads held and seed random numbers anew. A zygote has one
    thread, and compiled hooks have no random numbers: a tenth of a worker's memory was copied for nothing.
    """
    if hooks or not sys.platform.startswith("linux"):
        return os.fork()
    return seal.call("fork")
