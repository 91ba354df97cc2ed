"""Hostile candidates as source text, and how each must end: at the gate, and past it.

``gate`` is what the admission says (None: it admits), ``worker`` how the program ends in a sealed
worker if the admission let it through: two walls, each tried without the other. F numbers are
failures measured in other frameworks.
"""

from __future__ import annotations

from typing import NamedTuple

HEAD = "import math\nimport numpy as np\n"
RULE = "def priority(job, machine):\n    return job.duration / job.weight\n"
LEVEL = "module level admits"
ONLY_IMPORTS = "only `import math` and `import numpy as np`"


class Program(NamedTuple):
    """One candidate."""

    source: str
    gate: str | None  # what the refusal says
    worker: str  # kinds of outcome, separated by |


def _top(statements: str, gate: str, worker: str = "compile_error") -> Program:
    """An honest rule after hostile statements at module level."""
    return Program(f"{HEAD}{statements}\n{RULE}", gate, worker)


def _body(statements: str, gate: str | None, worker: str = "compile_error") -> Program:
    """Hostile statements in the hook itself."""
    lines = "\n".join(f"    {line}" for line in statements.split("\n"))
    return Program(f"{HEAD}\ndef priority(job, machine):\n{lines}\n", gate, worker)


AT_IMPORT = {
    "never ends being imported": _top("while True:\n    pass", LEVEL, "timed_out"),
    "exits with success (F18)": _top("import sys\nsys.exit(0)", ONLY_IMPORTS, "crashed"),
    "kills its process (F8)": _top("import os\nos._exit(7)", ONLY_IMPORTS, "crashed"),
    "reads a key (F9)": _top("import os\nKEY = os.environ['OPENAI_API_KEY']", ONLY_IMPORTS),
    "sleeps past the limit (F1, F2)": _top("import time\ntime.sleep(12)", ONLY_IMPORTS),
    "ignores SIGTERM and loops (F17)": _top(
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True:\n    pass", ONLY_IMPORTS, "timed_out"
    ),
    "starts a helper (F10)": _top("import os\nif os.fork() == 0:\n    os._exit(0)", ONLY_IMPORTS),
    "rewrites the result through frames (F11)": _top(
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    frame.f_globals['score'] = 1e9\n    frame = frame.f_back\nraise ValueError(1e9)",
        ONLY_IMPORTS,
    ),
    "reads a private key": _top("KEY = open('/root/.ssh/id_ed25519').read()", "the constant KEY must be a number"),
    "deletes the runs": _top("import shutil\nshutil.rmtree('runs')", ONLY_IMPORTS),
    "opens a socket": _top("import socket\nsocket.socket()", ONLY_IMPORTS),
    "starts a thread": _top("import _thread\n_thread.start_new_thread(int, ())", ONLY_IMPORTS),
    "prints 100 MB": _top("for _ in range(100):\n    print('x' * 10**6)", LEVEL, "ok"),
    "allocates 20 GB": _top("HOARD = bytearray(20 * 10**9)", "the constant HOARD must be a number", "out_of_memory"),
    "patches numpy": _top("np.zeros = None", "a constant is written NAME = number", "ok"),
    "patches numba": _top("import numba\nnumba.njit = None", ONLY_IMPORTS),
    "walks the heap": _top("import gc\nTHINGS = len(gc.get_objects())", ONLY_IMPORTS, "ok"),
    "calls native code": _top("import ctypes\nctypes.string_at(0)", ONLY_IMPORTS, "crashed"),
    "imports everything": _top("from os import *", ONLY_IMPORTS, "ok"),
    "imports from the future": Program(f"from __future__ import annotations\n{RULE}", ONLY_IMPORTS, "ok"),
    "imports in a disguise": _top("__import__('os').getcwd()", LEVEL, "ok"),
    "decorates": Program(
        f"def mark(f):\n    return f\n\n@mark\n{RULE}", "decorators are not admitted", "ok|compile_error"
    ),
    "computes in a default": Program(
        "def priority(job, machine=open('/etc/passwd')):\n    return 1.0\n",
        "may not have default values",
        "compile_error",
    ),
    "computes in an annotation": Program(
        "def priority(job: open('/etc/passwd'), machine):\n    return 1.0\n", "annotations may be", "compile_error"
    ),
    "defines a class": _top(
        "class Clingy:\n    def __del__(self):\n        while True: pass\nClingy()", "classes", "timed_out"
    ),
    "hangs attributes on a function": Program(f"{RULE}priority.score = 1e9\n", "a constant is written", "ok"),
    "redefines the hook": Program(f"{RULE}{RULE}", "'priority' is defined twice", "ok"),
    "replaces a built-in": _top("max = 1.0", "the name 'max' is taken", "ok"),
}

