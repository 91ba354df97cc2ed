"""Every act of ``hostile_acts`` in a sealed worker: its typed outcome, in time, and not a trace."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from arena import PRIVATE_KEY, Arena
from conftest import KEY, Driver, needs_sandbox
from hostile_acts import ACTS, prelude
from one_machine import PROBLEM

from evaluators.outcome import Ok, Outcome

pytestmark = needs_sandbox

INNOCENT = PROBLEM.rules[0].source


@pytest.fixture(scope="module")
def innocent(raw: Driver) -> Ok:
    outcome = raw.evaluate(INNOCENT)
    assert isinstance(outcome, Ok)
    return outcome


def verdict(outcome: Outcome) -> object:
    """What is decided about a program; times of decisions are measured anew each time."""
    assert isinstance(outcome, Ok), outcome
    return outcome.raw, outcome.values["gap"], outcome.fingerprint


@pytest.mark.parametrize("name", ACTS)
def test_an_act_in_a_sealed_worker_gets_its_typed_outcome_and_leaves_no_trace(
    raw: Driver, arena: Arena, innocent: Ok, name: str
):
    act = ACTS[name]
    started = time.monotonic()
    outcome = raw.evaluate(f"{prelude(arena.targets)}\n{act.source}")
    elapsed_s = time.monotonic() - started
    assert outcome.kind in act.kind.split("|"), outcome
    assert re.search(act.reason, outcome.reason), outcome
    assert elapsed_s < raw.evaluator.limits.timeout_s + 0.5
    assert KEY not in outcome.reason
    assert PRIVATE_KEY not in outcome.reason
    assert raw.survivors() == []
    assert arena.traces() == []
    assert verdict(raw.evaluate(INNOCENT)) == verdict(innocent)


def test_acts_do_not_disturb_innocents_that_run_beside_them(raw: Driver, arena: Arena, innocent: Ok):
    names = ("endless loop", "os._exit", "fork", "20 GB of ones")

    async def mixed():
        acts = [f"{prelude(arena.targets)}\n{ACTS[name].source}" for name in names]
        return await asyncio.gather(*(raw.evaluator.evaluate(s, "train") for s in [*acts, *[INNOCENT] * 6]))

    outcomes = raw.run(mixed())
    assert [o.kind for o in outcomes[:4]] == ["timed_out", "crashed", "crashed", "out_of_memory"]
    assert all(verdict(outcome) == verdict(innocent) for outcome in outcomes[4:])
