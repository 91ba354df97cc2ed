"""What is said where a program has used up its memory: by a worker, in Python mode, by the program of a task."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluators import python_worker
from evaluators.processes import frames, wire, worker
from evaluators.tasks import program_proxy

MEMORY_BYTES = 20_000_000
REFUSED = "an allocation was refused"


def hoard(*_: object) -> bytes:
    pieces: list[object] = []
    while True:
        pieces.append([pieces])


def worker_says(outlet: int) -> None:
    os.write(outlet, worker._attempt(hoard, "", None, None))


def python_mode_says(outlet: int) -> None:
    python_worker.DESCRIPTOR = outlet
    python_worker._said(python_worker.ANSWER, "", hoard)


def task_says(outlet: int) -> None:
    there = program_proxy._There("def hoard():\n    p = []\n    while True: p.append([p])\n", "program.py")
    os.write(outlet, there.answer("call", "hoard", [], {}))


# what is free when an allocation is first refused depends on every byte before it
@pytest.mark.parametrize("spare", range(0, 2_000_000, 200_003))
@pytest.mark.parametrize("says", [worker_says, python_mode_says, task_says])
def test_a_program_that_left_no_byte_is_out_of_memory(says: Callable[[int], None], spare: int):
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        _in_little_memory(says, outlet, MEMORY_BYTES + spare)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as answer:
        said = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    if says is worker_says:
        assert said == wire.encode_failure("out_of_memory", "run", REFUSED)
    elif says is python_mode_says:
        assert frames.unpack(said[4:])[1] == ["out_of_memory", REFUSED]
    else:
        assert frames.unpack(said[4:])[1][0] == "MemoryError"


def _in_little_memory(says: Callable[[int], None], outlet: int, size: int) -> None:
    """In a child: with so much address space left, as after the seal."""
    status = 1
    try:
        gc.disable()
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + size, mapped + size))
        says(outlet)
        status = 0
    finally:
        os._exit(status)
