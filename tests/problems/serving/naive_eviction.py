"""serving/prefix_eviction again, slowly: dictionaries, and everything worked out from the history when asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from problems._hardware.step_cost import COARSE, StepCost, step_seconds
from problems.serving._eviction.data import BLOCK_TOKENS, BLOCKS, NEVER_S, Caching
from problems.serving._eviction.views import Block, Cache


@dataclass
class Entry:
    made_s: float
    used_s: float
    users: list[int]  # requests since it was computed, in order


class NaiveServer:
    """A queue of prompts and a cache of blocks; ``run`` serves all."""

    def __init__(self, data: Caching, cost: StepCost, evict: Callable[[Block, Cache], float]) -> None:
        self.data, self.cost, self.evict = data, cost, evict
        self.size = int(data.limit[BLOCK_TOKENS])
        self.there: dict[int, Entry] = {}
        self.due: dict[int, tuple[float, int]] = {}  # node -> earliest announced use, and by which session
        self.start_s: list[float] = []
        self.finish_s: list[float] = []
        self.log: list[int] = []
        self.now_s = self.turnover_s = 0.0
        self.tokens = self.cached = 0

    def path(self, r: int) -> list[int]:
        return [int(k) for k in self.data.path[self.data.path_start[r] : self.data.path_start[r + 1]]]

    def queue(self, r: int) -> list[int]:
        """Requests that have arrived and not started while r starts."""
        return [q for q in range(r + 1, len(self.data.arrival_s)) if self.data.arrival_s[q] <= self.now_s]

    def pause(self, r: int) -> float | None:
        """Since the request before in its session, if there is one."""
        before = [q for q in range(r) if self.data.session[q] == self.data.session[r]]
        return float(self.data.arrival_s[r] - self.data.arrival_s[before[-1]]) if before else None

    def describe(self, node: int, r: int) -> Block:
        return self.describe_entry(node, r, self.there[node], self.there[node].users)

    def describe_entry(self, node: int, r: int, entry: Entry, users: list[int]) -> Block:
        """A block of a cache; users are those since it was last computed."""
        depth, parent = 0, node
        while parent >= 0:
            depth, parent = depth + 1, int(self.data.parent[parent])
        last = users[-1]
        owners = [int(self.data.session[u]) for u in users]
        alike = [q for q in range(r + 1) if self.data.kind[q] == self.data.kind[last]]
        pauses = [p for q in alike if (p := self.pause(q)) is not None]
        turns = [float(self.data.arrival_s[q]) for q in range(r + 1) if self.data.session[q] == owners[-1]]
        token_s = (self.cost.layers_s[-1] - self.cost.layers_s[-2]) / COARSE
        due_s = self.due[node][0] if node in self.due else float("inf")
        return Block(
            idle=self.now_s - entry.used_s,
            age=self.now_s - entry.made_s,
            uses=float(len(entry.users)),
            seen=float(sum(node in self.path(q) for q in range(r + 1))),
            sharers=1.0 + sum(a != b for a, b in pairwise(owners)),
            depth=float(depth * self.size),
            recompute=self.size * (token_s + self.cost.prefill_pair_s * (depth - 0.5) * self.size),
            beyond=float(self.data.prompt_tokens[last] - depth * self.size),
            kind=float(self.data.kind[last]),
            turns=float(len(turns)),
            pause=turns[-1] - turns[-2] if len(turns) > 1 else NEVER_S,
            returns=len(pauses) / len(alike),
            usual=sum(pauses) / max(len(pauses), 1),
            due=min(due_s - self.now_s, NEVER_S),
            wanted=float(sum(node in self.path(q) for q in self.queue(r))),
        )

    def ends(self, held: list[int]) -> list[int]:
        parents = {int(self.data.parent[k]) for k in self.there}
        return [k for k in self.there if k not in parents and k not in held]

    def describe_cache(self, r: int, needed: int, held: list[int]) -> Cache:
        return Cache(
            capacity=float(self.data.limit[BLOCKS] * self.size),
            needed=float(needed * self.size),
            evictable=float(len(self.ends(held))),
            waiting=float(len(self.queue(r))),
            gap=self.now_s / (r + 1 + len(self.queue(r))),
            hit_rate=self.cached / max(self.tokens, 1),
            turnover=self.turnover_s,
        )

    def make_room(self, r: int, needed: int, held: list[int]) -> None:
        cache = self.describe_cache(r, needed, held)
        values = {node: self.evict(self.describe(node, r), cache) for node in self.ends(held)}
        while needed > 0:
            node = min(values, key=lambda k: (-values[k], k))
            self.log.append(r << 32 | node)
            weight = max(0.01, 1.0 / len(self.log))
            self.turnover_s += weight * (self.now_s - self.there[node].used_s - self.turnover_s)
            del self.there[node], values[node]
            needed -= 1
            parent = int(self.data.parent[node])
            if needed and parent in self.ends(held):
                values[parent] = self.evict(self.describe(parent, r), self.describe_cache(r, needed, held))

    def serve(self, r: int) -> None:
        path, session = self.path(r), int(self.data.session[r])
        self.now_s = max(self.now_s, float(self.data.arrival_s[r]))
        self.due = {k: v for k, v in self.due.items() if k not in path or v[1] != session}
        hits = 0
        while hits < len(path) and path[hits] in self.there:
            hits += 1
        blocks = int(self.data.limit[BLOCKS])
        added = min(len(path) - hits, blocks - hits)
        for node in path[:hits]:
            self.there[node].used_s = self.now_s
        if len(self.there) + added > blocks:
            self.make_room(r, len(self.there) + added - blocks, path[:hits])
        for node in path[hits : hits + added]:
            self.there[node] = Entry(self.now_s, self.now_s, [])
        self.start_s.append(self.now_s)
        self.tokens += int(self.data.prompt_tokens[r])
        self.cached += hits * self.size
        computed = int(self.data.prompt_tokens[r]) - hits * self.size
        pairs = computed * (hits * self.size + 0.5 * computed)
        self.now_s += step_seconds(self.cost, computed, pairs, 0, 0.0)
        self.finish_s.append(self.now_s)
        for node in path[: hits + added]:
            self.there[node].users.append(r)
            self.there[node].used_s = self.now_s
        self.announce(r, session)

    def announce(self, r: int, session: int) -> None:
        for h in range(self.data.hint_start[r], self.data.hint_start[r + 1]):
            node, seconds = int(self.data.hint_node[h]), float(self.data.hint_s[h])
            while node >= 0:
                due_s, by = self.due.get(node, (float("inf"), -1))
                if seconds >= NEVER_S:
                    if by == session:
                        del self.due[node]
                elif due_s <= self.now_s or by == session or self.now_s + seconds < due_s:
                    self.due[node] = (self.now_s + seconds, session)
                node = int(self.data.parent[node])

    def run(self) -> NaiveServer:
        for r in range(len(self.data.arrival_s)):
            self.serve(r)
        return self
