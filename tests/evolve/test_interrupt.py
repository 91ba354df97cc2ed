"""Ctrl-C in each phase of a run: exit code 130, one line with the way on, and the same end after a resume."""

import os
import signal

import pytest
from tiny import job_shops

from evaluators.evaluator import Evaluator
from evolve.loop import Search
from evolve.store import Store

PHASES = ("starting the evaluator", "baselines", "searching", "selecting on valid", "reporting on test")
FLAGS = ("--evaluations", "25", "--seed", "5", "--workers", "2")


@pytest.fixture
def states(monkeypatch):
    """States of the strategies of the searches that came to an end."""
    found = []
    run = Search.run

    async def watched(search: Search) -> None:
        await run(search)
        found.append(search.found.strategy.state())

    monkeypatch.setattr(Search, "run", watched)
    return found


def press_ctrl_c_at(patch: pytest.MonkeyPatch, phase: str) -> None:
    """Once, when a run enters the phase; of the search, when a third of it is done."""
    start, notify = Evaluator.start, Search.notify

    async def starting(evaluator: Evaluator) -> None:
        if phase == PHASES[0]:
            os.kill(os.getpid(), signal.SIGINT)
        await start(evaluator)

    def notified(search: Search, now: str) -> None:
        notify(search, now)
        if now == phase and (now != "searching" or len(search.found.candidates) == 12):
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(Evaluator, "start", starting)
    patch.setattr(Search, "notify", notified)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    paths = job_shops(tmp_path_factory.mktemp("own"))
    return [text for name, path in paths.items() for text in (f"--{name}", path)]


@pytest.fixture(scope="module")
def wholes():
    """What the uninterrupted run found: filled by the first test that needs it."""
    return {}


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupted_run_exits_130_and_resumes_to_the_same_end(tmp_path, own, call, states, wholes, phase):
    if not wholes:
        code, _, err = call("run", "shop/job_shop", "--out", tmp_path / "whole", *FLAGS, *own)
        assert code == 0, err
        with Store(tmp_path / "whole") as store:
            wholes.update(hash=store.archive_hash(), chain=store.chain(), state=states.pop())
    folder = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        press_ctrl_c_at(patch, phase)
        code, out, err = call("run", "shop/job_shop", "--out", folder, *FLAGS, *own)
    assert code == 130
    assert "Traceback" not in out + err
    assert f"evolve resume {folder}" in " ".join(out.split())
    with Store(folder) as store:
        assert store.meta("status") == "interrupted"
    states.clear()
    code, _, err = call("resume", folder)
    assert code == 0, err
    with Store(folder) as store:
        assert store.meta("status") == "finished"
        assert store.chain() == wholes["chain"]
        assert store.archive_hash() == wholes["hash"]
    # what the strategy and each generator hold follows from what was told and from the number of an attempt
    assert states == [wholes["state"]]
