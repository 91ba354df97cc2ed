"""Hundreds of evaluations in a row leave nothing behind; ``benchmarks/endurance.py`` tries ten thousand."""

from __future__ import annotations

import os
from pathlib import Path

from conftest import Driver, children, needs_sandbox
from one_machine import PROBLEM

from evaluators.evaluator import Evaluator
from evaluators.sandbox.namespaces import children as all_children

pytestmark = needs_sandbox

ACTS = (
    "pass",
    "raise ValueError",
    "import os\nos._exit(7)",
    "import ctypes\nctypes.string_at(0)",
    "bytearray(20 * 10**9)",
    "import os\nwhile True: os.write(3, bytes(10**6))",
    "import os\nos.fork()",
    PROBLEM.rules[0].source,
)


def memory_bytes(process: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(process: int) -> list[str]:
    return sorted(entry.name for entry in Path(f"/proc/{process}/fd").iterdir())


def test_three_hundred_evaluations_leak_no_memory_descriptor_or_process(raw: Driver):
    for act in ACTS * 3:  # until buffers have their size
        raw.evaluate(act)
    processes = (os.getpid(), raw.zygote)
    memory, before = [memory_bytes(p) for p in processes], [descriptors(p) for p in processes]
    for number in range(300):
        raw.evaluate(ACTS[number % len(ACTS)])
    assert [descriptors(p) for p in processes] == before
    assert children(raw.zygote) == []
    assert len(all_children(raw.zygote)) <= 1  # that of the namespace
    grown = [memory_bytes(p) - m for p, m in zip(processes, memory, strict=True)]
    assert max(grown) < 20 * 10**6, grown
    assert raw.survivors() == []


def test_evaluators_that_come_and_go_leak_no_descriptor_or_process():
    def once() -> None:
        driver = Driver(Evaluator(PROBLEM, workers=1))
        driver.evaluate(PROBLEM.rules[0].source)
        driver.close()

    once()
    before = descriptors(os.getpid())
    ours = all_children(os.getpid())
    once()
    assert descriptors(os.getpid()) == before
    assert all_children(os.getpid()) == ours
