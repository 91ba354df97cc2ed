from __future__ import annotations

import numpy as np
import pytest
import trees
from hierarchies import draw, solve, tiered
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_offloading import NaiveHierarchy
from servers import changed
from trees import COST

from problems.problem import Infeasible
from problems.serving import prefix_eviction
from problems.serving._eviction.views import Block, Cache
from problems.serving._offloading.data import Tier, make_instance
from problems.serving._offloading.engine import Offloaded
from problems.serving._offloading.verify import followed
from problems.serving._offloading.views import Copy, Link, Request, Session
from problems.serving.kv_offloading import PROBLEM

RULES = {rule.name: tuple(rule.hooks.values()) for rule in PROBLEM.rules}
NO_DATA = np.zeros(0)


def weighted_evict(block: Block, cache: Cache, copy: Copy, theta: np.ndarray) -> float:
    """Every field that the tiers change counts, and how much is a number."""
    value = theta[0] * block.idle + theta[1] * block.age + theta[2] * block.uses + theta[3] * block.sharers
    value += 0.01 * theta[4] * block.depth + 1e-5 * theta[5] * block.due + theta[6] * block.wanted
    value += theta[7] * cache.turnover * block.depth + theta[8] * cache.hit_rate * block.turns
    value += theta[9] * cache.needed * block.kind + theta[10] * cache.evictable * block.uses
    value += theta[11] * copy.tier * block.idle + theta[12] * copy.above + theta[13] * copy.below
    value += theta[14] * copy.reload * block.age + 0.001 * theta[15] * cache.capacity * block.idle
    return value + theta[16] * cache.waiting * block.idle + theta[17] * cache.gap * block.age


def weighted_load(request: Request, link: Link, theta: np.ndarray) -> float:
    value = theta[18] * (request.compute - request.load) + 0.01 * theta[19] * request.tokens + theta[20]
    value += theta[21] * request.waited + 0.01 * theta[22] * (request.prompt - 2.0 * request.cached)
    value += theta[23] * (link.tier - 1.5) + theta[24] * (link.busy - 0.5) + theta[25] * (request.kind - 1.0)
    return value + theta[26] * (request.turns - 2.0) + theta[27] * (link.gap - link.turnover)


def weighted_prefetch(session: Session, link: Link, theta: np.ndarray) -> float:
    value = theta[28] * (1.0 - session.place) + 0.1 * theta[29] * session.due + 0.1 * theta[30] * session.notice
    value += 0.01 * theta[31] * session.cached + 0.01 * theta[32] * session.missing + theta[33]
    value += theta[34] * (session.compute - session.fetch) + theta[35] * (session.kind - 1.0)
    value += theta[36] * (session.turns - 2.0) + theta[37] * (link.busy - 0.5) + theta[38] * (link.tier - 1.5)
    value += 0.1 * theta[39] * link.empty + theta[40] * (link.waiting - 1.0) + theta[41] * (link.computing - 0.5)
    return value + theta[42] * (link.block - 0.01)


WEIGHTED = (weighted_evict, weighted_load, weighted_prefetch)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), blocks=st.integers(1, 12))
def test_a_slow_hierarchy_of_dictionaries_agrees_to_the_last_digit(seed: int, count: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    data = draw(rng, count, blocks)
    theta = np.round(rng.normal(size=43), 1) * rng.integers(0, 2, 43)
    theta[[20, 33]] += rng.integers(0, 3)  # often loads and fetches
    found = solve(data, WEIGHTED, theta)
    naive = NaiveHierarchy(
        data,
        COST,
        lambda block, cache, copy: weighted_evict(block, cache, copy, theta),
        lambda request, link: weighted_load(request, link, theta),
        lambda session, link: weighted_prefetch(session, link, theta),
    ).run()
    for name in Offloaded._fields:
        assert getattr(found, name).tolist() == getattr(naive, name), name


def plain(rule: str) -> object:
    """The rule of serving/prefix_eviction of that name."""
    return {r.name: r for r in prefix_eviction.PROBLEM.rules}[rule].hooks["evict"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), blocks=st.integers(1, 12))
