"""How a worker answers when its program has used up its memory."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import pytest

from evaluators.processes import wire, worker

MEMORY_BYTES = 20_000_000


@pytest.mark.parametrize("spare", range(0, 2_000_000, 200_003))
def test_a_worker_whose_program_left_no_byte_still_says_so(spare: int):
    # what is free when an allocation is first refused depends on every byte before it
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        _fill_memory(outlet, MEMORY_BYTES + spare)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as answer:
        said = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    assert said == wire.encode_failure("out_of_memory", "run", "an allocation was refused")


def _fill_memory(outlet: int, size: int) -> None:
    """In a child: what ``live`` does after the seal, with so much address space left."""
    status = 1
    try:
        gc.disable()
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + size, mapped + size))
        os.write(outlet, worker._attempt(_hoard, "", None, None))
        status = 0
    finally:
        os._exit(status)


def _hoard(*_: object) -> bytes:
    hoard: list[object] = []
    while True:
        hoard.append([hoard])
