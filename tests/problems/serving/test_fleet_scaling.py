from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clusters import serve_cluster, small
from fleets import least_ttft, run_fleet
from servers import draw_requests, linear_cost
from test_cluster import FAST, SLOW, with_sessions

from problems.problem import BadInstance, Infeasible, NonFiniteScore
from problems.serving._cluster.data import DECODE, Group, Router, make_cluster
from problems.serving._fleet.claims import CLAIMS
from problems.serving._fleet.data import Control, Elastic, Instances, Offer, make_elastic, pool_on, with_failures
from problems.serving._fleet.log import START, STOP, move
from problems.serving._fleet.metrics import measure
from problems.serving._fleet.verify import verify
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving.fleet_scaling import PROBLEM

AT_ONCE = Router(period_s=0.5, delay_s=0.0, deciding_s=0.0)
TICKS = Control(tick_s=1.0, short_s=1.0, long_s=2.0)
A_DOLLAR_A_SECOND = 3600.0


def two_while_busy(pool: Pool, fleet: Fleet) -> float:
    return 2.0 if pool.waiting + pool.running > 0.0 else 1.0


def two_until_five(pool: Pool, fleet: Fleet) -> float:
    return 2.0 if fleet.now < 4.5 else 1.0


def zero(pool: Pool, fleet: Fleet) -> float:
    return 0.0


def huge(pool: Pool, fleet: Fleet) -> float:
    return 1e300


def swinging(pool: Pool, fleet: Fleet) -> float:
    return 1e9 if pool.wanted == pool.least else -1e9


def not_a_number(pool: Pool, fleet: Fleet) -> float:
    return (pool.up - pool.up) / (pool.least - pool.least)


def half_more(pool: Pool, fleet: Fleet) -> float:
    return pool.least + 0.5


def place_for_two(**given) -> Elastic:
    """Two requests of 6 and 3 prompt tokens, at 0 and 4; a token takes 1 s, an instance 2 s to load, and 1 $/s."""
    requests = make_requests([0.0, 4.0], [6, 3], [1, 1], [1, 1], ttft_slo_s=[6.0, 2.9])
    group = Group(linear_cost(token=1.0), small(decision_s=0.0, candidate_s=0.0, horizon_s=13.0), 2)
    pools = [Instances(group, A_DOLLAR_A_SECOND, 2.0)]
    return make_elastic(requests, pools, 50.0, router=AT_ONCE, control=TICKS, **given)


def test_the_second_instance_comes_after_two_seconds_and_goes_when_all_is_done() -> None:
    # At 1 place 1 is started, from 3 on it is up. Request 0 runs 0-6 at place 0, request 1 4-7 at place 1. At 7 both
    # have nothing, and place 1 is stopped.
    data = place_for_two()
    found = run_fleet(data, two_while_busy)
    assert found.finish_s.tolist() == [6.0, 7.0]
    assert found.log.tolist() == [0 << 8 | 0, 1 << 8 | 1]
    assert found.moves.tolist() == [move(START, 0, 0), move(START, 1, 1000), move(STOP, 1, 7000)]
    assert found.paid_s.tolist() == [13.0, 6.0]
    verify(data, found)
    # Request 0 is in time, request 1 is not: 3 s for a promise of 2.9.
    raw = measure(data, found)
    assert raw["cost"] == pytest.approx(1000 * (19.0 + 50.0) / 2)
    assert raw["instance_time"] == pytest.approx(100 * 19 / 26)
    assert raw["slo_attainment"] == 50.0


def test_what_is_stopped_ends_what_it_has_and_takes_nothing_new() -> None:
    # At 5 both have one request: the last place is stopped, ends request 1 at 7, and is paid for until then.
    found = run_fleet(place_for_two(), two_until_five)
    assert found.finish_s.tolist() == [6.0, 7.0]
    assert found.moves.tolist()[-1] == move(STOP, 1, 5000)
    assert found.paid_s.tolist() == [13.0, 6.0]