def test_without_lower_tiers_it_is_prefix_eviction_to_the_last_digit(seed: int, count: int, blocks: int) -> None:
    caching = trees.draw(np.random.default_rng(seed), count, blocks)
    for rule, known in (("hicache", "lru"), ("kvflow", "kvflow"), ("saga_prefetch", "saga")):
        found, expected = solve(tiered(caching, 0, 0), RULES[rule]), trees.solve(caching, plain(known))
        assert found.start_s.tolist() == found.ready_s.tolist() == expected.start_s.tolist()
        assert found.finish_s.tolist() == expected.finish_s.tolist()
        assert (found.evicted >> 34).tolist() == (expected.evicted >> 32).tolist()
        assert (found.evicted & 0xFFFFFFFF).tolist() == (expected.evicted & 0xFFFFFFFF).tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), blocks=st.integers(7, 12))
def test_with_a_free_link_and_an_infinite_host_each_block_is_computed_once(seed: int, count: int, blocks: int) -> None:
    caching = trees.draw(np.random.default_rng(seed), count, blocks)
    data = tiered(caching, len(caching.parent), block_s=0.0)
    deepest = np.diff(caching.path_start).max(initial=0)
    for rule in ("hicache", "kvflow", "lmcache", "saga_prefetch"):
        found = solve(data, RULES[rule])
        bounds, measured = PROBLEM.lower_bounds(data), PROBLEM.measure(data, found)
        assert found.ready_s.tolist() == found.start_s.tolist()
        if deepest <= blocks:  # what does not fit is not kept
            assert measured["uncached"] == pytest.approx(bounds["uncached"])
            assert measured["mean_ttft"] == pytest.approx(bounds["mean_ttft"])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), blocks=st.integers(1, 12))
def test_a_free_link_never_makes_lru_later(seed: int, count: int, blocks: int) -> None:
    # what is on the GPU and in the host does not depend on time there: both hold the most recent blocks
    caching = trees.draw(np.random.default_rng(seed), count, blocks)
    free, slow = (solve(tiered(caching, 20, block_s=s), RULES["hicache"]) for s in (0.0, 0.05))
    none = trees.solve(caching, plain("lru"))
    assert (free.finish_s <= slow.finish_s + 1e-9).all()
    assert (free.finish_s <= none.finish_s + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), blocks=st.integers(1, 12))
def test_blocks_are_conserved_in_every_tier(seed: int, count: int, blocks: int) -> None:
    data = draw(np.random.default_rng(seed), count, blocks)
    for rule in ("kvflow", "lmcache"):
        found = solve(data, RULES[rule])
        end = followed(data, found)
        assert (end.used == end.there.sum(axis=1)).all()
        assert (end.used <= [data.caching.limit[1], *data.below]).all()
        # each of them is continued by, or is, an end: a prefix is never there without its beginning
        for there in end.there:
            above = data.caching.parent[np.flatnonzero(there)]
            assert there[above[above >= 0]].all()
        hits, n = end.cached.sum(), len(data.caching.arrival_s)
        assert 0 <= hits <= len(data.caching.path)
        assert end.moved[1:].sum() + end.moved[0] <= len(data.caching.path) * 2
        assert len(found.start_s) == n


def by_hand(block_s: float = 0.004) -> trees.Caching:
    """Two prompts 0-1 and 2-3 in turn at a GPU of two blocks and a host of four: each displaces the other."""
    paths = [[0, 1], [2, 3], [0, 1], [2, 3]]
    hints = {"hint_start": [0, 1, 2, 2, 2], "hint_node": [1, 3], "hint_s": [1.9, 1.9], "session": [0, 1, 0, 1]}
    caching = trees.instance([0.0, 1.0, 2.0, 3.0], paths, [-1, 0, -1, 2], blocks=2, **hints)
    return tiered(caching, 4, block_s=block_s, piece_blocks=1)


