"""Memory for the last word of a process whose program has used up the rest."""

from __future__ import annotations

from types import TracebackType

BYTES = 4 * 2**20


class Reserve:
    """Address space that is held while a program runs, and free again when an exception of it is handled.

    What a program hoards may outlive it, in the frames of a traceback or in cycles, and then even a short answer is
    refused. The pages are never touched.
    """

    def __enter__(self) -> None:
        self._held: bytearray | None = bytearray(BYTES)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = None
