"""A program that has taken over its worker changes everything it finds there, and no verdict.

Each tampering first does its worst to the worker's own memory and then evaluates an honest
program there: the outcome is that program's own, or a failure, and never anything better.
"""

from __future__ import annotations

import pytest
from conftest import Driver, needs_sandbox
from one_machine import PROBLEM

from evaluators.outcome import Ok

pytestmark = needs_sandbox

HONEST = PROBLEM.rules[1].source  # longest first: far from the optimum, so that lies would pay

# name: (what it does in the worker, kind of outcome)
TAMPERING = {
    "patch numpy": (
        "import numpy as np\nnp.full = np.zeros = np.cumsum = np.asarray = lambda *a, **k: np.array([0.0])",
        "infeasible",
    ),
    "patch numba": ("import numba\nnumba.njit = lambda *a, **k: (lambda f: (lambda *b: 0.0))", "ok"),
    "patch the problem's module": (
        "import one_machine as m\nm.verify = lambda *a: None\nm.measure = lambda *a: {'cost': 0.0}\n"
        "m.optimum = lambda *a: 1e9",
        "ok",
    ),
    "patch the problem": (
        "p = prepared.problem\nobject.__setattr__(p, 'verify', lambda *a: None)\n"
        "object.__setattr__(p, 'measure', lambda *a: {'cost': 0.0})",
        "ok",
    ),
    "patch the scoring": (
        "import sys\nsys.modules['evaluators.scoring'] = sys.modules['evaluators.evaluator'] = None\n"
        "wire.decode = wire.BadAnswer = None",
        "ok",
    ),
    "walk the frames": (
        "import sys\nframe = sys._getframe()\n"
        "while frame:\n"
        "    frame.f_globals.update(score=lambda *a: 1e9, measure=lambda *a: {'cost': 0.0})\n"
        "    for value in list(frame.f_locals.values()):\n"
        "        if isinstance(value, dict): value.update(combined_score=1e9, correct=True, gap=-100.0)\n"
        "    frame = frame.f_back\n"
        "found['program'] = PROGRAM",
        "ok",
    ),
    "walk the heap": (
        "import gc\nfor thing in gc.get_objects():\n"
        "    if type(thing).__name__ == 'Instance': thing.references.clear()\n"
        "    if type(thing).__name__ == 'Objective': object.__setattr__(thing, 'direction', 'max')",
        "ok",
    ),
    "patch the built-ins": (
        "import builtins\nbuiltins.sum = builtins.max = builtins.float = lambda *a, **k: 0.0\n"
        "builtins.isinstance = lambda *a: True",
        "compile_error|crashed",
    ),
    "swap the code of a function": (
        "def fake(*a): return a[0].data\nworker._simulate.__code__ = fake.__code__",
        "crashed|infeasible",
    ),
    "hang attributes on functions": (
        "worker.evaluate.score = wire.encode_answer.score = prepared.problem.verify.score = 1e9",
        "ok",
    ),
    "stop the clock": (
        "import time\nfor name in ('monotonic', 'thread_time_ns', 'perf_counter', 'process_time'):\n"
        "    setattr(time, name, lambda: 0)",
        "ok",
    ),
    "shorten the jobs": (
        "import ctypes\nfor case in prepared.splits['train']:\n"
        "    array = case.data.duration\n    ctypes.memset(array.ctypes.data, 0, array.nbytes)",
        "infeasible",
    ),
    "make the jobs weigh nothing": (
        "import ctypes\nfor case in prepared.splits['train']:\n"
        "    array = case.data.weight\n    ctypes.memset(array.ctypes.data, 0, array.nbytes)",
        "ok",
    ),
    "swap the instances": ("prepared.splits['train'] = prepared.splits['train'][:1] * 6", "infeasible"),
    "reorder the instances": ("prepared.splits['train'].reverse()", "infeasible"),
    "drop instances": ("del prepared.splits['train'][1:]", "crashed"),
    "duplicate instances": ("prepared.splits['train'] *= 2", "crashed"),
    "answer with NaN": ("BEND(lambda c: c * float('nan'))", "infeasible"),
    "answer with infinities": ("BEND(lambda c: c + float('inf'))", "infeasible"),
    "answer with huge numbers": ("BEND(lambda c: c * 1e300)", "ok|infeasible"),
    "answer with negative times": ("BEND(lambda c: -c)", "infeasible"),
    "answer with all jobs at once": ("BEND(lambda c: c * 0 + c.max())", "infeasible"),
    "answer a little early": ("BEND(lambda c: c - 1e-3)", "infeasible"),
    "answer too few jobs": ("BEND(lambda c: c[1:])", "infeasible"),
    "answer too many jobs": ("BEND(lambda c: c.repeat(2))", "infeasible"),
    "answer no jobs": ("BEND(lambda c: c[:0])", "infeasible"),
    "answer twice": ("encode = wire.encode_answer\nwire.encode_answer = lambda *a: encode(*a) * 2", "crashed"),
    "answer in another's name": ("worker._send(wire.encode_failure('crashed', 'run', 'x') + b'S' * 1000)", "crashed"),
    "claim to be unsealed": ("worker._send(b'{\"missing\": []}')", "crashed"),
    "claim a huge shape": (
        "import struct\nworker._send(b'S' + struct.pack('<I3d32s', 6, 0, 0, 0, bytes(32)) + bytes(8) + "
        "bytes([wire._DTYPES.index('<f8'), 1]) + struct.pack('<q', 2**62))",
        "crashed",
    ),
    "claim a negative shape": (
        "import struct\nworker._send(b'S' + struct.pack('<I3d32s', 6, 0, 0, 0, bytes(32)) + bytes(8) + "
        "bytes([wire._DTYPES.index('<f8'), 1]) + struct.pack('<q', -1))",
        "crashed",
    ),
    "claim a hundred dimensions": (
        "import struct\nworker._send(b'S' + struct.pack('<I3d32s', 6, 0, 0, 0, bytes(32)) + bytes(8) + "
        "bytes([wire._DTYPES.index('<f8'), 100]))",
        "crashed",
    ),
    "claim four billion solutions": (
        "import struct\nworker._send(b'S' + struct.pack('<I3d32s', 2**32 - 1, 0, 0, 0, bytes(32)))",
        "crashed",
    ),
    "answer 100 MB": ("for _ in range(100): worker._send(bytes(10**6))", "crashed"),
    "answer byte by byte": ("import os\nfor _ in range(10**5): os.write(3, b'x')", "crashed"),
    "hide an escape sequence in a name": ("raise ValueError('\\x1b[2J\\x07' * 100)", "crashed"),
}