def test_loading_on_two_prompts_by_hand() -> None:
    # a token takes 3 ms, a step 10 ms more; loading two blocks 0.4 + 2 * 2 + 2 * 4 = 12.4 ms
    data = by_hand()
    full_s, hit_s = 0.01 + 0.063 + 1e-5 * 21 * 10.5, 0.01 + 0.003 + 1e-5 * 20.5
    found = solve(data, RULES["hicache"])
    assert found.evicted.tolist() == [1 << 34 | 1, 1 << 34, 2 << 34 | 3, 2 << 34 | 2, 3 << 34 | 1, 3 << 34]
    assert found.loaded.tolist() == [2 << 2 | 1, 3 << 2 | 1]
    waits = np.array([0.0, 0.0, 0.0124, 0.0124])
    assert (found.ready_s - found.start_s).tolist() == pytest.approx(waits)
    assert (found.finish_s - found.ready_s).tolist() == pytest.approx([full_s, full_s, hit_s, hit_s])
    # never loaded, all is computed again
    assert (solve(data, RULES["recompute"]).finish_s - np.arange(4)).tolist() == pytest.approx([full_s] * 4)


def next_in_a_second(session: Session, link: Link) -> float:
    return 1.0 if session.due < 1.0 else 0.0


def test_fetching_ahead_on_two_prompts_by_hand() -> None:
    # 0-1 is announced for 1.9 s after its end, 2-3 likewise: when 2-3 ends, 0-1 is due in 0.9 s, and fetched
    data = by_hand()
    rules = (RULES["hicache"][0], RULES["hicache"][1], next_in_a_second)
    found = solve(data, rules)
    full_s, hit_s = 0.01 + 0.063 + 1e-5 * 21 * 10.5, 0.01 + 0.003 + 1e-5 * 20.5
    piece_s = 0.0004 + 0.002 + 0.004
    ends = [1.0 + full_s, 2.0 + hit_s]
    pieces = [ends[0], ends[0] + piece_s, ends[1], ends[1] + piece_s]
    assert (found.fetched >> 34).tolist() == [2, 2, 3, 3]
    assert (found.fetched & (1 << 34) - 1).tolist() == [1 << 32 | node for node in (0, 1, 2, 3)]
    assert found.fetched_s.tolist() == pytest.approx(pieces)
    assert found.loaded.size == 0
    assert (found.finish_s - [0.0, 1.0, 2.0, 3.0]).tolist() == pytest.approx([full_s, full_s, hit_s, hit_s])


def test_a_prompt_waits_for_the_piece_on_its_way() -> None:
    # pieces take 1.6 s: the first one is on its way when its prompt's turn comes, and the rest is loaded behind it
    data = by_hand(block_s=1.0)
    found = solve(data, (RULES["hicache"][0], RULES["hicache"][1], next_in_a_second))
    begins = found.fetched_s[0]
    assert found.ready_s[2] == pytest.approx(begins + 1.6 + 1.6)
    alone = solve(data, (RULES["hicache"][0], RULES["recompute"][1], next_in_a_second))
    assert alone.ready_s[2] == pytest.approx(begins + 1.6)


def test_what_is_evicted_unused_is_not_fetched_ahead_again() -> None:
    def eager(session: Session, link: Link) -> float:
        return 1.0

    data = by_hand()
    found = solve(data, (RULES["hicache"][0], RULES["hicache"][1], eager))
    # each of the four blocks once before it is used again
    assert len(found.fetched) <= 4 + 4


def test_a_rule_that_gives_no_number_is_refused() -> None:
    for k, name in enumerate(("evict", "load", "prefetch")):
        rules = list(RULES["kvflow"])
        rules[k] = NAN[k]
        with pytest.raises(ArithmeticError, match=f"{name} returned NaN"):
            solve(by_hand(), rules)


def nan_evict(block: Block, cache: Cache, copy: Copy) -> float:
    return block.idle * np.nan


def nan_load(request: Request, link: Link) -> float:
    return request.load * np.nan


def nan_prefetch(session: Session, link: Link) -> float:
    return session.due * np.nan


