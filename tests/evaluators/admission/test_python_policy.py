"""Admission of whole programs: ordinary Python passes, looking around is refused in one sentence."""

from __future__ import annotations

import contextlib
import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequencing import PROBLEM

from evaluators.admission.language import Rejection
from evaluators.admission.python_policy import MODULES, admit_program

ORDINARY = '''
"""A local search."""
from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np


@dataclass(order=True)
class Node:
    """A partial order."""

    bound: float
    order: list = field(default_factory=list)

    def __post_init__(self):
        self._hidden = 1


class Heap:
    def __init__(self, items=()):
        self.items = [*items]

    def __len__(self):
        return len(self.items)


@lru_cache(maxsize=None)
def tardiness(completion, due):
    return max(0, completion - due)


def solve(instance, restarts=3):
    rng = np.random.default_rng(7)
    try:
        order = sorted(range(len(instance.due)), key=lambda j: instance.due[j])
    except ValueError as error:
        raise RuntimeError("impossible") from error
    while (step := random.random()) < 0.5:
        heapq.heappush([], step)
    total = {j: tardiness(int(instance.duration[j]), int(instance.due[j])) for j in order}
    print(f"{sum(total.values()):.3f}")
    return [j for j in itertools.chain(order)]


if __name__ == "__main__":
    print(math.inf)
'''


def test_ordinary_python_is_admitted():
    admit_program(ORDINARY, PROBLEM)


def test_baselines_are_admitted():
    for baseline in PROBLEM.rules:
        admit_program(baseline.source, PROBLEM)


def test_every_admitted_module_exists():
    for name in MODULES:
        importlib.import_module(name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import os", "the module 'os' is not admitted"),
        ("import numpy.ctypeslib", "the module 'numpy.ctypeslib' is not admitted"),
        ("from . import x", "the module '.' is not admitted"),
        ("from time import time", "the module 'time' is not admitted"),
        ("from numpy import load", "load is not admitted"),
        ("from collections import __builtins__", "__builtins__ is not admitted"),
        ("__import__('os')", "__import__ is not admitted"),
        ("x = __builtins__", "__builtins__ is not admitted"),
        ("x = ().__class__", "__class__ is not admitted"),
        ("x = solve.__globals__", "__globals__ is not admitted"),
        ("x = (i for i in ()).gi_frame", "gi_frame is not admitted"),
        ("eval('1')", "eval is not admitted: a program does not write programs"),
        ("exec('1')", "exec is not admitted"),
        ("getattr(1, 'real')", "getattr is not admitted"),
        ("open('/etc/passwd')", "open is not admitted: there are no files"),
        ("import random; random.SystemRandom()", "SystemRandom is not admitted"),
        ("import numpy as np; np.memmap", "memmap is not admitted"),
        ("async def f(): pass", "async is not admitted"),
    ],
)
def test_looking_around_is_refused_by_name_and_line(line: str, reason: str):
    with pytest.raises(Rejection) as caught:
        admit_program(f"def solve(instance):\n    return []\n{line}\n", PROBLEM)
    assert str(caught.value).startswith("line 3: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1", "the program must define solve(instance) -> solution"),
        ("def slove(instance): pass", "did you mean 'slove'"),
        ("def solve(): pass", "callable with one argument"),
        ("def solve(a, b): pass", "callable with one argument"),
        ("solve = lambda instance: []", "must define solve"),
        ("def solve(instance:", "not Python"),
    ],
)
def test_a_program_must_define_solve(source: str, reason: str):
    with pytest.raises(Rejection) as caught:
        admit_program(source, PROBLEM)
    assert reason in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_admitted_or_refused(text: str):
    with contextlib.suppress(Rejection):
        admit_program(text, PROBLEM)
