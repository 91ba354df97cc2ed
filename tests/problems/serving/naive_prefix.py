"""The prefix store again, slowly: a dictionary per server, and a search of it for each eviction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class NaiveBlock:
    node: int
    parent: int | None
    depth: int
    score: float
    made_s: float
    used_s: float
    expires_s: float = math.inf
    uses: int = 1
    refs: int = 1


class Seen(NamedTuple):
    """What both stores tell of a block."""

    node: int
    parent: int
    depth: int
    score: float
    made_s: float
    used_s: float
    uses: int
    refs: int


class NaivePrefixCache:
    """One server's blocks. A prefix is given by the list of its nodes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.blocks: dict[int, NaiveBlock] = {}
        self.evicted: list[int] = []

    def match(self, path: list[int]) -> int:
        hits = 0
        while hits < len(path) and path[hits] in self.blocks:
            hits += 1
        return hits

    def leaves(self) -> list[NaiveBlock]:
        parents = {b.parent for b in self.blocks.values()}
        return [b for b in self.blocks.values() if b.refs == 0 and b.node not in parents]

    def lowest(self) -> NaiveBlock:
        return min(self.leaves(), key=lambda b: (b.score, b.node))

    def drop(self, node: int) -> None:
        del self.blocks[node]
        self.evicted.append(node)

    def hold(self, prefix: list[int], now_s: float) -> None:
        for node in prefix:
            block = self.blocks[node]
            block.refs += 1
            block.uses += 1
            block.used_s = block.score = now_s

    def extend(self, have: int, path: list[int], now_s: float) -> int:
        """Length of the prefix that is now held."""
        for k in range(have, len(path)):
            if len(self.blocks) == self.capacity:
                if not self.leaves():
                    return k
                self.drop(self.lowest().node)
            parent = path[k - 1] if k else None
            self.blocks[path[k]] = NaiveBlock(path[k], parent, k + 1, now_s, now_s, now_s)
        return len(path)

    def release(self, prefix: list[int], now_s: float) -> None:
        for node in prefix:
            block = self.blocks[node]
            block.refs -= 1
            block.used_s = block.score = now_s

    def pin(self, prefix: list[int], change: int) -> None:
        for node in prefix:
            self.blocks[node].refs += change

    def expire(self, now_s: float) -> None:
        while doomed := [b for b in self.leaves() if b.expires_s <= now_s]:
            # expired blocks go before any other: those that could go at once by node, then what they uncover
            self.drop(min(doomed, key=lambda b: b.node).node)

    def seen(self) -> list[Seen]:
        return [
            Seen(b.node, -1 if b.parent is None else b.parent, b.depth, b.score, b.made_s, b.used_s, b.uses, b.refs)
            for _, b in sorted(self.blocks.items())
        ]
