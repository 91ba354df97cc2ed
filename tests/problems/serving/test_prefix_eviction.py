from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_eviction import NaiveServer
from simulate import simulate
from trees import COST, draw, instance, solve

from problems.problem import Infeasible
from problems.serving._eviction.bound import farthest_next_use
from problems.serving._eviction.data import Caching
from problems.serving._eviction.replay import replay
from problems.serving._eviction.trace import explain, narrate
from problems.serving._eviction.views import Block, Cache
from problems.serving.prefix_eviction import PROBLEM

RULES = {rule.name: rule.hooks["evict"] for rule in PROBLEM.rules}


def weighted(block: Block, cache: Cache, theta: np.ndarray) -> float:
    """Every field counts, and how much is a number."""
    value = theta[0] * block.idle + theta[1] * block.age + theta[2] * block.uses + theta[3] * block.sharers
    value += 0.01 * theta[4] * block.depth + theta[5] * block.recompute + 0.01 * theta[6] * block.beyond
    value += theta[7] * block.kind + theta[8] * block.turns + 1e-5 * theta[9] * block.pause
    value += 1e-5 * theta[10] * block.due + theta[11] * block.wanted
    value += theta[12] * cache.needed * block.kind + theta[13] * cache.evictable * block.uses
    value += theta[14] * cache.waiting * block.idle + theta[15] * cache.gap * block.age
    value += theta[18] * block.seen + theta[19] * block.returns * block.age + theta[20] * block.usual
    return value + theta[16] * cache.hit_rate * block.turns + theta[17] * cache.turnover * block.depth


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), blocks=st.integers(1, 12))
def test_a_slow_server_of_dictionaries_agrees_to_the_last_digit(seed: int, count: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    data = draw(rng, count, blocks)
    theta = np.round(rng.normal(size=21), 1) * rng.integers(0, 2, 21)
    found = solve(data, weighted, theta)
    naive = NaiveServer(data, COST, lambda block, cache: weighted(block, cache, theta)).run()
    assert found.evicted.tolist() == naive.log
    assert found.start_s.tolist() == naive.start_s
    assert found.finish_s.tolist() == naive.finish_s


def test_lru_on_four_prompts_by_hand() -> None:
    # Two blocks of cache, five prompts of one block each: 0 1 0 2 1; a token takes 3 ms, a step 10 ms more.
    parent = [-1, -1, -1]
    data = instance([0.0, 1.0, 2.0, 3.0, 4.0], [[0], [1], [0], [2], [1]], parent, blocks=2)
    found = solve(data, RULES["lru"])
    # 0 was used at 2, so 1 goes for 2, and then comes back too late; 0 goes for it.
    assert found.evicted.tolist() == [3 << 32 | 1, 4 << 32 | 0]
    assert replay(data, found.evicted).hits.tolist() == [0, 0, 1, 0, 0]
    pairs = 1e-5 * 11 * 5.5
    full_s, hit_s = 0.01 + 0.033 + pairs, 0.01 + 0.003 + 1e-5 * (10 + 0.5)
    assert (found.finish_s - found.start_s).tolist() == pytest.approx([full_s, full_s, hit_s, full_s, full_s])
    assert PROBLEM.measure(data, found)["uncached"] == pytest.approx(100 * (1 - 10 / 55))
    # knowing what comes, 0 goes for 2
    assert replay(data, farthest_next_use(data).evicted).hits.tolist() == [0, 0, 1, 0, 1]


def test_only_ends_of_prefixes_go() -> None:
    data = instance([0.0, 1.0, 2.0], [[0, 1, 2], [0, 3], [4]], [-1, 0, 1, 0, -1], blocks=4)
    # most used first: 0 has two uses and yet stays, as 1 and 3 continue it
    found = solve(data, most_used)
    assert [int(e) & 0xFFFFFFFF for e in found.evicted] == [2]


def most_used(block: Block, cache: Cache) -> float:
    return block.uses


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_a_larger_cache_never_has_fewer_hits_with_lru(seed: int, count: int) -> None:
    hits = np.zeros(count, np.int64)
    for blocks in range(1, 14):
        data = draw(np.random.default_rng(seed), count, blocks)
        more = replay(data, solve(data, RULES["lru"]).evicted).hits
        if np.diff(data.path_start).max() <= blocks:  # what does not fit is cut
            assert (more >= hits).all()
            hits = more


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 80), blocks=st.integers(1, 8))
def test_no_rule_beats_farthest_next_use_where_blocks_stand_alone(seed: int, count: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = 12
    data = instance(
        np.cumsum(rng.exponential(1.0, count)),
        [[int(k)] for k in rng.integers(0, nodes, count)],
        [-1] * nodes,
        blocks=blocks,
    )
    best = farthest_next_use(data)
    PROBLEM.verify(data, best)
    most = replay(data, best.evicted).hits.sum()
    for rule in RULES.values():
        assert replay(data, solve(data, rule).evicted).hits.sum() <= most


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), blocks=st.integers(1, 12))
def test_blocks_are_conserved(seed: int, count: int, blocks: int) -> None:
    data = draw(np.random.default_rng(seed), count, blocks)
    for rule in ("lru", "lfu", "kvflow"):
        found = solve(data, RULES[rule])
        hits = replay(data, found.evicted).hits
        added = np.minimum(np.diff(data.path_start) - hits, blocks - hits).sum()
        assert 0 <= added - found.evicted.size <= blocks


