"""Racing: boundaries and order as mathematics, races as conversations with sealed workers."""

import asyncio
import dataclasses
import math
import re

import numpy as np
import pytest
from conftest import needs_sandbox
from hypothesis import given, settings
from hypothesis import strategies as st
from one_machine import PROBLEM

from evaluators.evaluator import Evaluator
from evaluators.outcome import Crashed, Dropped, Infeasible, NonFinite, Ok, TimedOut
from evaluators.racing import Plan, Race, bridge_boundary, is_worse, plan
from evaluators.sandbox.limits import Limits
from evolve.codec import dump_outcome, load_outcome
from problems.problem import Instance, Objective

GAP = PROBLEM.objectives[0]


def test_one_look_has_the_normal_quantile():
    assert bridge_boundary((0.3,), 0.05) == pytest.approx(1.6449, abs=1e-4)


@pytest.mark.parametrize(("alpha", "shares"), [(0.05, (0.1, 0.2, 0.4)), (0.2, (0.01, 0.1, 0.5, 0.8))])
def test_a_bridge_crosses_the_boundary_as_often_as_declared(alpha, shares):
    # Differences of a candidate exactly as good as its reference, simulated as a bridge.
    times = np.array(shares)
    rng = np.random.default_rng(1)
    clock = times / (1 - times)
    steps = rng.standard_normal((100_000, len(times))) * np.sqrt(np.diff(clock, prepend=0.0))
    highest = (np.cumsum(steps, axis=1) / np.sqrt(clock)).max(axis=1)
    assert np.mean(highest > bridge_boundary(shares, alpha)) == pytest.approx(alpha, abs=0.004)


def evenly(size, looks):
    return Plan(tuple(range(size)), size, looks, 0.05, (1.0,) * size)


def test_an_equal_candidate_is_dropped_about_as_often_as_declared():
    # Differences over 100 instances that sum to exactly zero, in random order.
    rng, the_plan = np.random.default_rng(2), evenly(100, (5, 10, 20, 40))
    x = rng.standard_normal((3000, 100))
    x -= x.mean(axis=1, keepdims=True)
    dropped = np.mean([any(is_worse(row[:n], the_plan) for n in the_plan.looks) for row in x])
    assert 0.03 < dropped < 0.07


def test_a_large_instance_that_was_not_seen_is_reckoned_with():
    small = np.array([1.0, 1.1, 0.9, 1.0, 1.2])
    even = evenly(20, (5,))
    assert is_worse(small, even)
    assert not is_worse(small, dataclasses.replace(even, scale=(1.0,) * 19 + (1000.0,)))


def test_equal_differences_decide_at_once_and_zeros_never():
    assert is_worse(np.full(5, 0.1), evenly(20, (5,)))
    assert not is_worse(np.zeros(5), evenly(20, (5,)))
    assert not is_worse(np.full(5, -0.1), evenly(20, (5,)))


def instances(groups):
    return [Instance(f"{i}", group, None) for i, group in enumerate(groups)]


rows = st.integers(2, 5).flatmap(
    lambda b: st.integers(1, 40).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-100, 100) | st.just(math.nan), min_size=n, max_size=n), min_size=b, max_size=b
        )
    )
)


@settings(deadline=None, max_examples=25)
@given(rows, st.randoms(use_true_random=False))
def test_blocks_cover_every_instance_once(values, random):
    n = len(values[0])
    found = plan(GAP, instances([random.choice("ab") for _ in range(n)]), values)
    if found is None:
        assert not np.isfinite(np.array(values)).all(axis=0).any()
        return
    assert sorted(i for block in found.blocks for i in block) == list(range(n))
    assert found.size == int(np.isfinite(np.array(values)).all(axis=0).sum())
    assert len(found.limits) == len(found.looks)
    assert all(n < found.size for n in found.looks)
    # Instances without a value say nothing, and come last.
    assert all(np.isfinite([row[i] for row in values]).all() for i in found.order[: found.size])


def test_groups_are_spread_over_the_order():
    values = np.random.default_rng(3).random((4, 40))
    order = plan(GAP, instances(["a"] * 30 + ["b"] * 10), values).order
    for k in (4, 8, 20):
        assert abs(sum(i < 30 for i in order[:k]) - 0.75 * k) <= 1


def test_chosen_prefixes_rank_baselines_better_than_random_ones():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(6, 1)) + rng.normal(size=(6, 60))
    order = list(plan(GAP, instances(["a"] * 60), values).order)

    def error(positions):
        partial, full = values[:, positions].mean(axis=1), values.mean(axis=1)
        return np.std(partial - full)

    random = np.mean([error(rng.permutation(60)[:12]) for _ in range(50)])
    assert error(order[:12]) < 0.5 * random


def test_no_verdict_hangs_on_a_measured_time():
    time = Objective("time", "time", "ns", "decision_time")
    assert plan(time, instances(["a"] * 20), [[1.0] * 20] * 2) is None


def test_an_error_rate_must_be_a_probability():
    with pytest.raises(ValueError, match="alpha must be between"):
        plan(GAP, instances(["a"]), [[1.0]], alpha=0.7)


