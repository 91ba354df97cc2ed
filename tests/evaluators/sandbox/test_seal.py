"""Each limit by itself, tried in a process of its own; and what is left when layers are missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from arena import Arena
from conftest import Driver, RawEvaluator, needs_namespaces, needs_sandbox
from hostile_acts import ACTS, READS, WRITES, prelude
from one_machine import PROBLEM

from evaluators.outcome import Ok
from evaluators.sandbox import seal
from evaluators.sandbox.limits import Limits

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems limit other things")

# limit: (what exceeds it, how the process ends)
EXCEEDING = {
    "memory": ("bytearray(128 * 2**20)", "MemoryError"),
    "memory that is mapped": ("mmap.mmap(-1, 128 * 2**20)", "Cannot allocate memory"),
    "file size": ("open('file', 'w').write('x' * 10**5)", "File too large"),
    "open files": ("import os\nwhile True: os.dup(1)", "Too many open files"),
    "processes": ("import os\nos.fork()", "Resource temporarily unavailable"),
    "threads": ("import _thread\n_thread.start_new_thread(print, ())", "can't start new thread"),
    "limits themselves": ("import resource as r\nr.setrlimit(r.RLIMIT_FSIZE, (1, 1))", "not allowed to raise"),
}
_NOBODY = """
import os
if os.geteuid() == 0:  # the kernel counts no processes of root
    os.setgid(65534)
    os.setuid(65534)
"""


def limited(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python within limits of 64 MiB and 1 s of CPU time, as an ordinary user."""
    folder.chmod(0o777)
    start = f"import mmap\nfrom evaluators.sandbox import seal\nseal._libc()\n{_NOBODY}\n"
    start += "seal.limit_resources(64 * 2**20, 1)\n"
    root = str(Path(seal.__file__).parents[2])
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {root!r})\n{start}{source}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@linux
@pytest.mark.parametrize("name", EXCEEDING)
def test_a_limit_holds_by_itself(name: str, tmp_path: Path):
    source, ending = EXCEEDING[name]
    done = limited(source, tmp_path)
    assert done.returncode == 1
    assert ending in done.stderr
    assert [p.name for p in tmp_path.iterdir() if p.stat().st_size > 0] == []


@linux
def test_cpu_time_is_limited_even_if_the_signal_is_ignored(tmp_path: Path):
    done = limited("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", tmp_path)
    assert done.returncode == -signal.SIGKILL


@linux
def test_a_crash_leaves_no_core_dump(tmp_path: Path):
    done = limited("import os\nos.abort()", tmp_path)
    assert done.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []


# What is left without some layers: (switched off, acts that are refused all the same).
# Files are behind four walls, networks behind three, other processes behind three.
REACHING_OUT = {name: act for name, act in ACTS.items() if act.unsealed == "ends"}
FILES = {name for name in READS | WRITES if name in REACHING_OUT} - {
    "read the own environment", "read the own memory map", "read through the root of a process",
    "read the parent's environment", "read the parent's memory",
    "make an anonymous file", "get System V shared memory", "read the source of a module",
}  # fmt: skip
NETS = {"connect over TCP", "connect to an abstract socket", "send a datagram", "connect to a unix socket"}
OTHERS = {"kill a process", "signal the parent", "trace a process", "signal through a descriptor", "queue a signal"}
REMAINING = {
    "landlock": FILES | NETS | OTHERS | (READS.keys() & REACHING_OUT.keys()),
    "seccomp": FILES | NETS | OTHERS,
    "landlock,seccomp": FILES | NETS | OTHERS,
    "namespaces,chroot,landlock": FILES | NETS | OTHERS,
    "namespaces,chroot,landlock,seccomp": set(),
}


@pytest.fixture(scope="module", params=REMAINING)
def weak(request: pytest.FixtureRequest) -> Iterator[Driver]:
    os.environ[seal.SWITCH] = request.param
    os.environ["OPENAI_API_KEY"] = "sk-planted-in-the-parent"
    limits = Limits(timeout_s=1.5, memory_bytes=256 * 2**20, result_bytes=8 * 2**20)
    try:
        driver = Driver(RawEvaluator(PROBLEM, workers=1, limits=limits, allow_weak_sandbox=True))
    finally:
        del os.environ[seal.SWITCH]
    yield driver
    driver.close()


@needs_sandbox
@needs_namespaces
@pytest.mark.slow
def test_what_layers_are_left_still_refuse(weak: Driver, arena: Arena, request: pytest.FixtureRequest):
    off = request.node.callspec.params["weak"]
    done = []
    for name in sorted(REMAINING[off]):
        outcome = weak.evaluate(f"{prelude(arena.targets)}\n{ACTS[name].source}")
        if outcome.reason.startswith("survived"):
            done.append(name)
    assert done == []
    assert arena.traces() == []


@needs_sandbox
@pytest.mark.slow
def test_nothing_survives_a_weak_sandbox_either(weak: Driver, arena: Arena):
    for name in ("leave a daemon", "fork bomb", "start a helper, then overrun", "fork"):
        weak.evaluate(f"{prelude(arena.targets)}\n{ACTS[name].source}")
        assert weak.survivors() == [], name
    assert isinstance(weak.evaluate(PROBLEM.rules[0].source), Ok)