IN_THE_HOOK = {
    "walks to object": _body("return ().__class__.__bases__[0].__subclasses__()", "only functions of this program"),
    "reads __builtins__": _body("return __builtins__.open('/etc/passwd')", "only functions of this program"),
    "evaluates text": _body("return eval('1.0')", "'eval' is not admitted"),
    "opens a file": _body("return open('/etc/passwd')", "'open' is not admitted"),
    "imports inside": _body("import os\nreturn os.getpid()", ONLY_IMPORTS),
    "leaves native code (objmode)": Program(
        "from numba import objmode\n\ndef priority(job, machine):\n    with objmode(x='float64'):\n"
        "        x = float(len(open('/etc/passwd').read()))\n    return x\n",
        ONLY_IMPORTS,
        "compile_error|crashed",
    ),
    "prints": _body("print(job)\nreturn 1.0", "is not used", "ok|compile_error"),
    "keeps a count": _body("global COUNT\nCOUNT = 1.0\nreturn COUNT", "global is not admitted"),
    "closes over state": _body(
        "x = 1.0\ndef f():\n    return x\nreturn f()", "functions are defined at module level", "ok"
    ),
    "catches everything": _body("try:\n    return 1.0\nexcept Exception:\n    return 2.0", "try is not admitted", "ok"),
    "generates": _body("yield 1.0", "is not used"),
    "reads the clock": _body("return np.datetime64('now')", "not an admitted function"),
    "draws at random": _body("return np.random.rand()", "only functions of this program|not an admitted", "ok"),
    "reads uninitialised memory": _body(
        "return np.empty(3)[0]", "np.empty is not an admitted function", "ok|non_finite"
    ),
    "asks for an address": _body("return id(job)", "'id' is not admitted", "ok|compile_error"),
    "reads what is hidden": _body("return job.release", "job has no field 'release'"),
    "reads private state": _body("return machine._data", "machine has no field"),
    "writes a field": _body("job.duration = 0.0\nreturn 1.0", "fields of arguments are read-only"),
    "writes an element of an argument": _body("job[0] = 0.0\nreturn 1.0", "only arrays made in the same function"),
    "writes the parameters": _body("theta[0] = 1.0\nreturn 1.0", "only arrays made in the same function"),
    "calls itself": _body("return priority(job, machine)", "recursion is not admitted"),
    "returns text": _body("return 'x'", "strings are not admitted"),
    "returns nothing": _body("pass", None),
    "returns a pair": _body("return 1.0, 2.0", None),
}

