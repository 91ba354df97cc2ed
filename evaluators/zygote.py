"""The parent's side of a zygote: start it, send it programs, bound what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from evaluators import launch
from evaluators.limits import Limits
from evaluators.wire import Layout

# What a zygote may take, beyond the time limit of a worker, before it counts as hung.
_GRACE_S = 0.5
_CLOSE_S = 2.0
_CHUNK_BYTES = 2**18


class ZygoteFailed(RuntimeError):
    """The zygote could not get ready; the message ends with what it wrote to standard error."""


class LayersMissing(RuntimeError):
    """The kernel lacks the layers of the sandbox that are this error's arguments."""


class ZygoteLost(RuntimeError):
    """The zygote died, or was killed because it hung; ``guilty`` is the run that it hung on."""

    def __init__(self, guilty: bool) -> None:
        super().__init__("the zygote was lost")
        self.guilty = guilty


class Ended(NamedTuple):
    """How a worker ended, and what it wrote until then."""

    answer: bytes
    fate: str  # exited, timed out, killed (by us); flooded; what a Talk said
    code: int  # exit code, or minus the signal


# A conversation with a worker over its socket, other than one program and one answer. It returns why
# the worker has to be killed now, or "" if it was left to end by itself.
Talk = Callable[[socket.socket], Awaitable[str]]


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
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]
        self._complaint: asyncio.Task[bytes]
        self.lost = False
        self.layout: list[Layout] = []
        self.missing: list[str] = []  # layers of the sandbox; not empty only where that was allowed

    @property
    def pid(self) -> int:
        """Process id of the zygote."""
        return self._process.pid

    async def start(self, splits: list[str]) -> None:
        """Start the process; return when it is ready to fork workers.

        Raises
        ------
        LayersMissing
            If the sandbox is incomplete here and the settings do not allow that.
        ZygoteFailed
            If the problem does not import, compile or load.
        """
        self._ready = asyncio.get_running_loop().create_future()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *launch.command("evaluators.zygote_main", "main", theirs.fileno(), os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=launch.environment(),
                cwd="/",
                start_new_session=True,
            )
            theirs.close()
            self._reader = asyncio.create_task(self._listen())
            assert self._process.stderr is not None
            self._complaint = asyncio.create_task(self._process.stderr.read())
            try:
                await self._say(**self._settings, splits=splits)
                message = await self._ready
            except ZygoteLost:
                await self._fail()
            except BaseException:
                await self.close()
                raise
        if "missing" in message:
            await self.close()
            raise LayersMissing(*message["missing"])
        self.layout = [Layout(*array) for array in message["ready"]["layout"]]
        self.missing = message["ready"]["missing"]

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
        except ZygoteLost:
            await self._fail()

    async def run(self, source: str, split: str, *, probe: bool, talk: Talk | None = None) -> Ended:
        """Run one program in a worker of its own; with ``talk``, all that is said to it is said there.

        Raises
        ------
        ZygoteLost
            If the zygote dies or hangs meanwhile.
        """
        number = next(self._numbers)
        exited = self._exits[number] = asyncio.get_running_loop().create_future()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        work = self._talked(number, ours, talk, exited) if talk else self._exchange(number, ours, source, exited)
        exchange = asyncio.create_task(work)
        exchange.add_done_callback(_forget)
        try:
            with theirs:
                await self._say(theirs.fileno(), run=number, split=split, probe=probe)
            # Twice: if this process itself stood still, what came in meanwhile has to be read first.
            for patience_s in (self._limits.timeout_s + _GRACE_S, _GRACE_S / 2):
                await asyncio.wait([exchange], timeout=patience_s)
                if exchange.done():
                    return exchange.result()
            await self._give_up()
            raise ZygoteLost(guilty=True)
        finally:
            exchange.cancel()
            del self._exits[number]
            if not exited.done():  # cancelled: the worker is of no use any more
                with contextlib.suppress(ZygoteLost):
                    await self._say(kill=number)

    async def _exchange(
        self, number: int, end: socket.socket, source: str, exited: asyncio.Future[Mapping[str, Any]]
    ) -> Ended:
        """Converse with a worker, and wait for its end."""
        with end:
            answer = await self._converse(end, source)
        flooded = len(answer) > self._limits.result_bytes
        if flooded:
            await self._say(kill=number)
        report = await exited
        return Ended(answer, "flooded" if flooded else report["fate"], report["code"])

    async def _talked(
        self, number: int, end: socket.socket, talk: Talk, exited: asyncio.Future[Mapping[str, Any]]
    ) -> Ended:
        """Let ``talk`` converse with a worker, and wait for its end."""
        with end:
            fate = await talk(end)
        if fate:
            await self._say(kill=number)
        report = await exited
        return Ended(b"", fate or report["fate"], report["code"])

    async def _converse(self, end: socket.socket, source: str) -> bytes:
        """Send a program and read the answer, up to a little more than the limit."""
        loop = asyncio.get_running_loop()
        text = source.encode("utf-8", "replace")
        answer = bytearray()
        # A worker that has died already refuses to listen; how it died is known from its exit.
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(end, len(text).to_bytes(4, "little") + text)
            while len(answer) <= self._limits.result_bytes:
                data = await loop.sock_recv(end, _CHUNK_BYTES)
                if not data:
                    break
                answer += data
        return bytes(answer)

    async def close(self) -> None:
        """End the zygote and its workers; return when the process is gone."""
        listens = self._ready.done() and not self.lost
        self.lost = True
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._control.close()
        try:
            await asyncio.wait_for(self._process.wait(), _CLOSE_S if listens else 0)
        except TimeoutError:
            await self._give_up()
        self._fail_all()
        self._complaint.cancel()

    async def _fail(self) -> NoReturn:
        """End, and raise what the zygote complained of last."""
        complaint = (await self._complaint).decode("utf-8", "replace")[-4000:].strip()
        await self.close()
        raise ZygoteFailed(complaint or "the zygote died without a word") from None

    async def _give_up(self) -> None:
        """Kill the zygote; the kernel kills its workers with it."""
        self.lost = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        self._fail_all()

    def _fail_all(self) -> None:
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._exits.values(), *self._loads.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ZygoteLost(guilty=False))
                _forget(future)

    async def _say(self, descriptor: int | None = None, **message: object) -> None:
        """Send one line; all lines are short, so a zygote that does not read for a while can take them."""
        if self.lost:
            raise ZygoteLost(guilty=False)
        line = json.dumps(message).encode() + b"\n"
        try:
            socket.send_fds(self._control, [line], [] if descriptor is None else [descriptor])
        except (OSError, ValueError):
            await self._give_up()
            raise ZygoteLost(guilty=False) from None

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
