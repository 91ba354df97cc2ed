"""The parent's side of a zygote: start it, send it programs, bound what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from evaluators.processes import launch
from evaluators.processes.channel import CHUNK_BYTES, Channel, Talk
from evaluators.processes.executor import Ended, ExecutorLost
from evaluators.processes.wire import Layout
from evaluators.sandbox.limits import Limits

# What a zygote may take, beyond the time limit of a worker, before it counts as hung.
_GRACE_S = 0.5
_CLOSE_S = 2.0
_POLL_S = 0.005
_COMPLAINT_BYTES = 2**20


class ZygoteFailed(RuntimeError):
    """The zygote could not get ready; the message ends with what it wrote to standard error."""


class LayersMissing(RuntimeError):
    """The kernel lacks the layers of the sandbox that are this error's arguments."""


class Zygote:
    """One zygote process. Everything is awaited in the event loop that started it."""

    def __init__(self, settings: Mapping[str, Any], limits: Limits) -> None:
        self._settings = dict(settings)
        self._limits = limits
        self._numbers = itertools.count()
        self._exits: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._loads: dict[str, asyncio.Future[None]] = {}
        self._ready: asyncio.Future[Mapping[str, Any]]
        self._control: socket.socket
        # Not asyncio's: cancelled while it starts a process, that waits for ever (seen with Python 3.11).
        self._process: subprocess.Popen[bytes]
        self._errors: int | None = None  # file that it writes to as its standard error
        self._reader: asyncio.Task[None]
        self.lost = False
        self.layout: list[Layout] = []
        self.missing: list[str] = []  # layers of the sandbox; not empty only where that was allowed

    @property
    def pid(self) -> int:
        """Process id of the zygote."""
        return self._process.pid

    async def start(self, splits: list[str]) -> None:
        """Start the process; return when it is ready to fork workers.

        One that had to compile simulators is replaced once by another that loads them: forks of the
        memory that a compiler leaves were measured to cost a tenth more, for as long as it lives.

        Raises
        ------
        LayersMissing
            If the sandbox is incomplete here and the settings do not allow that.
        ZygoteFailed
            If the problem does not import, compile or load.
        """
        found = await self._begin(splits)
        if found["compiled"]:
            await self.close()
            self.lost = False
            found = await self._begin(splits)
        self.layout = [Layout(*array) for array in found["layout"]]
        self.missing = found["missing"]

    async def _begin(self, splits: list[str]) -> Mapping[str, Any]:
        """Start a process; what it says once it is ready."""
        self._ready = asyncio.get_running_loop().create_future()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._errors = launch.nameless_file()
        with theirs:
            self._process = subprocess.Popen(
                launch.command("evaluators.processes.zygote_main", "main", theirs.fileno(), os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=launch.environment(),
                cwd="/",
                start_new_session=True,
            )
        self._reader = asyncio.create_task(self._listen())
        try:
            await self._say(**self._settings, splits=splits)
            message = await self._ready
        except ExecutorLost:
            await self._fail()
        except BaseException:
            await self.close()
            raise
        if "missing" in message:
            await self.close()
            raise LayersMissing(*message["missing"])
        ready: Mapping[str, Any] = message["ready"]
        return ready

    async def load(self, split: str) -> None:
        """Load a split; nothing may run meanwhile, since the zygote does not watch workers then.

        Raises
        ------
        ZygoteFailed
            If the split cannot be loaded.
        """
        self._loads[split] = asyncio.get_running_loop().create_future()
        try:
            await self._say(load=split)
            await self._loads[split]
        except ExecutorLost:
            await self._fail()

    async def run(
        self,
        source: str,
        split: str,
        *,
        probe: bool,
        mode: str = "once",
        talk: Talk | None = None,
        timeout_s: float | None = None,
    ) -> Ended:
        """Run one program in a worker of its own.

        Parameters
        ----------
        source, split, probe
            What to run.
        mode : str
            What the worker does: ``once`` answers and ends, ``blocks`` and ``losses`` serve requests.
        talk : callable, optional
            Makes those requests; the worker ends when it returns.
        timeout_s : float, optional
            Another limit than that of all workers.

        Raises
        ------
        ExecutorLost
            If the zygote dies or hangs meanwhile.
        """
        number = next(self._numbers)
        exited = self._exits[number] = asyncio.get_running_loop().create_future()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        limit_s = self._limits.timeout_s if timeout_s is None else timeout_s
        exchange = asyncio.create_task(self._exchange(number, ours, source, talk, exited))
        exchange.add_done_callback(_forget)
        try:
            with theirs:
                # The program first: if this process stood still between the two, its worker would wait for it.
                await asyncio.sleep(0)
                await self._say(theirs.fileno(), run=number, split=split, probe=probe, mode=mode, timeout_s=limit_s)
            # Twice: if this process itself stood still, what came in meanwhile has to be read first.
            for patience_s in (limit_s + _GRACE_S, _GRACE_S / 2):
                await asyncio.wait([exchange], timeout=patience_s)
                if exchange.done():
                    return exchange.result()
            await self._give_up()
            raise ExecutorLost(guilty=True)
        finally:
            exchange.cancel()
            del self._exits[number]
            if not exited.done():  # cancelled: the worker is of no use any more
                with contextlib.suppress(ExecutorLost):
                    await self._say(kill=number)

    async def _exchange(
        self, number: int, end: socket.socket, source: str, talk: Talk | None, exited: asyncio.Future[Mapping[str, Any]]
    ) -> Ended:
        """Converse with a worker, and wait for its end."""
        channel = Channel(end, self._limits.result_bytes)
        with end:
            text = source.encode("utf-8", "replace")
            await channel.send(len(text).to_bytes(4, "little") + text)
            answer = b""
            if talk is None:
                answer = await self._answer(end)
            else:
                await talk(channel)
        fate = "flooded" if channel.flooded or len(answer) > self._limits.result_bytes else channel.fate
        if fate:
            await self._say(kill=number)
        report = await exited
        return Ended(answer, fate or report["fate"], report["code"])

    async def _answer(self, end: socket.socket) -> bytes:
        """Read all that a worker writes, up to a little more than the limit."""
        loop = asyncio.get_running_loop()
        answer = bytearray()
        # A worker that has died already does not answer; how it died is known from its exit.
        with contextlib.suppress(ConnectionError):
            while len(answer) <= self._limits.result_bytes:
                data = await loop.sock_recv(end, CHUNK_BYTES)
                if not data:
                    break
                answer += data
        return bytes(answer)

    async def close(self) -> None:
        """End the zygote and its workers; return when the process is gone."""
        listens = self._ready.done() and not self._ready.cancelled() and not self.lost
        self.lost = True
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._control.close()
        if not await self._gone(_CLOSE_S if listens else 0.0):
            await self._give_up()
        self._fail_all()
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None

    async def _fail(self) -> NoReturn:
        """End, and raise what the zygote complained of last."""
        await self._gone(_CLOSE_S)
        text = b"" if self._errors is None else os.pread(self._errors, _COMPLAINT_BYTES, 0)
        complaint = text.decode("utf-8", "replace")[-4000:].strip()
        await self.close()
        raise ZygoteFailed(complaint or "the zygote died without a word") from None

    async def _gone(self, patience_s: float) -> bool:
        """Whether the process ends within this time."""
        end_s = time.monotonic() + patience_s
        while self._process.poll() is None:
            if time.monotonic() >= end_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def _give_up(self) -> None:
        """Kill the zygote; the kernel kills its workers with it."""
        self.lost = True
        self._process.kill()
        await self._gone(math.inf)
        self._fail_all()

    def _fail_all(self) -> None:
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._exits.values(), *self._loads.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ExecutorLost(guilty=False))
                _forget(future)

    async def _say(self, descriptor: int | None = None, **message: object) -> None:
        """Send one line; all lines are short, so a zygote that does not read for a while can take them."""
        if self.lost:
            raise ExecutorLost(guilty=False)
        line = json.dumps(message).encode() + b"\n"
        try:
            socket.send_fds(self._control, [line], [] if descriptor is None else [descriptor])
        except (OSError, ValueError):
            await self._give_up()
            raise ExecutorLost(guilty=False) from None

    async def _listen(self) -> None:
        """Hand what the zygote says to those who wait for it."""
        text = b""
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.get_running_loop().sock_recv(self._control, 65536):
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        self.lost = True
        self._fail_all()

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "exited" in message:
            future = self._exits.get(message["exited"])
            if future is not None and not future.done():
                future.set_result(message)
        elif "loaded" in message:
            self._loads.pop(message["loaded"]).set_result(None)
        else:
            self._ready.set_result(message)


def _forget(future: asyncio.Future[Any]) -> None:
    """Look at an error, so that asyncio does not report it where nobody waits for it any more."""
    if not future.cancelled():
        future.exception()
