"""Generated request streams: reproducible, of the stated rate and burstiness, close to the traces."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from problems.serving._server.requests import NONE
from problems.serving._workloads import workloads as _workloads
from problems.serving._workloads.arrivals import Arrivals, arrival_times
from problems.serving._workloads.mixtures import Mixture, log_normal
from problems.serving._workloads.predictors import KINDS, predict
from problems.serving._workloads.workloads import WORKLOADS, Workload, make_workload

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared/data"
LENGTHS = np.random.default_rng(5).lognormal(5, 1, 4000).round() + 1


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_fixes_a_workload(name):
    assert same(make_workload(name, 300, 7), make_workload(name, 300, 7))
    assert not same(make_workload(name, 300, 7), make_workload(name, 300, 8))


@pytest.mark.parametrize("name", WORKLOADS)
@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 400), seed=st.integers(0, 2**32))
def test_every_seed_gives_valid_requests(name, count, seed):
    # make_requests checks the columns; the context is checked here
    requests = make_workload(name, count, seed)
    assert len(requests.arrival_s) == count
    assert (requests.prompt_tokens + requests.output_tokens <= WORKLOADS[name].context_tokens).all()


def test_another_rate_leaves_lengths_and_predictions_as_they_are():
    slow, fast = (make_workload("azure-conv", 500, 3, rate_per_s=rate) for rate in (2.0, 4.0))
    assert same(slow[1:4], fast[1:4])
    assert slow.arrival_s[-1] > 1.5 * fast.arrival_s[-1]


@pytest.mark.parametrize("name", WORKLOADS)
def test_requests_come_at_the_stated_rate(name):
    wanted = 2.0
    rates = [5000 / make_workload(name, 5000, seed, rate_per_s=wanted, cv=1.0).arrival_s[-1] for seed in range(5)]
    assert np.mean(rates) == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0, 6.0])
def test_gamma_gaps_have_the_stated_variation(cv):
    gaps = np.diff(arrival_times(Arrivals(5.0, cv=cv), 200_000, np.random.default_rng(1)))
    assert gaps.mean() == pytest.approx(0.2, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_thirteen_fold_variation_as_in_the_code_trace():
    gaps = np.diff(arrival_times(Arrivals(3.2, cv=13.0), 1_000_000, np.random.default_rng(1)))
    assert gaps.std() / gaps.mean() == pytest.approx(13.0, rel=0.05)


def test_a_swing_moves_load_but_adds_none():
    even = arrival_times(Arrivals(10.0), 50_000, np.random.default_rng(1))
    swung = arrival_times(Arrivals(10.0, swing=0.8, period_s=1000.0), 50_000, np.random.default_rng(1))
    assert swung[-1] == pytest.approx(even[-1], rel=0.01)
    counts = [np.histogram(a, np.arange(0, 5000, 250))[0] for a in (even, swung)]
    # peaks of 1 + 0.8 * 2 / pi * sqrt(2) in the best quarter of a period
    assert counts[1].max() / counts[1].mean() == pytest.approx(1.72, abs=0.15)
    assert counts[0].max() / counts[0].mean() < 1.1


def test_bursts_make_counts_more_dispersed():
    dispersed = []
    for bursts in (0.0, 20.0):
        process = Arrivals(10.0, bursts_per_hour=bursts, burst_factor=5.0, burst_s=30.0)
        counts = np.histogram(arrival_times(process, 50_000, np.random.default_rng(2)), np.arange(0, 4900, 10))[0]
        dispersed.append(counts.var() / counts.mean())
    assert dispersed[0] < 1.5
    assert dispersed[1] > 5 * dispersed[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_per_s": 0.0}, r"rate_per_s must be positive, got 0\.0"),
        ({"cv": -1.0}, "cv must be positive"),
        ({"swing": 1.0}, r"swing must be in \[0, 1\), got 1\.0"),
        ({"rate": 1.0}, "unknown field of arrivals 'rate'"),
        ({"predictor": ("psychic", 1.0)}, "unknown predictor 'psychic'"),
        ({"predictor": ("rank", 0.0)}, r"rank.*value in \(0, 1\]; got 0\.0"),
    ],
)
def test_impossible_settings_are_refused_with_their_rule(changes, message):
    with pytest.raises(ValueError, match=message):
        make_workload("azure-conv", 10, 0, **changes)


def test_an_unknown_workload_is_refused_with_the_closest_one():
    with pytest.raises(ValueError, match=r"unknown workload 'azure-chat'.*azure-co"):
        make_workload("azure-chat", 10, 0)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        make_workload("azure-conv", 0, 0)


def test_a_turn_repeats_the_prompt_and_answer_before_it():
    requests = make_workload("coding-agents", 3000, 1)
    for session in np.unique(requests.session)[:20]:
        turns = np.flatnonzero(requests.session == session)
        before = requests.prompt_tokens[turns[:-1]] + requests.output_tokens[turns[:-1]]
        assert np.array_equal(requests.session_tokens[turns[1:]], before)
        assert (requests.prompt_tokens[turns[1:]] > before).all()
        assert len(set(requests.prefix[turns])) == 1


def test_text_to_sql_queries_have_eleven_to_28_calls_for_the_most_part():
    requests = make_workload("text-to-sql", 8000, 1)
    middle = (requests.arrival_s > 300) & (requests.arrival_s < requests.arrival_s[-1] - 300)
    calls = np.bincount(requests.session)[np.unique(requests.session[middle])]
    assert np.median(calls) == pytest.approx(23, abs=3)
    assert np.mean((calls >= 11) & (calls <= 32)) > 0.9
    assert set(requests.prefix) == set(range(7))


def test_tenants_have_zipf_shares_and_classes_their_promises():
    requests = make_workload("tenants", 20_000, 1)
    shares = np.bincount(requests.tenant, minlength=27) / 20_000
    assert shares[0] == pytest.approx(1 / sum(1 / k for k in range(1, 28)), rel=0.15)
    assert set(requests.ttft_slo_s[requests.priority == 0]) == {1.0}
    assert set(requests.tpot_slo_s[requests.priority == 1]) == {0.2}
    assert make_workload("azure-conv", 10, 1).tenant.tolist() == [NONE] * 10


def test_a_workload_of_ones_own():
    mine = Workload("mine", Arrivals(1.0), Mixture((1.0,), ((100.0, 10.0),), ((1e-9, 1e-9),), (1, 1), (1e6, 1e6)))
    requests = make_workload(mine, 50, 0, predictor=("oracle", 0.0))
    assert set(requests.prompt_tokens) == {100}
    assert set(requests.predicted_output) == {10.0}


def test_the_mean_of_a_cut_mixture_is_that_of_its_samples():
    mixture = Mixture((1.0, 3.0), ((10.0,), (200.0,)), ((1.0,), (0.5,)), (5.0,), (300.0,))
    assert mixture.sample(400_000, np.random.default_rng(0)).mean() == pytest.approx(mixture.mean(), rel=0.005)
    assert log_normal(10.0, 0.5).mean() == pytest.approx(10 * np.exp(0.125))


@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.9])
def test_a_rank_predictor_has_the_stated_rank_correlation(wanted):
    said = predict(LENGTHS, "rank", wanted, np.random.default_rng(0))
    assert stats.spearmanr(said, LENGTHS).statistic == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize("wanted", [0.1, 0.5, 1.0])
def test_a_predictor_of_given_error_has_it(wanted):
    said = predict(LENGTHS, "mae", wanted, np.random.default_rng(0))
    assert np.abs(said - LENGTHS).mean() / LENGTHS.mean() == pytest.approx(wanted, rel=0.005)


def test_a_bucket_predictor_is_right_as_often_as_stated():
    edges = np.quantile(LENGTHS, np.linspace(0, 1, 11)[1:-1])
    said = predict(LENGTHS, "bucket", 0.7, np.random.default_rng(0))
    right = np.searchsorted(edges, said, side="left") == np.searchsorted(edges, LENGTHS, side="left")
    # a wrong answer at either end is cut back to the right one half of the time
    assert right.mean() == pytest.approx(0.7 + 0.3 * 0.1, abs=0.03)


def test_oracle_and_constant_predictors():
    assert np.array_equal(predict(LENGTHS, "oracle", 0, np.random.default_rng(0)), LENGTHS)
    assert set(predict(LENGTHS, "constant", 0, np.random.default_rng(0))) == {LENGTHS.mean()}


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 10_000), min_size=1, max_size=50),
    kind=st.sampled_from(["oracle", "constant", "log-normal", "bucket", "rank"]),
    value=st.floats(0.5, 1.0),
    seed=st.integers(0, 1000),
)
def test_predictions_are_positive_and_finite_for_any_lengths(lengths, kind, value, seed):
    said = predict(np.array(lengths), kind, value, np.random.default_rng(seed))
    assert kind in KINDS
    assert said.shape == (len(lengths),)
    assert (said > 0).all()
    assert np.isfinite(said).all()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here (slices of public traces)")
def test_workloads_agree_with_the_traces_they_were_fitted_to(monkeypatch):
    # distances, ratios and tolerances: docs/workloads.md
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import workloads

    rows = workloads.agreement(DATA)
    sys.modules.pop("workloads")
    assert len(rows) > 30
    assert [row for row in rows if not row.holds] == []
    assert _workloads.WORKLOADS.keys() >= {row.workload for row in rows}
