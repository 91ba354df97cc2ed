"""Zygotes and workers come and go: kills, hangs, closing, missing layers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import Driver, children, is_alive, needs_sandbox
from one_machine import PROBLEM

from evaluators.evaluator import Evaluator, SandboxUnavailable
from evaluators.outcome import Ok
from evaluators.processes.zygote import Zygote, ZygoteFailed
from evaluators.sandbox import namespaces, seal
from evaluators.sandbox.limits import Limits

pytestmark = needs_sandbox

RULE = PROBLEM.rules[0].source
# A few tenths of a second on train.
SLOW = """def priority(job, machine):
    x = 0.0
    for i in range(150000):
        x = x + 1.0
    return job.duration + 0.0 * x
"""
LOOP = "def priority(job, machine):\n    x = 0.0\n    while x > -1.0:\n        x = x + 1.0\n    return x"


@pytest.fixture
def driver():
    driver = Driver(Evaluator(PROBLEM, workers=2, limits=Limits(timeout_s=2.0)))
    yield driver
    driver.close()


def wait_until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


async def one_worker(zygote: int) -> int:
    """A worker that runs now; workers of quick programs end within milliseconds, so look all the time."""
    end = time.monotonic() + 10.0
    while not (found := children(zygote)):
        assert time.monotonic() < end, "no worker was seen"
        await asyncio.sleep(0)
    return found[0]


def test_a_zygote_killed_mid_run_is_replaced_and_the_innocent_program_runs_again(driver: Driver):
    driver.evaluate(RULE)
    first = driver.zygote

    async def kill_under_it():
        # Fifteen at once: some are running when the zygote dies.
        work = asyncio.gather(*(driver.evaluator.evaluate(RULE, "train") for _ in range(15)))
        await one_worker(first)
        os.kill(first, signal.SIGKILL)
        return await work

    outcomes = driver.run(kill_under_it())
    assert all(isinstance(o, Ok) for o in outcomes), outcomes
    assert driver.zygote != first


def test_workers_die_with_a_killed_zygote(driver: Driver):
    driver.evaluate(RULE)

    async def kill_under_it():
        work = asyncio.ensure_future(driver.evaluator.evaluate(LOOP, "train"))
        worker = await one_worker(driver.zygote)
        os.kill(driver.zygote, signal.SIGKILL)
        died = await asyncio.to_thread(wait_until, lambda: not is_alive(worker), 1.0)
        return died, await work

    died, outcome = driver.run(kill_under_it())
    assert died
    assert outcome.kind == "timed_out"  # evaluated again, by the next zygote


def test_a_hung_zygote_is_killed_and_only_the_overdue_program_is_blamed(driver: Driver):
    driver.evaluate(RULE)
    first = driver.zygote

    async def hang():
        loop = asyncio.ensure_future(driver.evaluator.evaluate(LOOP, "train"))
        await one_worker(first)
        started = time.monotonic()
        os.kill(first, signal.SIGSTOP)
        await asyncio.sleep(0.5)
        innocent = asyncio.ensure_future(driver.evaluator.evaluate(RULE, "train"))
        outcome = await loop
        return outcome, time.monotonic() - started, await innocent

    outcome, elapsed_s, innocent = driver.run(hang())
    assert outcome.kind == "timed_out"
    assert elapsed_s < driver.evaluator.limits.timeout_s + 1.0
    assert isinstance(innocent, Ok)
    assert not is_alive(first)


def test_a_parent_that_stood_still_blames_nobody():
    # The program has to end within the limit, on a loaded machine too: there it was seen to take over 2 s.
    driver = Driver(Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=8.0)))

    async def stand_still():
        work = asyncio.ensure_future(driver.evaluator.evaluate(SLOW, "train"))
        await one_worker(driver.zygote)
        time.sleep(driver.evaluator.limits.timeout_s + 1.5)  # the whole event loop, as with Ctrl-Z
        return await work

    driver.evaluate(RULE)
    outcome = driver.run(stand_still())
    driver.close()
    assert isinstance(outcome, Ok), outcome


def test_until_one_solution_is_verified_programs_run_one_at_a_time():
    """A verifier that compiles holds up this process, and who runs meanwhile would overrun its limit."""
    running: list[int] = []

    def verify(data, solution):
        running.append(len(children(driver.zygote)))
        time.sleep(0.2 if len(running) == 1 else 0.0)
        PROBLEM.verify(data, solution)

    driver = Driver(Evaluator(dataclasses.replace(PROBLEM, verify=verify), workers=2, limits=Limits(timeout_s=8.0)))

    async def both():
        return await asyncio.gather(*(driver.evaluator.evaluate(source, "train") for source in (RULE, SLOW)))

    outcomes = driver.run(both())
    driver.close()
    assert all(isinstance(outcome, Ok) for outcome in outcomes), outcomes
    assert running[0] == 0


def test_closing_leaves_no_process_even_while_a_program_runs():
    driver = Driver(Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=30.0)))

    async def close_under_it():
        work = asyncio.ensure_future(driver.evaluator.evaluate(LOOP, "train"))
        zygote = driver.zygote
        worker = await one_worker(zygote)
        await driver.evaluator.close()
        with pytest.raises(RuntimeError, match="closed"):
            await work
        return zygote, worker

    zygote, worker = driver.run(close_under_it())
    driver.runner.close()
    assert not is_alive(zygote)
    assert wait_until(lambda: not is_alive(worker), 1.0)


def test_a_cancelled_evaluation_frees_its_worker(driver: Driver):
    driver.evaluate(RULE)

    async def cancel():
        work = asyncio.ensure_future(driver.evaluator.evaluate(LOOP, "train"))
        await one_worker(driver.zygote)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    driver.run(cancel())
    assert wait_until(lambda: driver.workers() == [], 1.0)
    assert isinstance(driver.evaluate(RULE), Ok)


@pytest.mark.parametrize("moment", ["warming up", "running"])
def test_when_the_parent_is_killed_zygote_and_workers_die(tmp_path: Path, moment: str):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
            import asyncio, sys
            sys.path[:0] = {[path for path in sys.path if path]!r}
            from one_machine import PROBLEM
            from evaluators.evaluator import Evaluator
            from evaluators.sandbox.limits import Limits

            async def main():
                async with Evaluator(PROBLEM, workers=1, limits=Limits(timeout_s=60.0)) as evaluator:
                    print("ready", flush=True)
                    await evaluator.evaluate({LOOP!r}, "train")

            asyncio.run(main())
        """)
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        if moment == "running":
            assert parent.stdout.readline() == "ready\n"
        assert wait_until(lambda: children(parent.pid))
        (zygote,) = children(parent.pid)
        if moment == "running":
            assert wait_until(lambda: children(zygote))
        family = [zygote, *children(zygote)]
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not any(is_alive(process) for process in family))


