"""An evaluator per module, driven from ordinary test functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The modules beside this one are imported by name, also by zygotes.
sys.path.insert(0, str(Path(__file__).parent))

from arena import Arena, is_alive, make_arena

from evaluators.evaluator import Evaluator
from evaluators.outcome import Outcome
from evaluators.sandbox import namespaces
from evaluators.sandbox.limits import Limits
from evaluators.sandbox.seal import landlock_version

KEY = "sk-planted-in-the-parent"

needs_sandbox = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


def has_namespaces() -> bool:
    """Whether this kernel lets this user make them: tried in a process of its own."""
    code = "from evaluators.sandbox import namespaces; namespaces.enter(); namespaces.empty_root()"
    root = str(Path(namespaces.__file__).parents[2])
    return subprocess.run([sys.executable, "-c", code], cwd=root, stderr=subprocess.DEVNULL).returncode == 0


needs_namespaces = pytest.mark.skipif(not has_namespaces(), reason="this kernel or container forbids namespaces")


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

    def survivors(self) -> list[int]:
        return survivors()

    def close(self) -> None:
        self.run(self.evaluator.close())
        self.runner.close()


def children(process: int) -> list[int]:
    """Child processes, without the one that does nothing but hold the zygote's PID namespace."""
    return [child for child in namespaces.children(process) if not is_init(child)]


def is_init(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/comm").read_bytes().strip() == namespaces.INIT_NAME
    except FileNotFoundError:
        return False


def survivors() -> list[int]:
    """Processes that were forked from this process's zygotes and live.

    A fork keeps the command line, wherever it hides: in another session, group or parent.
    """
    ending = f"\0{os.getpid()}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
            if b"zygote_main" in line and line.endswith(ending):
                found.append(int(entry.name))
    zygotes = namespaces.children(os.getpid())
    return [process for process in found if is_alive(process) and not is_init(process) and process not in zygotes]


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
    limits = Limits(timeout_s=1.5, memory_bytes=256 * 2**20, result_bytes=8 * 2**20)
    driver = Driver(RawEvaluator(PROBLEM, workers=2, limits=limits))
    yield driver
    driver.close()
    os.environ.pop("OPENAI_API_KEY", None)


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with make_arena(tmp_path_factory.mktemp("arena")) as found:
        yield found