def test_requests_of_a_failed_instance_begin_again_elsewhere() -> None:
    # Place 0 fails at 3.5, when place 1 is up: request 0 runs there 3.5-9.5, request 1 after it until 12.5.
    # At 4 a new instance is started at place 0, up from 6 on: both requests are at place 1 already.
    data = place_for_two(failures=[(3.5, 0), (3.6, 0)])
    found = run_fleet(data, two_while_busy)
    assert found.log.tolist() == [0 << 8 | 0, 0 << 8 | 1, 1 << 8 | 1]
    assert found.sent_s.tolist() == [0.0, 3.5, 4.0]
    assert found.finish_s.tolist() == [9.5, 12.5]
    assert found.computed_tokens.tolist() == [6, 3]
    assert found.paid_s[0] == 3.5 + 13.0 - 4.0
    verify(data, found)


def test_a_fleet_without_instances_waits_for_the_next_one() -> None:
    # Place 0 fails at 0.5; the next tick starts another one, up at 3.
    data = place_for_two(failures=[(0.5, 0)])
    found = run_fleet(data, zero)
    assert found.sent_s.tolist() == [0.0, 3.0, 4.0]
    assert found.finish_s.tolist() == [9.0, 12.0]
    assert found.paid_s.tolist() == [0.5 + 12.0, 0.0]