def test_a_cache_that_holds_all_reaches_the_bounds_whatever_the_rule() -> None:
    data = draw(np.random.default_rng(3), 40, 30)
    for rule in RULES.values():
        found = solve(data, rule)
        assert found.evicted.size == 0
        bounds = PROBLEM.lower_bounds(data)
        assert PROBLEM.measure(data, found) == {name: pytest.approx(bounds[name]) for name in bounds}


def constant(block: Block, cache: Cache) -> float:
    return 0.0


def test_a_constant_rule_evicts_what_came_up_first() -> None:
    data = instance([0.0, 1.0, 2.0, 3.0], [[0], [1], [2], [3]], [-1] * 4, blocks=2)
    assert [int(e) & 0xFFFFFFFF for e in solve(data, constant).evicted] == [0, 1]


def small() -> tuple[Caching, np.ndarray]:
    """Two prompts 0-1 and 0-2-3 in three blocks: for the second one, 1 must go."""
    data = instance([0.0, 1.0, 2.0], [[0, 1], [0, 2, 3], [4]], [-1, 0, 0, 2, -1], blocks=3)
    return data, solve(data, constant).evicted


@pytest.mark.parametrize(
    ("evicted", "message"),
    [
        ([], "end before there is room, at entry 0 of 0"),
        ([1 << 32 | 1], "end before there is room, at entry 1 of 1"),
        ([1 << 32 | 0, 2 << 32 | 3], "held by the request"),
        ([1 << 32 | 2, 2 << 32 | 3], "not in the cache"),
        ([1 << 32 | 99, 2 << 32 | 3], "not in the cache"),
        ([1 << 32 | 1, 1 << 32 | 0, 2 << 32 | 3], "more is evicted than the request needs"),
        ([1 << 32 | 1, 2 << 32 | 2], "continued by another"),
        ([1 << 32 | 1, 2 << 32 | 0], "continued by another"),
        ([1 << 32 | 1, 2 << 32 | 3, 7 << 32 | 0], "more is evicted"),
        ([-1, 2 << 32 | 3], "more is evicted"),
    ],
)
def test_each_rule_of_evictions_is_checked(evicted: list[int], message: str) -> None:
    data, good = small()
    assert good.tolist() == [1 << 32 | 1, 2 << 32 | 3]
    found = solve(data, constant)
    with pytest.raises(Infeasible, match=message):
        PROBLEM.verify(data, found._replace(evicted=np.array(evicted, dtype=np.int64)))


