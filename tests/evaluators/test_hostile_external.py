"""Every act of ``hostile_acts`` from the program of a task, in a process of its own and in the evaluator's.

Unlike in Python mode, packages and the task's folder may be read there, and threads started.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from arena import PRIVATE_KEY, Arena
from conftest import KEY, Driver, needs_sandbox
from hostile_acts import ACTS, prelude

from evaluators.outcome import Ok, Outcome
from evaluators.tasks.external import ExternalEvaluator
from problems import registry

pytestmark = needs_sandbox

TASKS = Path(__file__).parent / "tasks"
SECONDS = 1.5

# What these processes may do, because evaluators need it: it ends, and leaves no trace.
ALLOWED = (
    "stat a file",  # names and sizes of files, not what they hold
    "ask whether a file exists",
    "read the source of a module",
    "start a thread",
    "make a socket pair",
    "make an anonymous file",
    "set an alarm",
    "sleep",
    "read the own environment",  # at most by this name: it holds no key
    "raise its limits",  # a limit of its own, which cannot be raised: it may be lowered
    "change permissions",  # ignored: nothing changes
    "change times",
    "change its priority",
    "wait for a signal",
    "stop itself",
    "import a file",
    "use an inherited descriptor",
    "send a descriptor over the answer",
    "flood of standard output",  # it leads nowhere
    "a warning per line",
)
ANY = "crashed|timed_out|out_of_memory|infeasible|non_finite"


class RawExternalEvaluator(ExternalEvaluator):
    """Admits anything."""

    def _admit(self, source: str) -> None:
        pass


def start(isolate: bool) -> Driver:
    problem = registry.load(f"task:{TASKS / 'packing'}")
    assert problem.task is not None
    task = dataclasses.replace(problem.task, isolate=isolate, timeout_s=SECONDS, memory_bytes=256 * 2**20)
    return Driver(RawExternalEvaluator(dataclasses.replace(problem, task=task), workers=2))


@pytest.fixture(scope="module", params=["apart", "together"])
def tasks(request: pytest.FixtureRequest) -> Iterator[Driver]:
    os.environ["OPENAI_API_KEY"] = KEY
    driver = start(request.param == "apart")
    yield driver
    driver.close()
    del os.environ["OPENAI_API_KEY"]


@pytest.fixture(scope="module")
def innocent(tasks: Driver) -> Ok:
    outcome = tasks.run(tasks.evaluator.score(INITIAL))
    assert isinstance(outcome, Ok)
    return outcome


INITIAL = (TASKS / "packing" / "initial_program.py").read_text()


def scored(driver: Driver, source: str) -> Outcome:
    """Evaluate a hostile program: in time, nothing said that is secret, nobody left."""
    started = time.monotonic()
    outcome = driver.run(driver.evaluator.score(source))
    elapsed_s = time.monotonic() - started
    assert elapsed_s < SECONDS + 0.5
    assert KEY not in repr(outcome)
    assert PRIVATE_KEY not in repr(outcome)
    assert driver.survivors() == []
    return outcome


@pytest.mark.parametrize("name", ACTS)
def test_an_act_of_a_tasks_program_gets_its_typed_outcome_and_leaves_no_trace(
    tasks: Driver, arena: Arena, innocent: Ok, name: str
):
    act = ACTS[name]
    body = textwrap.indent(f"{act.source}\nraise RuntimeError('survived')", "    ")
    outcome = scored(tasks, f"{prelude(arena.targets)}\ndef pack(items):\n{body}\n")
    assert outcome.kind in ANY.split("|"), outcome
    if name not in ALLOWED:
        assert not re.search("survived", outcome.reason), outcome
    assert arena.traces() == []
    after = tasks.run(tasks.evaluator.score(INITIAL))
    assert isinstance(after, Ok)
    assert after.objectives == innocent.objectives


# What only a program that shares a process with the evaluator can do.
TAMPERING = {
    "patch the evaluator": (
        "import sys\nfor m in list(sys.modules.values()):\n"
        "    if str(getattr(m, '__file__', '')).endswith('evaluator.py') and hasattr(m, 'check'):\n"
        "        m.check = lambda *a: 1e-9\n"
    ),
    "patch numpy": "import numpy as np\nnp.random.default_rng = lambda *a: None\n",
    "walk the frames": (
        "import sys\nframe = sys._getframe()\n"
        "while frame:\n    frame.f_globals.update(CAPACITY=1e9)\n    frame = frame.f_back\n"
    ),
    "change the built-ins": "import builtins\nbuiltins.sum = lambda *a: 0.0\nbuiltins.len = lambda *a: 0\n",
    "forge an answer": (
        "import os, sys\nf = sys.modules['evaluators.processes.frames']\n"
        "for d in range(3, 9):\n    try: os.write(d, f.pack(b'A', {'combined_score': 1e9}))\n    except OSError: pass\n"
    ),
    "overwrite the evaluator": (
        "import os\nfor path in ('../evaluator.py', os.path.join(os.path.dirname(__file__), 'evaluator.py')):\n"
        "    try: open(path, 'w').write('')\n    except OSError: pass\n"
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_a_program_in_a_process_of_its_own_moves_no_verdict(tasks: Driver, innocent: Ok, name: str):
    if not tasks.run(tasks.evaluator.isolates()):
        pytest.skip("a program that shares the evaluator's process can: evolve doctor --task says so")
    before = (TASKS / "packing" / "evaluator.py").read_bytes()
    outcome = scored(tasks, f"{INITIAL}\n{TAMPERING[name]}")
    assert (TASKS / "packing" / "evaluator.py").read_bytes() == before
    if isinstance(outcome, Ok):
        assert outcome.objectives == innocent.objectives
    else:
        assert outcome.kind == "crashed"


def test_whatever_a_program_does_to_the_evaluator_the_next_one_meets_a_fresh_one(tasks: Driver, innocent: Ok):
    for source in TAMPERING.values():
        scored(tasks, f"{INITIAL}\n{source}")
        after = tasks.run(tasks.evaluator.score(INITIAL))
        assert isinstance(after, Ok)
        assert after.objectives == innocent.objectives


def test_a_program_may_use_threads_and_packages_and_the_tasks_folder(tasks: Driver, innocent: Ok):
    source = (
        "from concurrent.futures import ThreadPoolExecutor\nimport numpy, tomli_w\n"
        "with ThreadPoolExecutor(2) as pool: assert list(pool.map(abs, [-1, 2])) == [1, 2]\n"
        f"assert 'bins' in open({str(TASKS / 'packing' / 'README.md')!r}).read()\n"
    )
    outcome = scored(tasks, source + INITIAL)
    assert isinstance(outcome, Ok), outcome
    assert outcome.objectives == innocent.objectives


def test_no_zombie_and_no_scratch_folder_is_left(tasks: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for source in (INITIAL, "import os\nos._exit(0)\n", "def pack(items):\n    while True: pass\n"):
        scored(tasks, source)
    time.sleep(0.2)  # the last one's processes are reaped after its outcome is known
    assert tasks.workers() == []
    assert not list(tmp_path.iterdir())
