"""The bench of strategies: what it refuses, that it goes on, what it writes."""

import json

import pytest
from tiny import job_shops

from evolve.bench import strategies as bench
from evolve.errors import UserError
from evolve.store import Store


def plan(tmp_path, names=("steady_state",), seeds=2, **settings):
    return bench.Plan.make(["shop/job_shop"], names, seeds, tmp_path / "bench", settings)


def test_a_single_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="a single seed supports no claim"):
        plan(tmp_path, seeds=1)


def test_unknown_names_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match="unknown strategy"):
        plan(tmp_path, names=["steady"])
    with pytest.raises(UserError, match="unknown problem"):
        bench.Plan.make(["shop/jobshop"], [], 2, tmp_path, {})


def test_the_plain_strategies_are_always_in(tmp_path):
    assert plan(tmp_path, names=["mcts", "greedy"]).strategies == ("sample", "greedy", "mcts")


def test_runs_of_other_settings_are_not_mixed_in(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "settings.json").write_text('{"evaluations": 7}')
    with pytest.raises(UserError, match="holds runs with settings"):
        bench.run(plan(tmp_path, evaluations=8))


@pytest.mark.slow
def test_a_bench_goes_on_where_it_stopped_and_writes_both_results(tmp_path):
    own = {name: str(path) for name, path in job_shops(tmp_path / "own").items()}
    first = plan(tmp_path, names=[], evaluations=10, **own)
    begun = []
    with pytest.raises(InterruptedError):
        bench.run(first, on_run=lambda text: _stop_at(begun, text, 3))
    done = first.folder("shop/job_shop", "sample", 0)
    with Store(done) as store:
        hash_before = store.archive_hash()
    result = bench.run(first)
    with Store(done) as store:
        assert store.archive_hash() == hash_before
    assert {(r["strategy"], r["seed"]) for r in result["runs"]} == {(s, k) for s in bench.ALWAYS for k in range(2)}
    assert all(r["evaluations"] == 10 for r in result["runs"])
    assert json.loads((first.out / "bench.json").read_text()) == json.loads(json.dumps(result))
    assert "| greedy |" in (first.out / "bench.md").read_text()


@pytest.mark.slow
def test_a_bench_with_the_synthetic_model_goes_on_and_reads_no_test_split(tmp_path):
    own = {name: str(path) for name, path in job_shops(tmp_path / "own").items()}
    settings = {"evaluations": 6, **own}
    first = bench.Plan.make(["shop/job_shop"], [], 2, tmp_path / "bench", settings, synthetic=True)
    begun = []
    with pytest.raises(InterruptedError):
        bench.run(first, on_run=lambda text: _stop_at(begun, text, 3))
    folder = first.folder("shop/job_shop", "sample", 0)
    with Store(folder, writable=True) as store:
        store.set_meta("status", "interrupted")  # as if killed before its end
    result = bench.run(first)
    assert all(r["evaluations"] == 6 for r in result["runs"])
    with Store(folder) as store:
        assert store.meta("report") is None
        assert sum(row["calls"] for row in store.spend().values()) >= 6


def _stop_at(begun, text, count):
    begun.append(text)
    if len(begun) == count:
        raise InterruptedError
