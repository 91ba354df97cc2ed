"""Every hostile candidate ends in its typed outcome: at the gate, and in a worker without the gate."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest
from conftest import KEY, Driver, needs_sandbox
from hostile_programs import AT_IMPORT, NATIVE, PROGRAMS, RULE, Program
from one_machine import PROBLEM

from evaluators.evaluator import Evaluator
from evaluators.outcome import Ok
from evaluators.sandbox.limits import Limits

pytestmark = needs_sandbox

_LIMITS = Limits(timeout_s=2.0, memory_bytes=2**30)


class Ungated(Evaluator):
    """Sends everything to a worker, as if admission had been broken."""

    lowered = False

    def _admit(self, source: str) -> None:
        pass


def drive(evaluator: Evaluator) -> Iterator[Driver]:
    os.environ["OPENAI_API_KEY"] = KEY
    driver = Driver(evaluator)
    yield driver
    driver.close()
    os.environ.pop("OPENAI_API_KEY", None)


@pytest.fixture(scope="module")
def gated() -> Iterator[Driver]:
    yield from drive(Evaluator(PROBLEM, workers=1, limits=_LIMITS))


@pytest.fixture(scope="module")
def ungated() -> Iterator[Driver]:
    yield from drive(Ungated(PROBLEM, workers=1, limits=_LIMITS))


@pytest.fixture(scope="module")
def ungated_lowered() -> Iterator[Driver]:
    yield from drive(Ungated(PROBLEM, workers=1, limits=_LIMITS))


def verdict(driver: Driver) -> tuple[object, str]:
    outcome = driver.evaluate(RULE)
    assert isinstance(outcome, Ok), outcome
    assert outcome.objectives["gap"] == 0.0
    return outcome.raw, outcome.fingerprint


@pytest.fixture(scope="module")
def honest(gated: Driver) -> tuple[object, str]:
    return verdict(gated)


def ends_well(driver: Driver, program: Program, kinds: str, reason: str, honest: tuple[object, str]) -> None:
    """Assert the outcome, its time, that nothing is left, and that the next verdict is the honest one."""
    started = time.monotonic()
    outcome = driver.evaluate(program.source)
    elapsed_s = time.monotonic() - started
    assert outcome.kind in kinds.split("|"), outcome
    assert elapsed_s < _LIMITS.timeout_s + 0.5
    if not isinstance(outcome, Ok):
        assert re.search(reason, outcome.reason), outcome
        assert len(outcome.reason) < 2_000
        assert KEY not in outcome.reason
    assert driver.survivors() == []
    assert verdict(driver) == honest


@pytest.mark.parametrize("name", [name for name, program in PROGRAMS.items() if program.gate is not None])
def test_the_gate_refuses_with_its_rule(gated: Driver, honest: tuple[object, str], name: str):
    program = PROGRAMS[name]
    assert program.gate is not None
    ends_well(gated, program, "rejected", program.gate, honest)


@pytest.mark.parametrize("name", PROGRAMS)
def test_past_the_gate_a_sealed_worker_that_runs_everything_holds(
    ungated: Driver, honest: tuple[object, str], name: str
):
    program = PROGRAMS[name]
    ends_well(ungated, program, program.worker, ".", honest)


@pytest.mark.parametrize("name", [name for name in AT_IMPORT | NATIVE if PROGRAMS[name].worker != "timed_out"])
def test_past_the_gate_lowering_holds(ungated_lowered: Driver, honest: tuple[object, str], name: str):
    # It reads the text and runs nothing of it: what is not about the hooks never happens.
    program = PROGRAMS[name]
    ends_well(ungated_lowered, program, f"{program.worker}|ok", ".", honest)


@pytest.mark.parametrize("name", ["loops for ever", "loops 10**12 times"])
def test_what_the_gate_admits_and_never_ends_is_killed_in_time(gated: Driver, honest: tuple[object, str], name: str):
    ends_well(gated, PROGRAMS[name], "timed_out", "killed after 2 s", honest)


def test_there_are_programs_of_every_kind():
    assert len(PROGRAMS) >= 80
    assert sum(program.gate is None for program in PROGRAMS.values()) >= 15
