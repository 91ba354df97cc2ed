"""Tuning in one sealed worker: what it finds, what it may claim, and what stops it."""

import ast
import asyncio

import pytest
from conftest import children, needs_sandbox
from one_machine import PROBLEM

from evaluators import sampling, tuning
from evaluators.admission.parameters import parameters
from evaluators.evaluator import Evaluator
from evaluators.outcome import CompileError, Crashed, NonFinite, Ok, TimedOut
from evaluators.racing import Plan
from evaluators.sandbox.limits import Limits

# Smith's rule for K = 1: optimal, so its gap is 0.
POWER = """K = param(-3.0, low=-4.0, high=4.0)


def priority(job, machine):
    return job.duration / job.weight ** K
"""
PLAN = Plan((0, 3, 1, 4, 2, 5), 6, (2, 3, 4), 0.05, (1.0,) * 6)


def search(driver, source, **options):
    settings = {"plan": None, "simulations": 600, **options}
    return driver.run(tuning.search(driver.evaluator, source, "train", **settings))


@needs_sandbox
@pytest.mark.parametrize("optimiser", ["cmaes", "random", "nelder-mead"])
@pytest.mark.parametrize("plan", [None, PLAN], ids=["full", "raced"])
def test_a_spoilt_constant_is_recovered(driver, optimiser, plan):
    found = search(driver, POWER, plan=plan, optimiser=optimiser)
    written, tuned = driver.evaluate(POWER), driver.evaluate(found.source)
    assert found.start == pytest.approx(written.objectives["gap"])
    # What the worker claimed is what the trusted process finds.
    assert found.loss == pytest.approx(tuned.objectives["gap"], abs=1e-9)
    assert tuned.objectives["gap"] < 0.05 * written.objectives["gap"]
    assert 600 <= found.simulations < 606 + 6


@needs_sandbox
def test_the_same_seed_finds_the_same_program(driver):
    sources = {search(driver, POWER, simulations=120, seed=seed).source for seed in (1, 1)}
    assert len(sources) == 1


@needs_sandbox
def test_values_with_which_a_program_fails_are_left_alone(driver):
    source = """K = param(2.0, low=-4.0, high=4.0)


def priority(job, machine):
    if K < 0.5:
        return 0.0 / 0.0
    return job.duration / job.weight ** K
"""
    found = search(driver, source)
    assert isinstance(driver.evaluate(found.source), Ok)
    assert 0.5 <= parameters(ast.parse(found.source))[0].value < 2.0


@needs_sandbox
def test_values_that_hang_a_program_cost_a_worker_and_no_more():
    source = """K = param(-3.0, low=-4.0, high=4.0)


def priority(job, machine):
    x = 0.0
    while K > 2.0 and x < 1.0:
        x = x * 1.0
    return job.duration / job.weight ** K
"""

    async def work():
        async with Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=0.5)) as evaluator:
            found = await tuning.search(evaluator, source, "train", plan=None, simulations=90, optimiser="random")
            assert children(evaluator.zygote_pid) == []
            return found

    found = asyncio.run(work())
    assert found.loss < found.start
    assert parameters(ast.parse(found.source))[0].value <= 2.0


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("K = param(1.0, low=0.0, high=2.0)\ndef priority(job, machine):\n    return 0.0 / 0.0 * K\n", NonFinite),
        ("K = param(1.0, low=0.0, high=2.0)\ndef priority(job, machine):\n    return (1.0, 2.0)[K]\n", CompileError),
    ],
)
def test_a_program_that_does_not_run_as_written_is_an_outcome(driver, source, kind):
    assert isinstance(search(driver, source), kind)


@needs_sandbox
def test_a_program_that_hangs_as_written_is_timed_out():
    source = "K = param(1.0, low=0.0, high=2.0)\n\n\ndef priority(job, machine):\n"
    source += "    while K > 0.0:\n        pass\n    return K\n"

    async def work():
        async with Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=0.5)) as evaluator:
            return await tuning.search(evaluator, source, "train", plan=None, simulations=100)

    assert isinstance(asyncio.run(work()), TimedOut)