@pytest.mark.parametrize("seed", range(12))
def test_a_fleet_that_never_changes_is_a_cluster_to_the_last_digit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    requests = with_sessions(rng, draw_requests(rng, 60, rate=rng.choice([8.0, 60.0])))
    end = float(requests.arrival_s[-1]) + rng.choice([60.0, 0.5])
    groups = [Group(cost, small(blocks=40, horizon_s=end), int(rng.integers(1, 4))) for cost in (SLOW, FAST)]
    cache = int(rng.choice([0, 4]))
    pools = [Instances(group, 2.0, 1.0, group.servers, group.servers) for group in groups]
    found = run_fleet(make_elastic(requests, pools, 1.0, cache_tokens=cache), zero)
    expected = serve_cluster(make_cluster(requests, groups, cache_tokens=cache), least_ttft)
    sends = len(found.log)
    assert sends == len(requests.arrival_s) or expected.sent_s[sends] >= end
    for name in ("first_token_s", "finish_s", "worst_gap_s", "computed_tokens"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.log.tolist() == expected.log.tolist()[:sends]
    assert found.sent_s.tolist() == expected.sent_s.tolist()[:sends]
    # What runs at the horizon ends its last step.
    assert (found.paid_s >= end).all()
    assert (found.paid_s < end + 2.0).all()


def probe() -> Elastic:
    return PROBLEM.probes()[3].data


@pytest.mark.parametrize("scale", [zero, huge, swinging, half_more])
def test_whatever_a_rule_wants_the_fleet_stays_within_its_limits(scale) -> None:
    data = probe()
    found = run_fleet(data, scale)
    verify(data, found)
    raw = measure(data, found)
    horizon_s = float(data.cluster.time_s[0])
    if scale is zero:
        assert (found.paid_s > 0).sum() == len(data.least)
        assert raw["instance_time"] == pytest.approx(100 * len(data.least) / len(found.paid_s), rel=0.05)
    if scale is huge:
        assert (found.paid_s > horizon_s - 1.0).all()
    if scale is half_more:  # a half is rounded up
        assert (found.paid_s > horizon_s - 1.0).sum() == 2 * len(data.least)
    assert PROBLEM.lower_bounds(data)["cost"] <= raw["cost"]


def test_nan_is_refused() -> None:
    with pytest.raises(NonFiniteScore):
        run_fleet(place_for_two(), not_a_number)


def test_doing_nothing_costs_more_than_serving_all() -> None:
    """No rule gains by a fleet too small to serve, nor by one that idles."""
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a10-chat-day")
    costs = {}
    for name in ("static_peak", "rate_trend"):
        baseline = PROBLEM.baseline(name)
        assert baseline is not None
        found = run_fleet(instance.data, baseline.hooks["scale"], baseline.hooks["route"])
        costs[name] = measure(instance.data, found)["cost"]
    nothing = measure(instance.data, run_fleet(instance.data, zero))["cost"]
    assert costs["rate_trend"] < costs["static_peak"] < nothing


def refused(data: Elastic, change: dict, message: str) -> None:
    found = run_fleet(data, two_while_busy)
    with pytest.raises(Infeasible, match=message):
        verify(data, found._replace(**{name: np.array(value) for name, value in change.items()}))


FIRST, SECOND, LAST = move(START, 0, 0), move(START, 1, 1000), move(STOP, 1, 7000)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ([SECOND, LAST], "must be the first start of place 0"),
        ([FIRST, SECOND, move(START, 1, 2000), LAST], "starts an instance at place 1, where there is one"),
        ([FIRST, move(STOP, 1, 1000)], "stops the instance at place 1, where there is none"),
        ([FIRST, SECOND, move(STOP, 7, 7000)], "is about place 7, which there is not"),
        ([FIRST, SECOND, move(2, 1, 7000)], "or is no move"),
        ([FIRST, SECOND, LAST, move(STOP, 0, 8000)], "fewer instances than are always wanted"),
        ([FIRST, SECOND, LAST, move(START, 1, 8500)], "is not at a tick"),
        ([FIRST, SECOND, move(STOP, 1, 14000)], "is not at a tick"),
        ([FIRST, SECOND], "paid_s at 1 is 6.0, but the log leads to 12.0"),
        ([FIRST, move(START, 1, 3000), LAST], "sends a request to place 1, where no instance is up"),
        ([FIRST, SECOND, move(STOP, 1, 5000), move(START, 1, 6000)], "starts an instance at place 1, where there is"),
    ],
)
def test_each_rule_of_the_moves_is_checked(moves: list[int], message: str) -> None:
    refused(place_for_two(), {"moves": moves}, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log": [256 + 1, 0]}, "must be about request 0, which is next"),
        ({"log": [0, 256 + 7]}, "sends a request to place 7"),
        ({"log": [1, 256 + 1]}, "sends a request to place 1, where no instance is up"),
        ({"log": [0], "sent_s": [0.0]}, "ends after 1 entries, before request 1 is sent"),
        ({"log": [0, 257, 258], "sent_s": [0.0, 4.0, 5.0]}, "log entry 2 comes after the end"),
        ({"paid_s": [13.0, 5.0]}, "paid_s at 1 is 5.0, but the log leads to 6.0"),
        ({"finish_s": [6.0, 6.5]}, "finish_s at 1"),
        ({"log": [0, -1]}, "must not be negative"),
        ({"paid_s": [13.0]}, "must be a float64 array of shape"),
    ],
)
def test_each_rule_of_the_log_is_checked(change: dict, message: str) -> None:
    refused(place_for_two(), change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": []}, "at least one pool"),
        ({"least": 0}, "1 <= least <= first <= servers"),
        ({"first": 3}, "1 <= least <= first <= servers"),
        ({"price": 0.0}, "price must be positive"),
        ({"load_s": -1.0}, "load_s must be finite"),
        ({"penalty": np.inf}, "penalty must be finite"),
        ({"role": DECODE}, "role must be 0"),
        ({"control": Control(0.01)}, "tick_s must be at least a report's age"),
        ({"control": Control(1.00005)}, "whole milliseconds"),
        ({"control": Control(1.0, 3.0, 2.0)}, "short_s <= long_s"),
        ({"failures": [(1.0, 2)]}, "failures must be at places 0 to 1"),
        ({"failures": [(1.0, 0), (0.5, 0)]}, "in order of time"),
        ({"failures": [(1e9, 0)]}, "between 0 and the horizon"),
        ({"cache_tokens": 6}, "multiple of block_tokens"),
    ],
)
def test_impossible_fleets_are_refused(change: dict, message: str) -> None:
    requests = make_requests([0.0], [4], [2], [2])
    group = Group(linear_cost(token=1.0), small(), 2, change.get("role", 0))
    pool = Instances(
        group, change.get("price", 1.0), change.get("load_s", 1.0), change.get("least", 1), change.get("first", 1)
    )
    others = {name: change[name] for name in ("control", "failures", "cache_tokens") if name in change}
    with pytest.raises(ValueError, match=message):
        make_elastic(requests, change.get("pools", [pool]), change.get("penalty", 1.0), **others)


def test_other_failures_are_checked_too() -> None:
    with pytest.raises(ValueError, match="failures must be at places"):
        with_failures(place_for_two(), np.array([1.0]), np.array([9]))


