"""The acts against sealed workers are real: without a seal, each does what its name says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from arena import make_arena
from hostile_acts import ACTS, prelude

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the acts are Linux system calls"),
    pytest.mark.slow,
]

_HANG_S, _END_S = 0.7, 20.0
REAL = {name: act.unsealed for name, act in ACTS.items() if act.unsealed in ("ends", "hangs", "dies")}


@pytest.mark.parametrize("name", REAL)
def test_an_act_works_in_an_ordinary_process(name: str, tmp_path: Path):
    with make_arena(tmp_path) as arena:
        source = f"{prelude(arena.targets)}\n{ACTS[name].source}\nos.write(9, b'reached')"
        ended, output = run(source, _HANG_S if REAL[name] == "hangs" else _END_S, tmp_path.with_suffix(".log"))
        if REAL[name] == "hangs":
            assert not ended
        else:
            assert ended
            assert (output == "reached") == (REAL[name] == "ends"), output


def test_most_acts_are_tried_without_a_seal():
    assert len(REAL) > 0.7 * len(ACTS)
    assert len(ACTS) >= 100


def run(source: str, patience_s: float, log: Path) -> tuple[bool, str]:
    """Run Python in a session of its own; whether it ended by itself, and what it said.

    What it leaves behind is killed with its session, or ends by itself after ``SLEEP_S``.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", f"import os\nos.dup2({writer}, 9)\n{source}"],
            env=os.environ | {"OPENAI_API_KEY": "sk-planted"},
            pass_fds=[writer],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    os.close(writer)
    try:
        process.wait(patience_s)
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    try:
        output = os.read(reader, 100).decode()
    except BlockingIOError:
        output = ""
    os.close(reader)
    return ended, output or log.read_text()[-500:]