def test_times_that_hits_do_not_lead_to_are_refused() -> None:
    data, _ = small()
    found = solve(data, constant)
    for name in ("start_s", "finish_s"):
        wrong = getattr(found, name).copy()
        wrong[1] = np.nextafter(wrong[1], 9.0)
        with pytest.raises(Infeasible, match=f"{name} of request 1"):
            PROBLEM.verify(data, found._replace(**{name: wrong}))


def test_evicting_for_an_earlier_hit_count_does_not_fool_the_measure() -> None:
    data, _ = small()
    found = solve(data, constant)
    # block 0 is shared: one hit of ten tokens among 21 + 31 + 11
    assert PROBLEM.measure(data, found)["uncached"] == pytest.approx(100 * (1 - 10 / 63))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrival_s": [1.0, 0.0]}, "arrival_s must be ascending, got 0.0 at request 1"),
        ({"arrival_s": [0.0, np.nan]}, "arrival_s must be finite"),
        ({"session": [0, 2]}, "session must be between 0 and 1, got 2 at request 1"),
        ({"kind": [0, 3]}, "kind must be between 0 and 2, got 3 at request 1"),
        ({"prompt_tokens": [21, 10]}, "prompt_tokens must exceed the 10 tokens of its path"),
        ({"prompt_tokens": [21.5, 10]}, "prompt_tokens must be whole numbers below"),
        ({"path": [0, 1, 1]}, "path must go from a root to its child"),
        ({"path": [0, 1, 9]}, "path must be between 0 and 1, got 9"),
        ({"parent": [-1, 1]}, "parent must be smaller than the node"),
        ({"path_start": [0, 3, 2]}, "path_start must rise from 0 to 3"),
        ({"hint_start": [0, 0, 1], "hint_node": [0], "hint_s": [-1.0]}, "hint_s must be between 0 and 1e"),
    ],
)
def test_impossible_instances_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instance(**({"arrival_s": [0.0, 1.0], "paths": [[0, 1], [0]], "parent": [-1, 0], "blocks": 3} | change))


def test_waiting_requests_protect_what_they_want() -> None:
    # while 2 is computed for 3 s, a prompt with 0 has come: look_ahead keeps it, LRU does not
    slow = COST._replace(step_s=3.0)
    data = instance([0.0, 4.0, 8.0, 8.1, 8.2], [[0], [1], [2], [3], [0]], [-1] * 4, blocks=2, cost=slow)
    assert replay(data, solve(data, RULES["lru"]).evicted).hits.tolist() == [0, 0, 0, 0, 0]
    assert replay(data, solve(data, RULES["look_ahead"]).evicted).hits.tolist() == [0, 0, 0, 0, 0]
    later = instance([0.0, 4.0, 8.0, 8.1, 8.2], [[1], [0], [2], [3], [0]], [-1] * 4, blocks=2, cost=slow)
    assert replay(later, solve(later, RULES["lru"]).evicted).hits.tolist() == [0, 0, 0, 0, 0]
    assert replay(later, solve(later, RULES["look_ahead"]).evicted).hits.tolist() == [0, 0, 0, 0, 1]


def test_simulations_of_the_probes_evict() -> None:
    for probe in PROBLEM.probes():
        found = simulate(PROBLEM, (RULES["lru"],), probe.data)
        assert found.evicted.size >= 10
        assert replay(probe.data, found.evicted).hits.sum() > 0


def test_the_explanation_tells_which_evictions_were_regretted() -> None:
    data, _ = small()
    again = instance([0.0, 1.0, 2.0, 5.0], [[0, 1], [0, 2, 3], [4], [0, 1]], [-1, 0, 0, 2, -1], blocks=3)
    text = explain(again, solve(again, constant))
    # 1 goes for the second request and comes again with the fourth; 3 and then 2 go for good
    assert "3 evictions, 1 of blocks that came again, half of them within 4 s" in text
    assert "by kind: person 12 %" in text  # 10 of 21 + 31 + 11 + 21 tokens
    assert "2 evictions, 0 of blocks that came again." in explain(data, solve(data, constant))
    assert narrate(data, solve(data, constant))[1] == "1.0 s: request 1 (person), 1 of 3 blocks cached, evicts 1"