NATIVE = {
    "loops for ever": _body("x = 1.0\nwhile x > 0.0:\n    x = x + 1.0\nreturn x", None, "timed_out"),
    "loops 10**12 times": _body(
        "x = 0.0\nfor i in range(10**12):\n    x = 0.5 * x + job.weight\nreturn x", None, "timed_out"
    ),
    "loops in numpy": _body(
        "x = np.zeros(10**6)\nwhile True:\n    x = np.exp(x) - 1.0\nreturn x[0]", None, "timed_out|compile_error"
    ),
    "doubles its work thirty times": Program(
        "def f0(x):\n    return x * 0.5 + 1.0\n\n"
        + "".join(f"def f{i}(x):\n    return f{i - 1}(x) + f{i - 1}(x * {i}.5)\n\n" for i in range(1, 31))
        + "def priority(job, machine):\n    return f30(job.weight)\n",
        None,
        "timed_out|ok",
    ),
    "allocates 20 GB (native)": _body("return np.zeros(20 * 10**9 // 8)[0]", None, "out_of_memory"),
    "allocates again and again": _body(
        "x = 0.0\nfor i in range(10**9):\n    x = x + np.ones(10**6)[i % 10**6]\nreturn x", None, "timed_out"
    ),
    "allocates a negative size": _body("return np.zeros(int(-job.weight))[0]", None, "crashed"),
    "allocates 2**62 elements": _body("return np.zeros(2**62)[0]", None, "crashed|out_of_memory"),
    "reads out of bounds": _body("return np.zeros(3)[int(job.weight) + 3]", None, "crashed"),
    "reads far out of bounds": _body("return np.zeros(3)[2**40]", None, "crashed"),
    "reads before the start": _body("return np.zeros(3)[-int(job.weight) - 4]", None, "crashed"),
    "writes out of bounds": _body("x = np.zeros(3)\nx[int(job.weight) + 3] = 1.0\nreturn x[0]", None, "crashed"),
    "indexes with infinity": _body("return np.zeros(3)[int(math.inf)]", None, "crashed|compile_error"),
    "answers NaN (F4)": _body("return math.nan", None, "non_finite"),
    "answers infinity": _body("return -math.inf", None, "non_finite"),
    "answers a huge number": _body("return 1e308 * job.weight", None, "ok|non_finite"),
    "divides by zero": _body("return 1.0 / (job.weight - job.weight)", None, "non_finite"),
    "leaves a function's domain": _body("return math.sqrt(-job.weight)", None, "crashed|non_finite"),
    "overflows integers": _body("x = 2**62\nreturn float(x * 4 + int(job.weight))", None, "ok"),
}

TEXTS = {
    "is empty": Program("", "the program must define priority", "compile_error"),
    "is no Python": Program("def priority(job, machine) return 1", "not Python", "compile_error"),
    "is prose (F15)": Program("I think the best rule is SPT.", "not Python", "compile_error"),
    "is 10 MB long": Program(f"# {'x' * 10**7}\n{RULE}", "characters, more than", "compile_error"),
    "has an integer of 10,000 digits": _top(f"BIG = {'9' * 10_000}", "not Python|64 bits"),
    "has a power tower": _body(
        "return 9 ** 9 ** 9 ** 9", "does not fit in 64 bits", "compile_error|ok|non_finite|timed_out|crashed"
    ),
    "has a giant tuple": _top(f"T = ({'1.0, ' * 9_000})", "more than the .* admitted"),
    "repeats a tuple": _body("return ((1.0,) * 10**9)[0]", None, "compile_error|out_of_memory|timed_out"),
    "nests tuples": _body(
        "x = (job.weight, 1.0)\n" + "x = (x, x)\n" * 40 + "return 1.0", None, "compile_error|timed_out|out_of_memory"
    ),
    "nests parentheses": _body(f"return {'(' * 5_000}1.0{')' * 5_000}", "nested too deeply|too many nested"),
    "nests signs": _body(f"return {'-' * 15_000}1.0", "nested"),
    "nests conditions": _body("return " + "1.0 if job.weight > 3 else " * 2_000 + "2.0", "nested|more than"),
    "nests loops": Program(
        "def priority(job, machine):\n    x = 0.0\n"
        + "".join(f"{'    ' * (i + 1)}for i{i} in range(1000):\n" for i in range(18))
        + f"{'    ' * 19}x = x + 1.0\n    return x\n",
        None,
        "timed_out|ok|compile_error",
    ),
    "has 1,000 functions": Program(
        "".join(f"def f{i}(x):\n    return x\n\n" for i in range(1_000)) + RULE,
        "functions, more than|more than",
        "ok|timed_out|compile_error",
    ),
    "has a null byte": Program(RULE + "\0", "invisible character", "compile_error"),
    "hides text from the reader": Program(f"# \u202e\n{RULE}", "invisible character", "compile_error"),
    "looks like another name": Program(
        RULE.replace("priority", "pr\u0456ority"), "must define priority|ASCII", "compile_error"
    ),
    "holds half a character": Program(f"# \ud800\n{RULE}", "invisible character", "ok"),
    "declares another encoding": Program(f"# coding: utf-7\n{RULE}", "encoding declaration", "compile_error"),
}

PROGRAMS = AT_IMPORT | IN_THE_HOOK | NATIVE | TEXTS
