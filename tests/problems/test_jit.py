"""The shared cache of compiled kernels."""

import os
import subprocess
import sys

from numba.core import types

from problems._jit import kernel

RULE = """
import numba

def inner(op):
    return op.duration

def wrap(function):
    inner = numba.njit(function)

    @numba.njit
    def rule(op, shop, theta):
        return inner(op)

    return rule

rule = wrap(inner)
"""
SCRIPT = """
import sys
import numpy as np
from problems import registry

sys.path.insert(0, {folder!r})
from {module} import rule

problem = registry.load("shop/job_shop")
theta = np.zeros(0)
theta.setflags(write=False)
data = problem.probes()[0].data
print(problem.simulators["non-delay"](data, rule, theta).start.max())
"""


def test_a_rule_compiled_in_somebodys_module_leaves_the_cache_usable_for_others(tmp_path):
    # numba pickles the types a kernel was compiled for into the index that all processes read
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for module in ("first", "second"):
        path = tmp_path / f"{module}.py"
        path.write_text(RULE)
        code = SCRIPT.format(folder=str(tmp_path), module=module)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)
        path.unlink()


@kernel
def _plus(x, y):
    return x + y


def test_numbers_written_out_in_calls_compile_a_callee_once():
    for number in (1, 2):
        _plus.get_call_template([types.int64, types.literal(number)], {})
    _plus.get_call_template([types.int64], {"y": types.literal(3)})
    assert len(_plus.signatures) == 1