def test_loading_takes_the_start_of_the_process_and_the_weights() -> None:
    # 16.06 GB at 5 GB/s, and 10 s.
    pool = pool_on(Offer(Host("A100-80", "Llama-3.1-8B"), 2, 2.0), 100.0)
    assert pool.load_s == pytest.approx(10.0 + 16.06 / 5.0, rel=0.01)


HEADER = "arrival_s,prompt_tokens,output_tokens\n"


def test_a_file_names_its_pools(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(
        "# places=3 first=2 price=2.5 penalty=0.01 device=A100-80 model=Llama-3.1-8B cache_tokens=32\n"
        "# places=2 device=H100 model=Llama-3.1-8B\n" + HEADER + "0,100,5\n1,200,5\n"
    )
    (instance,) = PROBLEM.read(path)
    data = instance.data
    assert data.cluster.kind.tolist() == [0, 0, 0, 1, 1]
    assert (data.first.tolist(), data.least.tolist(), data.price.tolist()) == ([2, 1], [1, 1], [2.5, 1.0])
    assert data.penalty.tolist() == [0.01]
    assert instance.references["cost"].value == PROBLEM.lower_bounds(data)["cost"] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "0,100,5\n", "needs a line for the instances"),
        ("# places=x device=A100-80\n" + HEADER + "0,100,5\n", "line 1: places must be a number"),
        ("# places=2.5\n" + HEADER + "0,100,5\n", "places must be a whole number"),
        ("# places=2 first=3\n" + HEADER + "0,100,5\n", "least <= first <= servers"),
        ("# places=2 price=-1\n" + HEADER + "0,100,5\n", "price must be positive"),
        ("# places=2 device=A1000\n" + HEADER + "0,100,5\n", "A1000"),
        ("# places=2\narrival_s,prompt_tokens,output_tokens,color\n0,1,1,1\n", "unknown column 'color'"),
    ],
)
def test_broken_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(BadInstance, match=message):
        PROBLEM.read(path)


def test_claims_have_the_verdicts_that_the_page_of_papers_shows() -> None:
    def solve(rule, data):
        return run_fleet(data, rule.hooks["scale"], rule.hooks["route"])

    verdicts = {c.paper: c.verdict(c.experiment(solve) if c.experiment else None) for c in CLAIMS}
    assert verdicts == VERDICTS


VERDICTS = {
    "Llumnix (2024)": "reproduced",
    "BurstGPT (2024)": "reproduced",
    "Semantic caching (2025)": "direction only",
    "WRP (2026)": "not checkable",
    "Glia (2025)": "not checkable",
}

# Cost ($ per 1000 requests), instance time paid (%), promises kept (%), P99 TTFT (s) on a valid instance.
VALUES = (
    ("llumnix", 2.15927237, 49.291959, 84.222222, 23.684148),
    ("static_peak", 2.08332304, 99.587453, 99.944444, 3.239622),
    ("static_mean", 4.51876388, 44.445759, 47.611111, 150.236343),
    ("square_root", 1.22254407, 46.108795, 99.944444, 3.269908),
    ("erlang_c", 1.38567922, 54.400896, 99.888889, 3.235729),
    ("hpa", 1.19598460, 46.656546, 99.944444, 3.312469),
    ("keda", 1.23075600, 44.503702, 98.166667, 6.977172),
    ("rate_trend", 1.18966623, 45.054350, 99.833333, 3.302263),
    ("length_pools", 1.18331695, 39.262403, 98.555556, 9.463970),
)


@pytest.mark.parametrize(("rule", "cost", "paid", "kept", "tail"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(
    rule: str, cost: float, paid: float, kept: float, tail: float
) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-l40s-h100-pools-day")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    found = measure(instance.data, run_fleet(instance.data, baseline.hooks["scale"], baseline.hooks["route"]))
    assert found["cost"] == pytest.approx(cost, rel=1e-6)
    assert found["instance_time"] == pytest.approx(paid, rel=1e-6)
    assert found["slo_attainment"] == pytest.approx(kept)
    assert found["p99_ttft"] == pytest.approx(tail, rel=1e-6)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
