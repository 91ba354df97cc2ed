"""Hostile Python inside a sealed worker: each attack ends in its typed outcome, and nothing else happens."""

from __future__ import annotations

import os
import re
import time

import pytest
from conftest import KEY, Driver, needs_sandbox
from one_machine import PROBLEM

from evaluators.outcome import Ok

pytestmark = needs_sandbox

INNOCENT = PROBLEM.rules[0].source
DENIED = r"PermissionError"

# name: (program, kind of outcome, what its reason matches)
ATTACKS = {
    "endless loop": ("while True: pass", "timed_out", r"killed after 1 s"),
    "endless loop that ignores signals": (
        "import signal\nfor s in (1, 2, 14, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "timed_out",
        r"killed after 1 s",
    ),
    "closed answer, then a loop": ("import os\nos.close(3)\nwhile True: pass", "timed_out", r"killed after 1 s"),
    "answer, then a loop": (
        "import os\nos.write(3, wire.encode_failure('crashed', 'run', 'done'))\nwhile True: pass",
        "timed_out",
        r"killed after 1 s",
    ),
    "sleep": ("import time\ntime.sleep(60)", "crashed", DENIED),
    "20 GB of bytes": ("bytearray(20 * 10**9)", "out_of_memory", r"."),
    "20 GB of ones": ("import numpy as np\nnp.ones(20 * 10**9 // 8)", "out_of_memory", r"allocate"),
    "memory by and by": ("hoard = []\nwhile True: hoard.append(bytearray(10**7))", "out_of_memory", r"."),
    "os._exit": ("import os\nos._exit(7)", "crashed", r"exit code 7 and no answer"),
    "os._exit(0)": ("import os\nos._exit(0)", "crashed", r"exit code 0 and no answer"),
    "sys.exit": ("import sys\nsys.exit(0)", "crashed", r"SystemExit"),
    "abort": ("import os\nos.abort()", "crashed", r"died of SIG(SEGV|ABRT)"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "crashed", r"died of SIGSEGV"),
    "stack overflow": ("def f(): f()\nf()", "crashed", r"RecursionError"),
    "fork": ("import os\nos.fork()", "crashed", DENIED),
    "thread": ("import _thread\n_thread.start_new_thread(print, ())", "crashed", r"can't start new thread"),
    "exec": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'true'])", "crashed", DENIED),
    "subprocess": ("import subprocess\nsubprocess.run(['/bin/true'])", "crashed", DENIED),
    "new session": ("import os\nos.setsid()", "crashed", DENIED),
    "socket": ("import socket\nsocket.socket()", "crashed", DENIED),
    "socket on the answer": (
        "import socket\nsocket.socket(fileno=3).send(b'x', 0)",
        "crashed",
        DENIED,
    ),
    "read a file": ("open('/etc/passwd')", "crashed", DENIED),
    "read the environment of the parent": ("open('/proc/1/environ')", "crashed", DENIED),
    "list a folder": ("import os\nos.listdir('/')", "crashed", DENIED),
    "stat a file": ("import os\nos.stat('/etc/passwd')", "crashed", DENIED),
    "write a file": ("open('/tmp/escaped', 'w')", "crashed", DENIED),
    "remove a file": ("import os\nos.unlink('/tmp/escaped')", "crashed", DENIED),
    "make a folder": ("import os\nos.mkdir('/tmp/escaped')", "crashed", DENIED),
    "kill the parent": ("import os\nos.kill(os.getppid(), 9)", "crashed", DENIED),
    "kill everybody": ("import os\nos.kill(-1, 9)", "crashed", DENIED),
    "trace": ("from evaluators import seal\nseal.trace_me()", "crashed", DENIED),
    "outlive the zygote": ("from evaluators import seal\nseal._prctl(1, 0)", "crashed", DENIED),
    "raise the limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "crashed",
        r"PermissionError|not allowed|ValueError",
    ),
    "late import": ("import sqlite3", "crashed", r"ModuleNotFoundError|ImportError|PermissionError"),
    "100 MB of answer": ("import os\nwhile True: os.write(3, bytes(10**6))", "crashed", r"more than 8,388,608 bytes"),
    "flood of standard output": (
        "import os\nfor _ in range(100): os.write(1, bytes(10**6)); os.write(2, bytes(10**6))",
        "crashed",
        r"survived",
    ),
    "environment": ("import os\nfound['said'] = repr(sorted(os.environ.items()))", "crashed", r"survived"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_gets_its_typed_outcome_in_time_and_leaves_nothing(raw: Driver, name: str):
    source, kind, reason = ATTACKS[name]
    raw.evaluate(INNOCENT)  # whatever the first evaluation loads is not timed
    started = time.monotonic()
    outcome = raw.evaluate(source)
    elapsed_s = time.monotonic() - started
    assert (outcome.kind, outcome.stage) == (kind, "run"), outcome
    assert re.search(reason, outcome.reason), outcome.reason
    assert KEY not in outcome.reason
    assert elapsed_s < raw.evaluator.limits.timeout_s + 1.0
    assert raw.workers() == []
    assert isinstance(raw.evaluate(INNOCENT), Ok)
    assert not os.path.exists("/tmp/escaped")


def test_attacks_do_not_disturb_innocents_that_run_beside_them(raw: Driver):
    import asyncio

    async def mixed():
        hostile = [raw.evaluator.evaluate(ATTACKS[name][0], "train") for name in ("endless loop", "os._exit", "fork")]
        innocent = [raw.evaluator.evaluate(INNOCENT, "train") for _ in range(6)]
        return await asyncio.gather(*hostile, *innocent)

    outcomes = raw.run(mixed())
    assert [o.kind for o in outcomes] == ["timed_out", "crashed", "crashed", *["ok"] * 6]


# A worker under an attacker's control may write any bytes to its parent.
FORGED = {
    "noise": ("bytes(range(256))", "crashed", "neither"),
    "nothing but a kind": ("b'S'", "crashed", "ends too early"),
    "too few solutions": ("wire.encode_answer(wire.Answer([], [], '', 0, 0, 0), bytes(32))", "crashed", "0 solutions"),
    "a pickle": ("__import__('pickle').dumps(print)", "crashed", "neither"),
    "unknown failure": ("b'F\\xff\\x00hello'", "crashed", "no known kind"),
    "long reason": ("b'F\\x01\\x01' + b'x' * 5000", "crashed", "no known kind"),
    "not a number of seconds": (
        "wire.encode_answer(wire.Answer(solutions, [1] * 6, '', float('nan'), 0, 0), bytes(32))",
        "crashed",
        "times are not finite",
    ),
    "wrong dtype": (
        "wire.encode_answer(wire.Answer([(s[0].astype('i4'),) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "crashed",
        "not float64 with 1 dimensions",
    ),
    "wrong shape": (
        "wire.encode_answer(wire.Answer([(s[0][:-1],) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "infeasible",
        "must have shape",
    ),
    "trailing bytes": (
        "wire.encode_answer(wire.Answer(solutions, [1] * 6, '', 0, 0, 0), bytes(32)) + b'!'",
        "crashed",
        "follow the last",
    ),
    "impossible schedule": (
        "wire.encode_answer(wire.Answer([(s[0] * 0.5,) for s in solutions], [1] * 6, '', 0, 0, 0), bytes(32))",
        "infeasible",
        "instance 5-0",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_answers_are_not_believed(raw: Driver, name: str):
    expression, kind, reason = FORGED[name]
    outcome = raw.evaluate(
        "import os, numpy as np\n"
        "solutions = [(np.cumsum(case.data.duration),) for case in prepared.splits['train']]\n"
        f"data = {expression}\n"
        "while data: data = data[os.write(3, data):]\n"
        "os._exit(0)"
    )
    assert (outcome.kind, reason in outcome.reason) == (kind, True), outcome


def test_an_honest_answer_from_a_hostile_process_is_only_as_good_as_its_schedule(raw: Driver):
    outcome = raw.evaluate(
        "import os, numpy as np\n"
        "solutions = [(np.cumsum(case.data.duration),) for case in prepared.splits['train']]\n"
        "os.write(3, wire.encode_answer(wire.Answer(solutions, [1] * 6, '', 0, 0, 0), bytes(32)))\n"
        "os._exit(0)"
    )
    assert isinstance(outcome, Ok)
    assert outcome.objectives["gap"] > 0


def test_control_characters_in_a_reason_do_not_reach_the_terminal(raw: Driver):
    outcome = raw.evaluate("raise ValueError('\\x1b[2J\\x07owned')")
    assert outcome.reason.isprintable()


def test_a_worker_sees_only_the_variables_that_pass(raw: Driver):
    outcome = raw.evaluate("import os\nfound['said'] = ' '.join(sorted(os.environ))")
    passed = set(outcome.reason.removeprefix("survived: ").split())
    assert not any("KEY" in name or "TOKEN" in name for name in passed)
    assert passed <= {"HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "TMPDIR", "LC_ALL"} | {
        f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")
    }


def test_a_worker_holds_four_descriptors(raw: Driver):
    outcome = raw.evaluate(
        "import os\n"
        "def is_open(fd):\n"
        "    try: os.read(fd, 0)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "found['said'] = [fd for fd in range(1000) if is_open(fd)]"
    )
    assert outcome.reason == "survived: [0, 1, 2, 3]"
