from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_prefix import NaivePrefixCache, Seen

from problems._jit import kernel
from problems.serving._prefix import store as prefix
from problems.serving._prefix.store import NOBODY, Store, open_store


# Steps that are inlined into simulators have no entry of their own for Python.
@kernel
def match(store: Store, i: int, path: np.ndarray) -> int:
    return prefix.match(store, i, path)


@kernel
def length(store: Store, tail: int) -> int:
    return prefix.length(store, tail)


@kernel
def find(store: Store, i: int, node: int) -> int:
    return prefix.find(store, i, node)


@kernel
def lowest(store: Store, i: int) -> int:
    return prefix.lowest(store, i)


@kernel
def room(store: Store, i: int) -> int:
    return prefix.room(store, i)


@kernel
def rescore(store: Store, i: int, scores: np.ndarray) -> None:
    """Scores by node for all that may go."""
    for k in range(store.cache[i].leaves):
        slot = store.heap[store.cache[i].first + k]
        store.block[slot].score = scores[store.block[slot].node]
    prefix.heapify(store, i)


def as_path(nodes: list[int]) -> np.ndarray:
    return np.array(nodes, dtype=np.int64)


def seen(store: Store, i: int) -> list[Seen]:
    cache = store.cache[i]
    stretch = range(cache.first, cache.first + cache.blocks)
    entries = {int(s) for s in store.table if s != NOBODY}
    found = []
    for slot in sorted(entries & set(stretch), key=lambda s: store.block[s].node):
        b = store.block[slot]
        parent = NOBODY if b.parent == NOBODY else store.block[b.parent].node
        found.append(Seen(b.node, parent, b.depth, b.score, b.made_s, b.used_s, b.uses, b.refs))
    return found


