"""serving/kv_offloading again, slowly: a dictionary per tier, a queue of events, all else worked out when asked."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from naive_eviction import Entry, NaiveServer

from problems._hardware.step_cost import COARSE, StepCost, step_seconds
from problems.serving._eviction.data import BLOCKS, NEVER_S
from problems.serving._eviction.views import Block, Cache
from problems.serving._offloading.data import Offloading
from problems.serving._offloading.views import Copy, Link, Request, Session

TIERS = (0, 1, 2)


class NaiveHierarchy(NaiveServer):
    """A queue of prompts and three caches; ``run`` serves all."""

    def __init__(
        self,
        data: Offloading,
        cost: StepCost,
        evict: Callable[[Block, Cache, Copy], float],
        load: Callable[[Request, Link], float],
        prefetch: Callable[[Session, Link], float],
    ) -> None:
        super().__init__(data.caching, cost, lambda block, cache: 0.0)
        self.whole, self.score, self.load, self.prefetch = data, evict, load, prefetch
        self.size_of = [int(data.caching.limit[BLOCKS]), *map(int, data.below)]
        self.tiers: list[dict[int, Entry]] = [{}, {}, {}]
        self.users: dict[int, list[int]] = {}  # node -> requests since it was last computed
        self.ahead: set[int] = set()
        self.moving: dict[int, list[int]] = {}  # tier -> path of the piece on its way, which ends with it,
        self.first: dict[int, int] = {}  # and the first node of the piece
        self.free_s, self.busy_s = [0.0] * 3, [0.0] * 3
        self.turnovers, self.gone = [0.0] * 3, [0] * 3
        self.said: dict[int, tuple[int, float]] = {}  # session -> its request that ended last, and when
        self.running: list[int] = []  # path that is held for the request that runs
        self.started = -1
        n = len(data.caching.arrival_s)
        self.ready_s, self.loaded = [0.0] * n, list[int]()
        self.evicted: list[int] = []
        self.fetched: list[int] = []
        self.fetched_s: list[float] = []
        self.events = [float(at_s) for at_s in data.caching.arrival_s]

    def chain(self, node: int) -> list[int]:
        path = []
        while node >= 0:
            path.append(node)
            node = int(self.data.parent[node])
        return path[::-1]

    def prefix(self, i: int, path: list[int]) -> int:
        have = 0
        while have < len(path) and path[have] in self.tiers[i]:
            have += 1
        return have

    def move_s(self, i: int, blocks: int) -> float:
        block, group, transfer = (float(s) for s in self.whole.link_s[i - 1])
        groups = -(-blocks // int(self.whole.limit[0]))
        return transfer + groups * group + blocks * block

    def prefill_s(self, r: int, hits: int) -> float:
        computed = int(self.data.prompt_tokens[r]) - hits * self.size
        return float(step_seconds(self.cost, computed, computed * (hits * self.size + 0.5 * computed), 0, 0.0))

    def recompute_s(self, before: int, blocks: int) -> float:
        token_s = (self.cost.layers_s[-1] - self.cost.layers_s[-2]) / COARSE
        tokens = blocks * self.size
        return float(tokens * (token_s + self.cost.prefill_pair_s * (before + 0.5 * blocks) * self.size))

    def take(self, i: int, seconds: float) -> None:
        self.free_s[i] = max(self.now_s, self.free_s[i]) + seconds
        self.busy_s[i] += seconds
        heapq.heappush(self.events, self.free_s[i])

    def copy(self, node: int, i: int) -> Copy:
        below = [j for j in TIERS if j > i and node in self.tiers[j]]
        reload = self.move_s(below[0], 1) if below else self.recompute_s(len(self.chain(node)) - 1, 1)
        above = any(node in self.tiers[j] for j in TIERS if j < i)
        return Copy(float(i), float(above), float(bool(below)), reload)

    def cache(self, i: int, needed: int, held: set[int]) -> Cache:
        waiting = len(self.queue(self.started))
        return Cache(
            capacity=float(self.size_of[i] * self.size),
            needed=float(needed * self.size),
            evictable=float(len(self.loose(i, held))),
            waiting=float(waiting),
            gap=self.now_s / (self.started + 1 + waiting),
            hit_rate=self.cached / max(self.tokens, 1),
            turnover=self.turnovers[i],
        )

    def loose(self, i: int, held: set[int]) -> list[int]:
        parents = {int(self.data.parent[node]) for node in self.tiers[i]}
        return [node for node in self.tiers[i] if node not in parents and node not in held]

    def value(self, node: int, i: int, cache: Cache) -> float:
        block = self.describe_entry(node, self.started, self.tiers[i][node], self.users[node])
        return self.score(block, cache, self.copy(node, i))

    def held(self) -> set[int]:
        return {*self.running, *(node for path in self.moving.values() for node in path)}

    def add(self, i: int, path: list[int], held: set[int], cause: int) -> int:
        """Put what fits of a path into a tier, beside what is held."""
        have, held = self.prefix(i, path), held | set(path[: self.prefix(i, path)])
        end = min(len(path), have + self.size_of[i] - len(held))
        needed = end - have - (self.size_of[i] - len(self.tiers[i]))
        if needed > 0:
            cache = self.cache(i, needed, held)
            values = {node: self.value(node, i, cache) for node in self.loose(i, held)}
        while needed > 0:
            node = min(values, key=lambda k: (-values[k], k))
            self.gone[i] += 1
            idle_s = self.now_s - self.tiers[i][node].used_s
            self.turnovers[i] += max(0.01, 1.0 / self.gone[i]) * (idle_s - self.turnovers[i])
            del self.tiers[i][node], values[node]
            self.evicted.append(cause << 34 | i << 32 | node)
            needed -= 1
            parent = int(self.data.parent[node])
            if needed and parent in self.loose(i, held):
                values[parent] = self.value(parent, i, self.cache(i, needed, held))
        for node in path[have:end]:
            self.tiers[i][node] = Entry(self.now_s, self.now_s, [])
        return end

    def link(self, i: int, computing: bool) -> Link:
        waiting = len(self.queue(self.started))
        return Link(
            tier=float(i),
            block=self.move_s(i, 1),
            busy=min(self.busy_s[i] / max(self.now_s, 1e-9), 1.0),
            waiting=float(waiting),
            computing=float(computing),
            gap=self.now_s / (self.started + 1 + waiting),
            empty=float((self.size_of[0] - len(self.tiers[0])) * self.size),
            turnover=self.turnovers[0],
        )

    def turns(self, session: int) -> float:
        return float(sum(self.data.session[q] == session for q in range(self.started + 1)))

    def start(self, r: int) -> None:
        path, session = self.path(r), int(self.data.session[r])
        self.started = r
        self.due = {k: v for k, v in self.due.items() if k not in path or v[1] != session}
        have = self.prefix(0, path)
        on_the_way = [self.free_s[i] for i, node in self.first.items() if node in path[:have]]
        ready_s = max([self.now_s, *on_the_way])
        hits, held = have, self.held() | set(path[:have])
        most = have + self.size_of[0] - len(held)
        for node in path[:have]:
            self.tiers[0][node].used_s = self.now_s
        for i in (1, 2):
            extent = min(self.prefix(i, path), most)
            if extent > have and self.load(self.request(i, r, have, extent), self.link(i, True)) > 0.0:
                self.take(i, self.move_s(i, extent - have))
                ready_s, have = max(ready_s, self.free_s[i]), extent
                self.loaded.append(r << 2 | i)
        end = self.add(0, path, self.held() | set(path[:hits]), r)
        self.running = path[:end]
        for k, node in enumerate(self.running):
            self.tiers[0][node].users.append(r)
            self.users[node] = [*(self.users[node] if k < have else []), r]
            self.ahead.discard(node)
        self.tokens += int(self.data.prompt_tokens[r])
        self.cached += have * self.size
        self.start_s.append(self.now_s)
        self.ready_s[r] = ready_s
        self.finish_s.append(ready_s + self.prefill_s(r, have))
        heapq.heappush(self.events, self.finish_s[r])

    def request(self, i: int, r: int, have: int, extent: int) -> Request:
        return Request(
            waited=self.now_s - float(self.data.arrival_s[r]),
            prompt=float(self.data.prompt_tokens[r]),
            cached=float(have * self.size),
            tokens=float((extent - have) * self.size),
            load=max(self.free_s[i] - self.now_s, 0.0) + self.move_s(i, extent - have),
            compute=self.prefill_s(r, have) - self.prefill_s(r, extent),
            kind=float(self.data.kind[r]),
            turns=self.turns(int(self.data.session[r])),
        )

    def finish(self) -> None:
        r, path = self.started, self.running
        for node in path:
            self.tiers[0][node].used_s = self.now_s
        self.running = []
        self.announce(r, int(self.data.session[r]))
        self.said[int(self.data.session[r])] = (r, self.now_s)
        for i in (1, 2):
            end = self.add(i, path, set(), r)
            for node in path[:end]:
                self.tiers[i][node].used_s = self.now_s
                self.tiers[i][node].users.append(r)

    def wanted(self) -> list[tuple[int, int, int, float, float]]:
        """End of the path, request, place in the queue, due and notice of all that wait or are announced."""
        found = []
        for place, q in enumerate(self.queue(self.started), start=1):
            if path := self.path(q):
                found.append((path[-1], q, place, float(self.data.arrival_s[q]), 0.0))
        for r, made_s in self.said.values():
            for h in range(self.data.hint_start[r], self.data.hint_start[r + 1]):
                if (notice_s := float(self.data.hint_s[h])) < NEVER_S:
                    found.append((int(self.data.hint_node[h]), r, 0, made_s + notice_s, notice_s))
        return found

    def missing(self, i: int, path: list[int]) -> int:
        have = self.prefix(0, path)
        if have == len(path) or path[have] in self.ahead or any(path[have] in self.tiers[j] for j in range(1, i)):
            return 0
        return max(self.prefix(i, path) - have, 0)

    def ask(self, i: int, computing: bool) -> None:
        best, target, link = 0.0, -1, self.link(i, computing)
        for end, r, place, due_s, notice_s in self.wanted():
            path = self.chain(end)
            have, missing = self.prefix(0, path), self.missing(i, path)
            if missing == 0:
                continue
            session = Session(
                place=float(place),
                due=due_s - self.now_s,
                notice=notice_s,
                cached=float(have * self.size),
                missing=float(missing * self.size),
                fetch=self.move_s(i, missing),
                compute=self.recompute_s(have, missing),
                kind=float(self.data.kind[r]),
                turns=self.turns(int(self.data.session[r])),
            )
            value = self.prefetch(session, link)
            if value > best or (value == best > 0.0 and end < target):
                best, target = value, end
        if target >= 0:
            self.fetch(i, self.chain(target))

    def fetch(self, i: int, path: list[int]) -> None:
        have, held = self.prefix(0, path), self.held() | set(path[: self.prefix(0, path)])
        blocks = min(self.missing(i, path), int(self.whole.limit[1]), self.size_of[0] - len(held))
        if blocks == 0:
            return
        piece = path[: have + blocks]
        self.add(0, piece, self.held(), len(self.ready_s) + len(self.fetched))
        self.moving[i], self.first[i] = piece, piece[have]
        self.ahead |= set(piece[have:])
        self.fetched.append(self.started + 1 << 34 | i << 32 | piece[-1])
        self.fetched_s.append(self.now_s)
        self.take(i, self.move_s(i, blocks))

    def instant(self) -> None:
        """All that happens at one time."""
        for i in [i for i in self.moving if self.free_s[i] <= self.now_s]:
            del self.moving[i], self.first[i]
        if self.computing() and self.finish_s[-1] == self.now_s:
            self.finish()
        if not self.running_request() and (queue := self.queue(self.started)):
            self.start(queue[0])
        for i in (1, 2):
            if self.size_of[i] and self.free_s[i] <= self.now_s:
                self.ask(i, self.running_request())

    def computing(self) -> bool:
        return self.started >= 0 and self.finish_s[self.started] >= self.now_s

    def running_request(self) -> bool:
        return self.started >= 0 and self.finish_s[self.started] > self.now_s

    def run(self) -> NaiveHierarchy:
        heapq.heapify(self.events)
        n = len(self.data.arrival_s)
        while len(self.finish_s) < n or self.now_s < self.finish_s[-1]:
            at_s, known = heapq.heappop(self.events), {*self.free_s, *self.finish_s[-1:]}
            # the end of a piece is none if a load was put behind it; of several events at a time one is enough
            if (at_s > self.now_s or not self.started >= 0) and (at_s in known or at_s in self.data.arrival_s):
                self.now_s = at_s
                self.instant()
        return self
