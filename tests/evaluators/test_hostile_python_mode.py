"""Every act of ``hostile_acts``, and every lie about a solution, from whole programs in Python mode.

Nothing is refused at admission here: what a program may do is what its sealed worker can do.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Iterator

import pytest
from arena import PRIVATE_KEY, Arena
from conftest import KEY, Driver, needs_sandbox
from hostile_acts import ACTS, EXITS, HANGS, MEMORY, prelude
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequencing import EDD, MDD, PROBLEM

from evaluators.outcome import Ok, Outcome
from evaluators.python_mode import PythonEvaluator
from evaluators.sandbox.limits import Limits

pytestmark = needs_sandbox

assert PROBLEM.solver is not None
SECONDS = PROBLEM.solver.seconds


class RawPythonEvaluator(PythonEvaluator):
    """Admits anything."""

    def _admit(self, source: str) -> None:
        pass


@pytest.fixture(scope="module")
def raw_programs() -> Iterator[Driver]:
    os.environ["OPENAI_API_KEY"] = KEY
    driver = Driver(RawPythonEvaluator(PROBLEM, workers=2, limits=Limits(memory_bytes=256 * 2**20)))
    yield driver
    driver.close()
    del os.environ["OPENAI_API_KEY"]


@pytest.fixture(scope="module")
def innocent(raw_programs: Driver) -> Ok:
    outcome = raw_programs.evaluate(EDD)
    assert isinstance(outcome, Ok)
    return outcome


def verdict(outcome: Outcome) -> object:
    assert isinstance(outcome, Ok), outcome
    return outcome.objectives, outcome.raw, outcome.fingerprint


def check(driver: Driver, source: str, kinds: str, reason: str, *, limit_s: float = SECONDS) -> Outcome:
    """Evaluate a hostile program: typed outcome, in time, nothing said that is secret, nobody left."""
    started = time.monotonic()
    outcome = driver.evaluate(source)
    elapsed_s = time.monotonic() - started
    assert outcome.kind in kinds.split("|"), outcome
    assert re.search(reason, getattr(outcome, "reason", "")), outcome
    assert elapsed_s < limit_s + 0.5
    assert KEY not in repr(outcome)
    assert PRIVATE_KEY not in repr(outcome)
    assert driver.survivors() == []
    return outcome


@pytest.mark.parametrize("name", ACTS)
def test_an_act_in_solve_gets_its_typed_outcome_and_leaves_no_trace(
    raw_programs: Driver, arena: Arena, innocent: Ok, name: str
):
    act = ACTS[name]
    body = textwrap.indent(f"{act.source}\nraise RuntimeError('survived')", "    ")
    # the clock of one instance is shorter than that of a whole evaluation
    kinds = f"{act.kind}|timed_out" if name in MEMORY else act.kind
    check(raw_programs, f"{prelude(arena.targets)}\ndef solve(instance):\n{body}\n", kinds, act.reason)
    assert arena.traces() == []
    assert verdict(raw_programs.evaluate(EDD)) == verdict(innocent)


@pytest.mark.parametrize("name", [*HANGS, *EXITS, "fork", "20 GB of ones", "recursion", "read a private key"])
def test_an_act_at_import_gets_its_typed_outcome_and_leaves_no_trace(
    raw_programs: Driver, arena: Arena, innocent: Ok, name: str
):
    act = ACTS[name]
    source = f"{prelude(arena.targets)}\n{act.source}\nraise RuntimeError('survived')\ndef solve(i): return []\n"
    check(raw_programs, source, act.kind, act.reason)
    assert arena.traces() == []
    assert verdict(raw_programs.evaluate(EDD)) == verdict(innocent)


@st.composite
def _programs(draw: st.DrawFn) -> str:
    """A program put together at random from pieces that compute, fail, loop and return odd things."""
    pieces = ["x = i.due", "x = [x]", "x = x[0]", "x = -x", "x = sorted(range(len(i.due)), key=lambda j: i.due[j])",
              "x = {'order': x}", "x = 1 / 0", "del x", "x = x * 10**6", "while not x: pass", "x = lambda: x",
              "x = i", "import os", "raise SystemExit", "x = str(x)", "x = 10**400", "return x"]  # fmt: skip
    body = draw(st.lists(st.sampled_from(pieces), max_size=6))
    return "def solve(i):\n    x = None\n" + "".join(f"    {piece}\n" for piece in [*body, "return x"])


# Frames as a program that has taken over its worker may write them.
_WRITE = "import os\nfrom evaluators.processes import frames\nORDER = frames.pack(b'A', list(range(12)))\n"

# name: (program, kinds of outcome, what the reason matches)
LIES = {
    "answer before being asked": (
        _WRITE + "os.write(3, frames.pack(b'R', None))\nos.write(3, ORDER * 50)\ndef solve(i): return []\n",
        "infeasible|crashed|ok",
        "",
    ),
    "answer with noise": ("import os\nos.write(3, bytes(range(256)) * 10)\ndef solve(i): return []\n", "crashed", "."),
    "answer with a pickle": (
        "import os, pickle\ndef solve(i):\n    data = pickle.dumps(print)\n"
        "    os.write(3, len(data).to_bytes(4, 'little') + data)\n    while True: pass\n",
        "crashed",
        "malformed",
    ),
    "claim an answer of 4 GB": (
        "import os\nos.write(3, b'\\xff' * 4)\ndef solve(i): return []\n",
        "crashed",
        "admitted",
    ),
    "claim an array of a terabyte": (
        "import os\ndef solve(i):\n    body = b'Aa\\x08\\x01' + (2**40).to_bytes(8, 'little')\n"
        "    os.write(3, len(body).to_bytes(4, 'little') + body)\n    while True: pass\n",
        "crashed",
        "does not fit",
    ),
    "claim two thousand million items": (
        "import os\ndef solve(i):\n    body = b'Al' + (2**31).to_bytes(4, 'little')\n"
        "    os.write(3, len(body).to_bytes(4, 'little') + body)\n    while True: pass\n",
        "crashed",
        "items in",
    ),
    "nest an answer without end": (
        "import os\ndef solve(i):\n    body = b'A' + b'l\\x01\\0\\0\\0' * 1000\n"
        "    os.write(3, len(body).to_bytes(4, 'little') + body)\n    while True: pass\n",
        "crashed",
        "nested",
    ),
    "answer 24 MB": ("import numpy as np\ndef solve(i): return np.zeros(3 * 10**6)\n", "crashed", "admitted"),
    "answer byte by byte, without end": (
        "import os\nos.write(3, (10**6).to_bytes(4, 'little'))\ndef solve(i):\n    while True: pass\n"
        "while True:\n    os.write(3, b'x')\n    for _ in range(10**5): pass\n",
        "timed_out|crashed",
        ".",
    ),
    "claim to have failed otherwise": (
        _WRITE + "os.write(3, frames.pack(b'F', ['ok', 'x']))\ndef solve(i): return []\n",
        "crashed",
        "no known kind",
    ),
    "hide an escape sequence in a message": ("raise ValueError('\\x1b[2J\\x07' * 100)\n", "crashed", "ValueError"),
    "return an object that encodes itself": (
        "class Order(list):\n    def __iter__(self): return iter([0, 1])\n    def __len__(self): return 12\n"
        "def solve(i): return Order()\n",
        "crashed|infeasible",
        ".",
    ),
    "return another length": ("def solve(i): return list(range(len(i.due) - 1))\n", "infeasible", "shape"),
    "return jobs twice": ("def solve(i): return [0] * len(i.due)\n", "infeasible", "each job runs once"),
    "return NaN": ("def solve(i): return [float('nan')] * len(i.due)\n", "infeasible", "no int64"),
    "return infinities": (
        "import numpy as np\ndef solve(i): return np.full(len(i.due), np.inf)\n",
        "infeasible",
        "no int64",
    ),
    "return a score": ("def solve(i): return {'order': 0.0, 'total_tardiness': 0.0}\n", "infeasible", "1 dimension"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_an_outcome_and_nothing_better(raw_programs: Driver, innocent: Ok, name: str):
    source, kinds, reason = LIES[name]
    outcome = check(raw_programs, source, kinds, reason)
    if isinstance(outcome, Ok):
        assert outcome.objectives["ratio_of_sums"] >= 0.0
    else:
        assert outcome.reason.isprintable()
    assert verdict(raw_programs.evaluate(EDD)) == verdict(innocent)


# What a program does to its own process before it answers honestly by EDD: its verdict is EDD's.
TAMPERING = {
    "patch the problem's module": (
        "import sys, types\nsys.modules['problems.machine.total_tardiness'] = types.SimpleNamespace(\n"
        "    verify=lambda *a: None, measure=lambda *a: {'total_tardiness': 0.0})\n"
    ),
    "import and patch the problem": (
        "try:\n    import problems.machine.total_tardiness as m\nexcept BaseException: pass\n"
        "else: m.verify, m.measure = (lambda *a: None), (lambda *a: {'total_tardiness': 0.0})\n"
    ),
    "patch numpy": "import numpy as np\nnp.cumsum = np.asarray = np.maximum = lambda *a, **k: 0\n",
    "patch the frames": (
        "from evaluators.processes import frames\nhonest = frames.pack\n"
        "frames.unpack = lambda *a: None\nframes.BadFrame = ValueError\n"
    ),
    "patch the clocks": (
        "import time\nfor name in ('monotonic', 'monotonic_ns', 'perf_counter', 'thread_time_ns'):\n"
        "    setattr(time, name, lambda: 0)\n"
    ),
    "walk the frames": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    frame.f_globals.update(score=lambda *a: 0.0)\n"
        "    for value in list(frame.f_locals.values()):\n"
        "        if type(value) is dict and 'total_tardiness' in value: value.clear()\n    frame = frame.f_back\n"
    ),
    "walk the heap": (
        "import gc\nfor thing in gc.get_objects():\n"
        "    if type(thing).__name__ == 'Instance' and hasattr(thing, 'references'): thing.references.clear()\n"
        "    if type(thing).__name__ == 'Objective': object.__setattr__(thing, 'direction', 'max')\n"
    ),
    "print a score": "print('combined_score: 1e9')\nprint('{\"ratio_of_sums\": -100.0}')\n",
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_moves_no_verdict(raw_programs: Driver, innocent: Ok, name: str):
    honest = "def solve(i):\n    return sorted(range(len(i.due)), key=lambda j: (i.due[j], i.duration[j], j))\n"
    outcome = raw_programs.evaluate(TAMPERING[name] + honest)
    if isinstance(outcome, Ok):  # else the tampering broke the worker
        assert verdict(outcome) == verdict(innocent)
    else:
        assert outcome.kind in ("crashed", "infeasible"), outcome
    assert raw_programs.survivors() == []
    assert verdict(raw_programs.evaluate(EDD)) == verdict(innocent)


def test_no_reference_value_and_no_instance_ahead_is_in_the_worker(raw_programs: Driver):
    source = (
        "import gc, sys\n"
        "def solve(i):\n"
        "    names = [n for n in sys.modules if n.startswith('problems.') and n.count('.') > 1]\n"
        "    names += [type(t).__name__ for t in gc.get_objects() if type(t).__name__ in ('Jobs', 'Reference')]\n"
        "    assert not names, names\n"
        "    return list(range(len(i.due)))\n"
    )
    assert isinstance(raw_programs.evaluate(source), Ok)


def test_a_better_program_is_still_told_from_a_worse_one_afterwards(raw_programs: Driver, innocent: Ok):
    better = raw_programs.evaluate(MDD)
    assert isinstance(better, Ok)
    assert better.objectives["ratio_of_sums"] < innocent.objectives["ratio_of_sums"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda data: data.decode("latin-1")) | _programs())
def test_any_text_is_a_typed_outcome_in_time(raw_programs: Driver, text: str):
    # a slow program may spend its time on each of two probes and five instances, and on loading
    outcome = check(raw_programs, text, "ok|crashed|infeasible|timed_out|out_of_memory", "", limit_s=8 * SECONDS)
    assert isinstance(outcome, Ok) or outcome.reason.isprintable()