def test_a_dropped_outcome_survives_the_journal():
    outcome = Dropped("race", "worse", 5, 1 / 3, [0.1, math.nan, 2 / 3])
    again = load_outcome("dropped", dump_outcome(outcome))
    assert (again.instances, again.estimate, again.reason) == (5, 1 / 3, "worse")
    np.testing.assert_array_equal(again.values, outcome.values)


# with sealed workers

SMITH = "def priority(job, machine):\n    return job.duration / job.weight\n"
LONGEST = "def priority(job, machine):\n    return -job.duration\n"
CLOSE = "def priority(job, machine):\n    return job.duration / job.weight + 0.0001 * job.duration\n"
NAN = "def priority(job, machine):\n    return 0.0 / 0.0\n"
LOOP = "def priority(job, machine):\n    x = 0.0\n    while x < 1.0:\n        x = x * 1.0\n    return x\n"


def race_against(values):
    """Looks after two and four of the six instances."""
    return Race(Plan((0, 3, 1, 4, 2, 5), 6, (2, 4), 0.05, (1.0,) * 6), values, "Smith")


@needs_sandbox
def test_the_worse_is_dropped_and_the_better_is_scored_in_full(driver):
    smith, longest = (driver.evaluate(source) for source in (SMITH, LONGEST))
    dropped = driver.run(driver.evaluator.evaluate(LONGEST, "train", race=race_against(smith.values["gap"])))
    assert isinstance(dropped, Dropped)
    assert dropped.instances in (2, 4)
    seen = [i for i, value in enumerate(dropped.values) if not math.isnan(value)]
    assert seen == sorted((0, 3, 1, 4)[: dropped.instances])
    assert [dropped.values[i] for i in seen] == [longest.values["gap"][i] for i in seen]
    assert "worse than Smith" in dropped.reason
    kept = driver.run(driver.evaluator.evaluate(SMITH, "train", race=race_against(longest.values["gap"])))
    assert isinstance(kept, Ok)


@needs_sandbox
def test_a_race_to_the_end_gives_what_a_whole_evaluation_gives(driver):
    smith, whole = driver.evaluate(SMITH), driver.evaluate(CLOSE)
    raced = driver.run(driver.evaluator.evaluate(CLOSE, "train", race=race_against([100.0] * 6)))
    assert isinstance(smith, Ok)
    for name in ("gap", "cost"):
        assert raced.objectives[name] == whole.objectives[name]
        assert raced.values[name] == whole.values[name]
    assert raced.raw == whole.raw
    assert raced.fingerprint == whole.fingerprint
    assert set(raced.cost) == set(whole.cost)
    assert raced.compiler == whole.compiler


@needs_sandbox
@pytest.mark.parametrize(("source", "kind"), [(NAN, NonFinite), (LOOP, TimedOut)])
def test_failures_in_a_race_are_outcomes_as_elsewhere(driver, source, kind):
    outcome = driver.run(driver.evaluator.evaluate(source, "train", race=race_against([0.0] * 6)))
    assert isinstance(outcome, kind)
    assert driver.workers() == []


def test_a_race_over_other_instances_is_refused(driver):
    with pytest.raises(ValueError, match="the race is over 3 instances"):
        driver.run(
            driver.evaluator.evaluate(
                SMITH, "train", race=Race(Plan((0, 1, 2), 3, (), 0.05, (1.0,) * 3), [0.0] * 3, "x")
            )
        )


FRAME = "import os, struct\ndef say(data):\n    os.write(3, len(data).to_bytes(8, 'little') + data)\n"


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "kind", "reason"),
    [
        (FRAME + "say(b'S' + bytes(60))", Crashed, "malformed"),
        (FRAME + "say(b'D')", Crashed, "malformed"),
        (FRAME + "say(b'')", Crashed, "malformed"),
        (FRAME + "os.write(3, b'\\xff' * 8)", Crashed, "more than"),
        (FRAME + "os._exit(0)", Crashed, "no answer"),
        ("while True: pass", TimedOut, "killed"),
        ("import os\nwhile True: os.write(3, bytes(100000))", Crashed, "more than|malformed"),
    ],
)
def test_what_a_hostile_worker_says_in_a_race_is_no_verdict(raw, source, kind, reason):
    outcome = raw.run(raw.evaluator.evaluate(source, "train", race=race_against([0.0] * 6)))
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Dropped | Infeasible)
    assert re.search(reason, outcome.reason)
    assert raw.workers() == []


def test_many_races_at_once_do_not_mix_up(driver):
    async def work():
        smith = await driver.evaluator.evaluate(SMITH, "train")
        race = race_against(smith.values["gap"])
        return await asyncio.gather(
            *(driver.evaluator.evaluate((SMITH, LONGEST, NAN)[i % 3], "train", race=race) for i in range(12))
        )

    kinds = [outcome.kind for outcome in driver.run(work())]
    assert kinds == ["ok", "dropped", "non_finite"] * 4


def test_an_evaluator_runs_on_whatever_executor_it_is_given():
    from evaluators.processes.zygote import Zygote

    made = []

    def make(settings, limits):
        made.append(settings["module"])
        return Zygote(settings, limits)

    async def work():
        async with Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=3.0), executor=make) as evaluator:
            return await evaluator.evaluate(SMITH, "train")

    assert isinstance(asyncio.run(work()), Ok)
    assert made == [PROBLEM.module]
