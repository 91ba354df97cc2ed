"""A run as a whole: order, determinism, interruption, resumption, duplicates, refusals."""

import itertools
import signal
import subprocess
import sys
import time
from typing import ClassVar

import pytest
from tiny import job_shops

import evolve
from evaluators.admission.canonical import canonical_hash
from evaluators.outcome import Anticipative, Ok
from evolve import loop, parts, session
from evolve.archives.pareto import ParetoArchive
from evolve.program import Candidate
from evolve.store import Store
from evolve.strategies.greedy import Greedy
from evolve.strategies.strategy import Wait
from problems import registry


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return job_shops(tmp_path_factory.mktemp("own"))


def told(folder) -> list[tuple[int, str, str]]:
    with Store(folder) as store:
        programs = {p.id: p for p in store.programs()}
        outcomes = store.outcomes("train")
        return [(n, programs[n].source, outcomes[n].kind) for n in store.tells()]


def key(program) -> str:
    return canonical_hash(program.source, ("priority",))


def test_the_archive_does_not_depend_on_the_number_of_workers(tmp_path, own):
    runs = [
        evolve.run("shop/job_shop", evaluations=60, seed=3, **own, workers=workers, out=tmp_path / f"w{workers}")
        for workers in (1, 2)
    ]
    assert told(runs[0]) == told(runs[1])


def test_a_copy_of_a_baseline_is_refused_without_an_evaluation(tmp_path, own):
    folder = evolve.run("shop/job_shop", evaluations=60, seed=9, **own, out=tmp_path / "run")
    with Store(folder) as store:
        keys = [key(p) for p in store.programs() if p.source and store.outcomes("train")[p.id].kind != "rejected"]
    assert len(keys) == len(set(keys))


def test_another_seed_gives_another_search(tmp_path, own):
    runs = [evolve.run("shop/job_shop", evaluations=20, seed=seed, **own, out=tmp_path / f"s{seed}") for seed in (1, 2)]
    assert told(runs[0]) != told(runs[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, own):
    return evolve.run("shop/job_shop", evaluations=40, seed=5, **own, out=tmp_path_factory.mktemp("runs") / "whole")


def test_the_budget_counts_evaluations_and_not_refusals(whole):
    with Store(whole) as store:
        baselines = sum(p.origin == "baseline" for p in store.programs())
        counts = store.counts()
    assert sum(n for kind, n in counts.items() if kind != "rejected") == 40 + baselines


def test_baselines_run_first_and_the_champion_is_read_on_valid_and_test(whole):
    with Store(whole) as store:
        origins = [p.origin for p in store.programs()]
        assert origins[0] == "baseline"
        champion = store.outcomes_of(store.meta("champion"))
        assert isinstance(champion["valid"], Ok)
        assert isinstance(champion["test"], Ok)
        assert store.meta("report")["decoder"] == "non-delay"


def test_hypervolume_never_falls_during_a_run_and_ends_with_the_front_that_is_kept(whole):
    with Store(whole) as store:
        programs, outcomes = {p.id: p for p in store.programs()}, store.outcomes("train")
        told, front = [Candidate(programs[n], outcomes[n]) for n in store.tells()], store.meta("front")
    objectives = registry.load("shop/job_shop").objectives
    archive, volumes = ParetoArchive(objectives), []
    reference = {o.name: 2.0 * max(c.objective(o.name) for c in told if isinstance(c.outcome, Ok)) for o in objectives}
    for candidate in told:
        archive.add(candidate)
        volumes.append(archive.hypervolume(reference))
    assert all(before <= after * (1 + 1e-12) for before, after in itertools.pairwise(volumes))
    assert volumes[-1] > volumes[0] > 0.0
    assert [c.program.id for c in archive.members] == front


def test_the_noise_floor_is_measured_on_train_and_valid_and_told_with_the_report(whole, call):
    with Store(whole) as store:
        floors, report = store.meta("noise"), store.meta("report")
    assert list(floors) == ["train", "valid"]
    assert all(floor["error"] > 0 and floor["instances"] == 5 for floor in floors.values())
    assert report["noise"] == floors
    code, out, _ = call("show", whole)
    assert code == 0
    assert out.count("Noise: by the chance of which instances were drawn") == 1


def start(folder, evaluations: int, own: dict) -> subprocess.Popen:
    given = {"out": folder, "seed": 9, **own}
    settings = {name: value if isinstance(value, int) else str(value) for name, value in given.items()}
    command = f"import evolve; evolve.run('shop/job_shop', evaluations={evaluations}, **{settings!r})"
    return subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_tells(folder, count: int, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if (folder / "run.toml").exists():
            with Store(folder) as store:
                if len(store.tells()) >= count:
                    return
        time.sleep(0.1)
    pytest.fail(f"no {count} candidates within {limit_s} s")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_resumes_to_the_same_end(tmp_path, own, how):
    whole = evolve.run("shop/job_shop", evaluations=60, seed=9, **own, out=tmp_path / "whole")
    process = start(tmp_path / "cut", 60, own)
    wait_for_tells(tmp_path / "cut", 30)
    process.send_signal(how)
    process.wait(30)
    before = told(tmp_path / "cut")
    session.resume(tmp_path / "cut")
    after = told(tmp_path / "cut")
    assert after[: len(before)] == before
    assert after == told(whole)
    with Store(tmp_path / "cut") as store:
        assert store.meta("status") == "finished"


def test_a_run_killed_during_its_baselines_resumes(tmp_path, own):
    process = start(tmp_path / "cut", 20, own)
    wait_for_tells(tmp_path / "cut", 1)
    process.kill()
    process.wait(30)
    session.resume(tmp_path / "cut")
    with Store(tmp_path / "cut") as store:
        names = [p.operator for p in store.programs() if p.origin == "baseline"]
        assert len(names) == len(set(names))
        assert store.meta("status") == "finished"


def test_what_the_audit_finds_is_the_outcome_and_never_enters_the_front(tmp_path, own, monkeypatch):
    audited = []

    async def audit(self, source, split, outcome):
        audited.append((source, split))
        return Anticipative("audit", "it peeked")

    monkeypatch.setattr(loop.Auditor, "audit", audit)
    monkeypatch.setattr(loop.Findings, "would_enter", lambda self, candidate: True)
    folder = evolve.run("shop/job_shop", evaluations=6, seed=5, **own, out=tmp_path / "run")
    with Store(folder) as store:
        outcomes = [store.outcomes("train")[p.id] for p in store.programs() if p.origin == "genetic"]
        baselines = {p.id for p in store.programs() if p.origin == "baseline"}
        assert set(store.meta("front")) <= baselines
    found = [outcome for outcome in outcomes if outcome.kind == "anticipative"]
    assert found == [Anticipative("audit", "it peeked")] * len(audited)
    assert len(audited) == 6


class InTurn(Greedy):
    """Waits until the attempt before has been told."""

    asked_with: ClassVar[list[int]] = []

    def ask(self, view, rng):
        if view.pending:
            return Wait()
        self.asked_with.append(view.pending)
        return super().ask(view, rng)


def test_a_strategy_may_wait_for_attempts_under_way(tmp_path, own, monkeypatch):
    monkeypatch.setattr(parts.strategies, "load", lambda name: InTurn)
    folder = evolve.run("shop/job_shop", evaluations=12, seed=2, **own, out=tmp_path / "run")
    with Store(folder) as store:
        numbers = [n for n in store.tells() if store.program(n).origin == "genetic"]
    assert numbers == sorted(numbers)
    assert len(InTurn.asked_with) == len(numbers) >= 12
