"""An evaluator per module, driven from ordinary test functions."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The modules beside this one are imported by name, also by zygotes.
sys.path.insert(0, str(Path(__file__).parent))

from evaluators.evaluator import Evaluator
from evaluators.limits import Limits
from evaluators.outcome import Outcome
from evaluators.seal import landlock_version

KEY = "sk-planted-in-the-parent"

needs_sandbox = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


class Driver:
    """An evaluator and the event loop it lives in."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.runner = asyncio.Runner()
        self.run(evaluator.start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def evaluate(self, source: str, split: str = "train") -> Outcome:
        return self.run(self.evaluator.evaluate(source, split))

    @property
    def zygote(self) -> int:
        return self.evaluator.zygote_pid

    def workers(self) -> list[int]:
        return children(self.zygote)

    def close(self) -> None:
        self.run(self.evaluator.close())
        self.runner.close()


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]


def is_alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class RawEvaluator(Evaluator):
    """Admits anything and has the sealed worker run it as plain Python."""

    task = "raw_task:run"

    def _admit(self, source: str) -> None:
        pass


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    from one_machine import PROBLEM

    driver = Driver(Evaluator(PROBLEM, workers=2, limits=Limits(timeout_s=3.0)))
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def raw() -> Iterator[Driver]:
    from one_machine import PROBLEM

    os.environ["OPENAI_API_KEY"] = KEY
    limits = Limits(timeout_s=1.0, memory_bytes=256 * 2**20, result_bytes=8 * 2**20)
    driver = Driver(RawEvaluator(PROBLEM, workers=2, limits=limits))
    yield driver
    driver.close()
    del os.environ["OPENAI_API_KEY"]