NAN = (nan_evict, nan_load, nan_prefetch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evicted": []}, "end before there is room"),
        ({"evicted_0": 1 << 34}, "continued by another"),
        ({"evicted_0": 1 << 34 | 2}, "not in that tier"),
        ({"evicted_0": 1 << 34 | 1 << 32 | 1}, "end before there is room"),
        ({"evicted_0": 2 << 34 | 1}, "end before there is room"),
        ({"fetched_0": 2 << 34 | 1 << 32 | 3}, "not a piece"),
        ({"fetched_0": 2 << 34 | 2 << 32}, "end before there is room"),
        ({"fetched_0": 2 << 34 | 1 << 32 | 99}, "not a piece"),
        ({"evicted_3": 5 << 34}, "held by the request that runs, or on its way"),
        ({"loaded": [1 << 2 | 1]}, "nothing of the prompt beyond"),
        ({"loaded": [2 << 2 | 3]}, "nothing of the prompt beyond"),
        ({"loaded": [9 << 2 | 1]}, "nothing of the prompt beyond"),
    ],
)
def test_each_rule_of_decisions_is_checked(changes: dict, message: str) -> None:
    data = by_hand()
    found = solve(data, (RULES["hicache"][0], RULES["hicache"][1], next_in_a_second))
    for key, value in changes.items():
        name, _, place = key.rpartition("_")
        if isinstance(value, list):
            name, array = key, np.array(value, dtype=getattr(found, key).dtype)
        else:
            array = getattr(found, name).copy()
            array[int(place)] = value
        found = found._replace(**{name: array})
    with pytest.raises(Infeasible, match=message):
        PROBLEM.verify(data, found)


def test_unwanted_repeated_and_untimely_fetches_are_refused() -> None:
    data = by_hand()
    found, one = solve(data, RULES["hicache"]), 2 << 34 | 1 << 32
    first_s = found.finish_s[1]
    second_s = first_s + (0.0004 + 0.002 + 0.004)
    # 0 comes for 3, then 3 for 0, and 0 may not come again
    log = found._replace(
        fetched=np.array([one, one | 3, one]),
        fetched_s=np.array([first_s, second_s, second_s + (0.0004 + 0.002 + 0.004)]),
        evicted=np.array([1 << 34 | 1, 1 << 34, 4 << 34 | 3, 5 << 34]),
        loaded=found.loaded[:0],
    )
    with pytest.raises(Infeasible, match="was fetched before"):
        PROBLEM.verify(data, log)
    with pytest.raises(Infeasible, match="wanted by no request"):
        PROBLEM.verify(data._replace(caching=data.caching._replace(hint_s=changed(data.caching.hint_s, at_0=1e6))), log)
    late = found._replace(fetched=np.array([one]), fetched_s=np.array([2.5]))
    with pytest.raises(Infeasible, match="asked only at"):
        PROBLEM.verify(data, late)


def test_times_that_the_log_does_not_lead_to_are_refused() -> None:
    data = by_hand()
    found = solve(data, RULES["hicache"])
    for name in ("start_s", "ready_s", "finish_s"):
        wrong = getattr(found, name).copy()
        wrong[1] = np.nextafter(wrong[1], 9.0)
        with pytest.raises(Infeasible, match=f"{name} of request 1"):
            PROBLEM.verify(data, found._replace(**{name: wrong}))


@pytest.mark.parametrize(
    ("tiers", "given", "message"),
    [
        ([Tier(1)], {}, "there must be 2 tiers"),
        ([Tier(1), Tier(-1)], {}, "blocks must be between 0 and .* got -1 in tier remote"),
        ([Tier(1, -0.5), Tier(0)], {}, "block_s must be finite and not negative, got -0.5 in tier host"),
        ([Tier(1), Tier(0, 0.0, float("nan"))], {}, "group_s must be finite"),
        ([Tier(1), Tier(0)], {"piece_blocks": 0}, "piece_blocks must be between 1"),
        ([Tier(1), Tier(0)], {"group_blocks": 0}, "group_blocks must be between 1"),
    ],
)
def test_impossible_tiers_are_refused(tiers: list[Tier], given: dict, message: str) -> None:
    caching = by_hand().caching
    with pytest.raises(ValueError, match=message):
        make_instance(caching, tiers, **given)


def test_simulations_of_the_probes_do_all_there_is_to_do() -> None:
    probes = [probe.data for probe in PROBLEM.probes()]
    found = [solve(data, RULES["kvflow"]) for data in probes]
    assert all(log.loaded.size and log.fetched.size and {0, 1} <= set(log.evicted >> 32 & 3) for log in found)
    assert {2} <= set(np.concatenate([log.fetched >> 32 & 3 for log in found]))