def test_a_missing_layer_is_refused_by_name_and_with_the_way_out(monkeypatch):
    monkeypatch.setenv(seal.SWITCH, "landlock")
    driver_of = Evaluator(PROBLEM, workers=1)
    with pytest.raises(SandboxUnavailable, match=r"landlock.*--allow-weak-sandbox"):
        asyncio.run(driver_of.start())


def test_a_missing_layer_can_be_allowed(monkeypatch):
    monkeypatch.setenv(seal.SWITCH, "landlock")
    driver = Driver(Evaluator(PROBLEM, workers=1, allow_weak_sandbox=True))
    try:
        assert isinstance(driver.evaluate(RULE), Ok)
    finally:
        driver.close()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 300])
def test_a_start_during_which_everything_is_cancelled_ends_at_once_and_leaves_no_process(steps: int):
    # As asyncio.run does on Ctrl-C, or when another task fails.
    async def cancel() -> bool:
        start = asyncio.ensure_future(Evaluator(PROBLEM, workers=1).start())
        for _ in range(steps):
            await asyncio.sleep(0.001 if steps > 10 else 0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        done, _ = await asyncio.wait([start], timeout=3.0)
        return bool(done) and start.cancelled()

    before = set(namespaces.children(os.getpid()))
    with asyncio.Runner() as runner:
        assert runner.run(cancel())
    assert wait_until(lambda: set(namespaces.children(os.getpid())) <= before)


def test_a_problem_that_does_not_import_in_the_zygote_says_why(monkeypatch):
    evaluator = Evaluator(PROBLEM, workers=1)
    monkeypatch.setattr(Evaluator, "task", "no_such_module:run")
    with pytest.raises(ZygoteFailed, match="no_such_module"):
        asyncio.run(evaluator.start())


def test_a_zygote_that_had_to_compile_is_replaced_once_by_one_that_loads(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    found: list[bool] = []
    begin = Zygote._begin

    async def watched(zygote: Zygote, splits: list[str]):
        ready = await begin(zygote, splits)
        found.append(ready["compiled"])
        return ready

    monkeypatch.setattr(Zygote, "_begin", watched)
    for expected in ([True, False], [True, False, False]):
        driver = Driver(Evaluator(PROBLEM, workers=1))
        assert isinstance(driver.evaluate(RULE), Ok)
        driver.close()
        assert found == expected