BEND = """
import numpy as np
def BEND(change):
    honest = worker._simulate
    worker._simulate = lambda case, program: type(honest(case, program))(change(honest(case, program)[0]))
"""


@pytest.fixture(scope="module")
def honest(raw: Driver) -> Ok:
    outcome = raw.evaluate(HONEST)
    assert isinstance(outcome, Ok)
    return outcome


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_changes_no_verdict(raw: Driver, honest: Ok, name: str):
    source, kinds = TAMPERING[name]
    outcome = raw.evaluate(f"PROGRAM = found['program'] = {HONEST!r}\n{BEND}\n{source}\n")
    assert outcome.kind in kinds.split("|"), outcome
    if isinstance(outcome, Ok) and "huge" not in name:
        assert outcome.raw == honest.raw
        assert outcome.values["gap"] == honest.values["gap"]
    if isinstance(outcome, Ok):
        assert outcome.objectives["gap"] >= honest.objectives["gap"]
        assert outcome.objectives["decision_ns"] >= 0
    else:
        assert outcome.reason.isprintable()
    assert raw.survivors() == []
    after = raw.evaluate(HONEST)
    assert isinstance(after, Ok)
    assert (after.raw, after.values["gap"], after.fingerprint) == (honest.raw, honest.values["gap"], honest.fingerprint)


def test_every_lie_about_a_schedule_would_pay_if_it_were_believed(honest: Ok):
    assert honest.objectives["gap"] > 10.0