def check(store: Store, i: int) -> None:
    """Nothing is lost, nothing is there twice, and the heap is one."""
    cache, blocks = store.cache[i], seen(store, i)
    assert len({b.node for b in blocks}) == len(blocks) == cache.used <= cache.blocks
    assert cache.idle == sum(b.refs == 0 for b in blocks)
    empty, slot = 0, int(cache.empty)
    while slot != NOBODY:
        empty, slot = empty + 1, int(store.block[slot].parent)
    assert empty + cache.used == cache.blocks
    parents = {b.parent for b in blocks}
    heap = store.heap[cache.first : cache.first + cache.leaves]
    keys = [(store.block[s].score, store.block[s].node) for s in heap]
    assert {node for _, node in keys} == {b.node for b in blocks if b.refs == 0 and b.node not in parents}
    assert all(keys[(k - 1) // 2] <= keys[k] for k in range(1, len(keys)))
    assert [store.block[s].place for s in heap] == list(range(len(heap)))
    for b in blocks:
        assert b.parent == NOBODY or store.block[find(store, i, b.parent)].refs >= b.refs
        assert store.block[find(store, i, b.node)].children == sum(c.parent == b.node for c in blocks)


@st.composite
def histories(draw):
    """Capacities, a tree of nodes, and what happens: (what, server, node or number, amount)."""
    capacities = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    parents = [draw(st.integers(-1, node - 1)) for node in range(draw(st.integers(1, 24)))]
    names = draw(st.permutations(range(1000, 1000 + 7919 * len(parents), 7919)))
    event = st.tuples(
        st.sampled_from(["serve", "start", "start", "end", "pin", "unpin", "expire", "rescore"]),
        st.integers(0, len(capacities) - 1),
        st.integers(0, len(parents) - 1),
        st.integers(0, 3),
    )
    return capacities, parents, names, draw(st.lists(event, min_size=1, max_size=40))


def path_to(parents: list[int], names: list[int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(names[node])
        node = parents[node]
    return path[::-1]


class Twins:
    """Both stores, told the same."""

    def __init__(self, capacities: list[int]) -> None:
        self.store = open_store(capacities)
        self.naive = [NaivePrefixCache(c) for c in capacities]
        self.held: list[list[list[int]]] = [[] for _ in capacities]
        self.pinned: list[list[list[int]]] = [[] for _ in capacities]

    def start(self, i: int, path: list[int], now_s: float, lifetime_s: float) -> None:
        store, naive = self.store, self.naive[i]
        tail, hits = match(store, i, as_path(path)), naive.match(path)
        assert length(store, tail) == hits
        prefix.hold(store, i, tail, now_s)
        naive.hold(path[:hits], now_s)
        assert room(store, i) == naive.capacity - sum(b.refs > 0 for b in naive.blocks.values())
        tail = prefix.extend(store, i, tail, as_path(path), now_s)
        now_held = path[: naive.extend(hits, path, now_s)]
        assert length(store, tail) == len(now_held)
        for node in now_held[hits:]:
            naive.blocks[node].expires_s = now_s + lifetime_s
            store.block[find(store, i, node)].expires_s = now_s + lifetime_s
        self.held[i].append(now_held)

    def end(self, i: int, now_s: float) -> None:
        path = self.held[i].pop(0)
        prefix.release(self.store, i, match(self.store, i, as_path(path)), now_s)
        self.naive[i].release(path, now_s)

    def pin(self, i: int, path: list[int]) -> None:
        path = path[: self.naive[i].match(path)]
        prefix.pin(self.store, i, match(self.store, i, as_path(path)))
        self.naive[i].pin(path, 1)
        self.pinned[i].append(path)

    def unpin(self, i: int) -> None:
        path = self.pinned[i].pop()
        prefix.unpin(self.store, i, match(self.store, i, as_path(path)))
        self.naive[i].pin(path, -1)

    def rescore(self, i: int, seed: int) -> None:
        scores = np.random.default_rng(seed).integers(0, 4, 300_000).astype(np.float64)
        rescore(self.store, i, scores)
        for block in self.naive[i].leaves():
            block.score = scores[block.node]


@given(histories())
@settings(max_examples=150, deadline=None)
def test_the_store_does_what_a_dictionary_does(history) -> None:
    capacities, parents, names, events = history
    twins = Twins(capacities)
    for now, (what, i, node, amount) in enumerate(events):
        path, now_s = path_to(parents, names, node), float(now)
        if what in ("serve", "start"):
            twins.start(i, path, now_s, 5.0 * amount if amount else np.inf)
        if what == "serve" or (what == "end" and twins.held[i]):
            twins.end(i, now_s)
        elif what == "pin":
            twins.pin(i, path)
        elif what == "unpin" and twins.pinned[i]:
            twins.unpin(i)
        elif what == "expire":
            dropped = len(twins.naive[i].evicted)
            twins.naive[i].expire(now_s)
            assert prefix.expire(twins.store, i, now_s) == len(twins.naive[i].evicted) - dropped
        elif what == "rescore":
            twins.rescore(i, amount)
        for k, naive in enumerate(twins.naive):
            check(twins.store, k)
            assert seen(twins.store, k) == naive.seen()
            assert twins.store.cache[k].evicted == len(naive.evicted)


def test_the_least_recently_used_goes_first_from_its_tail() -> None:
    store = open_store([4])
    for now_s, nodes in enumerate(([1, 2], [3, 4], [1, 2])):
        tail = prefix.extend(store, 0, NOBODY if now_s < 2 else match(store, 0, as_path(nodes)), as_path(nodes), 0.0)
        if now_s == 2:
            prefix.hold(store, 0, tail, float(now_s))
        prefix.release(store, 0, tail, float(now_s))
    tail = prefix.extend(store, 0, NOBODY, as_path([5]), 3.0)
    # 3-4 is the oldest branch, and 4 its end
    assert [b.node for b in seen(store, 0)] == [1, 2, 3, 5]
    prefix.release(store, 0, tail, 3.0)
    prefix.extend(store, 0, NOBODY, as_path([6, 7]), 4.0)
    assert [b.node for b in seen(store, 0)] == [1, 5, 6, 7]


def test_a_path_that_does_not_fit_keeps_its_beginning() -> None:
    store = open_store([3])
    tail = prefix.extend(store, 0, NOBODY, as_path([10, 11, 12, 13, 14]), 0.0)
    assert length(store, tail) == 3
    assert [b.node for b in seen(store, 0)] == [10, 11, 12]
    # all is held: another request gets nothing
    assert prefix.extend(store, 0, NOBODY, as_path([20]), 1.0) == NOBODY


def test_servers_do_not_share_blocks() -> None:
    store = open_store([2, 5])
    prefix.extend(store, 0, NOBODY, as_path([1, 2]), 0.0)
    assert length(store, match(store, 0, as_path([1, 2]))) == 2
    assert match(store, 1, as_path([1, 2])) == NOBODY


@pytest.mark.parametrize(("capacities", "message"), [([], "at least one server"), ([3, 0], "got 0 blocks at server 1")])
def test_impossible_stores_are_refused(capacities, message) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(capacities)
