"""Any text at all ends in a typed outcome: drawn from the language, changed, cut up, or bytes."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from conftest import Driver, needs_sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM
from programs import changed, disguised, programs

from evaluators.admission.canonical import canonical_hash
from evaluators.admission.policy import Rejection, admit
from evaluators.compiler import warmup
from evaluators.evaluator import Evaluator
from evaluators.outcome import FAILURES, Failure, Ok
from evaluators.sandbox.limits import Limits

RULES = [rule.source for rule in PROBLEM.rules] + [warmup.source(PROBLEM)]
PIECES = """\
( ) [ ] { } : # \' \\ , . * ** = @ ; lambda if else: yield await return math job. __class__ 1e999 try: class case _:
10**10**10 range(10**18) np.zeros(9) x:=1 *job f'{job}' 99999999999999999999 \uff41 \ufb01 def global del import os"""
FRAGMENTS = (
    *PIECES.split(),
    '"""',
    "\n",
    "\n    ",
    "\t",
    " ",
    "\x00",
    "\ud800",
    "param(1.0, low=0, high=2)",
    "for i in range(9):",
)
seeds = st.integers(0, 2**32)


def mangled(source: str, rng: random.Random) -> str:
    """A program after some cuts, repetitions, swaps and insertions anywhere."""
    text = source
    for _ in range(rng.randint(1, 6)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        j = min(j, i + rng.choice([1, 3, 20]))
        kind = rng.randrange(4)
        if kind == 0:
            text = text[:i] + text[j:]
        elif kind == 1:
            text = text[:j] + text[i:j] * rng.choice([1, 2, 50]) + text[j:]
        elif kind == 2:
            text = text[:i] + rng.choice(FRAGMENTS) + text[i:]
        else:
            text = text[:i] + "".join(chr(ord(c) ^ 1 << rng.randrange(8)) for c in text[i:j]) + text[j:]
    return text


def decided(text: str) -> bool:
    """Whether a text is admitted; either way at once, and with a hash."""
    started = time.process_time()
    admitted = False
    with contextlib.suppress(Rejection):
        admit(text, PROBLEM)
        admitted = True
    assert len(canonical_hash(text, ("priority",))) == 32
    assert time.process_time() - started < 2.0
    return admitted


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(RULES), seeds)
def test_mangled_programs_are_admitted_or_refused_at_once(source, seed):
    decided(mangled(source, random.Random(seed)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), seeds)
def test_programs_of_the_language_are_admitted_and_mangled_ones_decided(source, seed):
    assert decided(source)
    decided(mangled(source, random.Random(seed)))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")), st.text(max_size=300))
)
def test_bytes_are_decided(text):
    assert not decided(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join), seeds)
def test_fragments_inside_a_hook_are_decided(text, seed):
    decided(f"import math\nimport numpy as np\ndef priority(job, machine):\n    {text}\n    return 1.0\n")


@pytest.fixture(scope="module")
def driver():
    driver = Driver(Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=3.0)))
    yield driver
    driver.close()


def variant(rng: random.Random, source: str) -> str:
    step = rng.choice([changed, disguised, mangled, mangled, lambda text, _: text])
    return step(source, rng)


@needs_sandbox
@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), seeds)
def test_any_program_ends_in_a_typed_outcome_in_its_sealed_worker(driver, source, seed):
    text = variant(random.Random(seed), source)
    started = time.monotonic()
    outcome = driver.evaluate(text)
    assert time.monotonic() - started < 3.0 + 30.0  # the limit, and a wait for a core
    assert isinstance(outcome, Ok) or type(outcome) in FAILURES.values()
    if isinstance(outcome, Failure):
        assert outcome.reason
        assert "\n" not in outcome.reason