def test_a_program_without_parameters_is_refused_with_the_way_out(driver):
    with pytest.raises(tuning.NothingToTune, match="lift its literals"):
        search(driver, "def priority(job, machine):\n    return job.duration\n")


# Whatever a worker says: values stay within bounds, and the claim is only a claim.
K = "def param(value, low, high):\n    return value\n\nK = param(1.0, low=0.0, high=2.0)\n"
FRAME = "import os, struct\ndef say(data):\n    os.write(3, len(data).to_bytes(8, 'little') + data)\n"
LIAR = (
    K
    + FRAME
    + """
while True:
    head = os.read(3, 8)
    if len(head) < 8:
        break
    n, values = struct.unpack("<II", head)
    os.read(3, 4 * n + 8 * values)
    say(b"L" + struct.pack(f"<{n}d", *([ANSWER] * n)))
"""
)


@needs_sandbox
@pytest.mark.parametrize("answer", ["-1e300", "float('nan')", "0.0", "float('inf')", "float('-inf')"])
def test_a_lying_worker_moves_no_value_beyond_its_bounds(raw, answer):
    source = LIAR.replace("ANSWER", answer)
    found = raw.run(tuning.search(raw.evaluator, source, "train", plan=None, simulations=60))
    if answer in ("0.0", "-1e300"):
        assert isinstance(found, tuning.TuningResult)
        (parameter,) = parameters(ast.parse(found.source))
        assert 0.0 <= parameter.value <= 2.0
    else:
        assert isinstance(found, Crashed)


@needs_sandbox
@pytest.mark.parametrize("message", ["b'L' + bytes(7)", "b'S' + bytes(100)", "b''", "b'L' + bytes(8000)"])
def test_a_malformed_answer_ends_the_search(raw, message):
    source = K + FRAME + f"os.read(3, 8)\nsay({message})\n"
    found = raw.run(tuning.search(raw.evaluator, source, "train", plan=None, simulations=60))
    assert isinstance(found, Crashed)
    assert "malformed" in found.reason


@needs_sandbox
def test_on_samples_the_center_comes_close_to_the_best_and_no_simulation_is_run_beyond_those_allowed(driver):
    written = driver.evaluate(POWER)
    counted = []
    plain = sampling._Sampled._losses_on

    async def counting(self, channel, values, positions):
        counted.append(len(positions))
        return await plain(self, channel, values, positions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling._Sampled, "_losses_on", counting)
        found = driver.run(sampling.sample(driver.evaluator, POWER, "train", plan=PLAN, simulations=605, seed=3))
    assert driver.evaluate(found).objectives["gap"] < 0.1 * written.objectives["gap"]
    assert 600 <= sum(counted) <= 605


@needs_sandbox
def test_sampling_finds_the_same_program_with_the_same_seed(driver):
    found = {
        driver.run(sampling.sample(driver.evaluator, POWER, "train", plan=PLAN, simulations=120, seed=seed))
        for seed in (1, 1, 2)
    }
    assert len(found) == 2


@needs_sandbox
def test_a_smaller_first_spread_stays_closer_to_what_was_written(driver):
    def moved(sigma):
        chosen = sampling.sample(driver.evaluator, POWER, "train", plan=PLAN, simulations=60, seed=1, sigma=sigma)
        before, after = (parameters(ast.parse(source)) for source in (POWER, driver.run(chosen)))
        return max(abs(a.value - b.value) for a, b in zip(before, after, strict=True))

    assert moved(0.001) < 0.1 * moved(0.2)


@needs_sandbox
def test_a_program_that_does_not_run_cannot_be_sampled(driver):
    source = "K = param(1.0, low=0.0, high=2.0)\ndef priority(job, machine):\n    return 0.0 / 0.0 * K\n"
    found = driver.run(sampling.sample(driver.evaluator, source, "train", plan=None, simulations=60, seed=0))
    assert isinstance(found, NonFinite | Crashed)
