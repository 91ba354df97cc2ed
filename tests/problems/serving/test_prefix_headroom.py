"""What can be gained by evicting well, on the Mooncake slices: shared/research/llm-systems.md, section 2.

The table there is of the whole conversation trace, and of a cache of single blocks that may let a block of the
request at hand go at once. Ours, with 7,500 of 12,031 requests, keeps it as long as the request runs, and evicts
ends of prefixes only. Both are computed here.
"""

from __future__ import annotations

import csv
import gzip
import heapq
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from trees import solve

from problems.serving._eviction.bound import farthest_next_use, next_uses
from problems.serving._eviction.data import BLOCKS, Caching
from problems.serving._eviction.reader import read
from problems.serving._eviction.replay import replay
from problems.serving.prefix_eviction import PROBLEM

DATA = Path(__file__).parents[4] / "shared/data/llm"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/llm with the Mooncake slices is not here")

# Share of blocks hit, of the whole conversation trace: capacity -> FIFO, LRU, LFU, offline.
PUBLISHED = {
    500: (0.040, 0.042, 0.064, 0.137),
    2000: (0.053, 0.054, 0.102, 0.255),
    5000: (0.106, 0.112, 0.142, 0.341),
    10000: (0.181, 0.212, 0.188, 0.366),
    20000: (0.257, 0.288, 0.249, 0.366),
}
INFINITE = {"conversation": 0.366, "synthetic": 0.640}  # of the whole traces


@cache
def trace(name: str, folder: Path) -> Caching:
    """The slice as an instance; one token behind the hashed blocks, so that all of them can be cached."""
    with gzip.open(DATA / f"mooncake_{name}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    lines = ["arrival_s,prompt_tokens,blocks"]
    for row in rows:
        blocks = row["block_ids"].split()
        lines.append(f"{float(row['arrival_ms']) / 1e3},{512 * len(blocks) + 1},{' '.join(blocks)}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines))
    return read(path)[0].data


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Caching:
    return trace("conversation", tmp_path_factory.mktemp("conversation"))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Caching:
    return trace("synthetic", tmp_path_factory.mktemp("synthetic"))


def with_blocks(data: Caching, blocks: int) -> Caching:
    limit = data.limit.copy()
    limit[BLOCKS] = blocks
    limit.setflags(write=False)
    return data._replace(limit=limit)


def shares(data: Caching) -> list[float]:
    """Blocks hit in our model: FIFO, LRU, LFU, offline."""
    logs = [solve(data, PROBLEM.baseline(rule).hooks["evict"]).evicted for rule in ("fifo", "lru", "lfu")]
    logs.append(farthest_next_use(data).evicted)
    return [float(replay(data, log).hits.sum() / len(data.path)) for log in logs]


def single_blocks(data: Caching, capacity: int, rule: str) -> float:
    """Blocks hit if each is kept or not on its own, and may go as soon as its request is done."""
    after, hits = next_uses(data), 0
    there: dict[int, tuple[int, ...]] = {}
    uses: dict[int, int] = {}
    heap: list[tuple[tuple[int, ...], int]] = []
    for r in range(len(data.arrival_s)):
        first, path = data.path_start[r], data.path[data.path_start[r] : data.path_start[r + 1]].tolist()
        while path and path[0] in there:
            hits += 1
            path.pop(0)
        whole = data.path[first : data.path_start[r + 1]].tolist()
        for depth, node in enumerate(whole):
            uses[node] = uses.get(node, 0) + 1
            keys = {
                "fifo": there.get(node, (r, -depth)),
                "lru": (r, -depth),
                "lfu": (uses[node], r, -depth),
                "offline": (-int(after[first + depth]), -depth),
            }
            there[node] = keys[rule]
            heapq.heappush(heap, (keys[rule], node))
        while len(there) > capacity:
            key, node = heapq.heappop(heap)
            if there.get(node) == key:
                del there[node]
    return hits / len(data.path)


@pytest.mark.parametrize("capacity", [500, 5000, 20000])
@pytest.mark.parametrize("column", range(4))
def test_single_blocks_give_the_published_table(conversation: Caching, capacity: int, column: int) -> None:
    rule = ("fifo", "lru", "lfu", "offline")[column]
    # what is beyond the slice's own infinite cache is the whole trace's
    assert single_blocks(conversation, capacity, rule) == pytest.approx(PUBLISHED[capacity][column], rel=0.05)


@pytest.mark.parametrize("capacity", PUBLISHED)
def test_ends_of_prefixes_leave_the_same_headroom(conversation: Caching, capacity: int) -> None:
    fifo, lru, lfu, offline = shares(with_blocks(conversation, capacity))
    published = PUBLISHED[capacity]
    assert lru == pytest.approx(published[1], rel=0.03)
    # a prefix is as old as its end: FIFO is close to LRU
    assert fifo == pytest.approx(lru, rel=0.03)
    assert fifo == pytest.approx(published[0], rel=0.15)
    # a request's blocks cannot go while it runs: with few blocks that costs the rules that would do without them
    assert published[2] * 0.6 < lfu < published[2] * 1.1
    assert published[3] * 0.8 < offline < published[3]
    assert offline > 1.2 * max(fifo, lru, lfu)


def test_the_infinite_cache_hits_about_as_much_as_in_the_whole_trace(conversation: Caching) -> None:
    bounds = PROBLEM.lower_bounds(conversation)
    assert 1 - bounds["uncached_blocks"] / 100 == pytest.approx(0.3496, abs=1e-4)
    assert 1 - bounds["uncached_blocks"] / 100 == pytest.approx(INFINITE["conversation"], rel=0.05)


def test_the_synthetic_slice_has_the_same_order_but_half_the_hits(synthetic: Caching) -> None:
    # 2,000 of about 4,000 requests: its reuse lies far apart, and most of it behind the slice's end
    bounds = PROBLEM.lower_bounds(synthetic)
    assert 1 - bounds["uncached_blocks"] / 100 == pytest.approx(INFINITE["synthetic"] / 2, rel=0.05)
    for capacity in (500, 5000, 20000):
        _, lru, _, offline = shares(with_blocks(synthetic, capacity))
        assert lru < offline


def test_lru_with_an_infinite_cache_hits_what_infinity_does(conversation: Caching) -> None:
    data = with_blocks(conversation, len(conversation.parent))
    assert np.allclose(shares(data), 0.34965, atol=1e-4)
