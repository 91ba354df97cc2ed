"""Experiments on published claims of devices: closed forms, optima by enumeration, hand-solved cases."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems._hardware import experiments
from problems._hardware.experiments import (
    ceiling_tokens_per_s,
    flow_shop_makespan,
    host_attention,
    johnson_order,
    makespan,
    sequential_and_overlapped_s,
)

SECONDS = st.floats(0.01, 10.0)


def test_a_70b_model_on_an_a100_is_bound_to_1678_tokens_per_second() -> None:
    # 312 TFLOP/s * 0.742 / (2 * 68.98e9)
    assert ceiling_tokens_per_s("A100-80", "Llama-2-70B") == pytest.approx(1678, abs=1)


def test_overlap_is_no_slower_than_operators_in_turn_and_no_faster_than_the_ceiling() -> None:
    sequential_s, overlapped_s = sequential_and_overlapped_s()
    assert 2048 / 8 / ceiling_tokens_per_s("A100-80", "Llama-2-70B") < overlapped_s < sequential_s


def test_a_flow_shop_of_three_experts_ends_at_nine() -> None:
    # loads 0-1, 1-4, 4-6; computations 1-3, 4-5, 6-9
    assert flow_shop_makespan([1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [0, 1, 2]) == 9.0
    assert johnson_order([1.0, 3.0, 2.0], [2.0, 1.0, 3.0]) == [0, 2, 1]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=6))
def test_johnsons_rule_is_the_best_of_all_orders(jobs: list[tuple[float, float]]) -> None:
    load_s, compute_s = zip(*jobs, strict=True)
    best = min(flow_shop_makespan(load_s, compute_s, order) for order in permutations(range(len(jobs))))
    assert flow_shop_makespan(load_s, compute_s, johnson_order(load_s, compute_s)) == pytest.approx(best)


@given(SECONDS, st.lists(SECONDS, min_size=1, max_size=40))
def test_hottest_first_is_optimal_where_experts_are_of_equal_size(load_s: float, compute_s: list[float]) -> None:
    loads = [load_s] * len(compute_s)
    hottest = sorted(range(len(loads)), key=lambda e: -compute_s[e])
    best = flow_shop_makespan(loads, compute_s, johnson_order(loads, compute_s))
    assert flow_shop_makespan(loads, compute_s, hottest) == pytest.approx(best)


@settings(deadline=None, max_examples=30)
@given(st.lists(SECONDS, min_size=1, max_size=6), st.integers(1, 3))
def test_longest_first_is_within_four_thirds_of_the_best_assignment(work: list[float], machines: int) -> None:
    # Graham (1969): 4/3 - 1/(3 m)
    best = min(
        max(sum(w for w, m in zip(work, places, strict=True) if m == k) for k in range(machines))
        for places in product(range(machines), repeat=len(work))
    )
    assert best <= makespan(work, machines) * (1 + 1e-12)
    assert makespan(work, machines) <= (4 / 3 - 1 / (3 * machines)) * best * (1 + 1e-12)


def test_tiles_beat_whole_sequences_and_tie_with_eight_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiments.balanced_tiles() == pytest.approx(1.0, abs=0.01)
    monkeypatch.setattr(experiments, "_SPLITS", 1)
    assert experiments.balanced_tiles() > 1.5


def test_a_slow_host_cannot_pay() -> None:
    slow, known, fast = (host_attention("A10", "Llama-3.1-8B", 0.9, 1e9 * rate) for rate in (20, 150, 500))
    assert slow == 1.0 < known < fast
