"""A conversation with one worker, in whole messages, from the trusted side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

CHUNK_BYTES = 2**18


class Channel:
    """A conversation with one worker in whole messages; what it sends is counted and bounded."""

    def __init__(self, end: socket.socket, limit_bytes: int) -> None:
        self.end = end
        self._left = limit_bytes
        self.flooded = False
        self.fate = ""  # why the worker has to be killed now, set by whoever converses; "" leaves it to end

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; nothing happens if the worker has gone."""
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def receive(self) -> bytes | None:
        """The next message; None if the worker has gone or sends more than is admitted."""
        with contextlib.suppress(ConnectionError):
            size = await self._exactly(8)
            return None if size is None else await self._exactly(int.from_bytes(size, "little"))
        return None

    async def _exactly(self, size: int) -> bytes | None:
        self._left -= size
        self.flooded = self.flooded or self._left < 0
        data = bytearray()
        while not self.flooded and len(data) < size:
            chunk = await asyncio.get_running_loop().sock_recv(self.end, min(CHUNK_BYTES, size - len(data)))
            if not chunk:
                return None
            data += chunk
        return None if self.flooded else bytes(data)


# The program has been sent; the worker's socket closes when it returns.
Talk = Callable[[Channel], Awaitable[None]]
