"""A cluster in plain Python: one queue of events, one step at a time, lists and sums, nothing kept up to date."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from problems._hardware.step_cost import step_seconds
from problems.serving._cluster.data import Group, Router
from problems.serving._cluster.router import scramble
from problems.serving._cluster.views import Instance, Request
from problems.serving._server.requests import Requests

# Of what happens at the same time, in this order.
STEP_ENDS, COMES, REPORT, ROUTED, STEP_BEGINS = range(5)


@dataclass
class Job:
    number: int
    arrival: float
    prompt: int
    output: int
    predicted: float
    path: list[int] = field(default_factory=list)  # nodes of its prompt and output
    sent: float = math.inf
    estimate: int = 0  # of its prefill, when it was sent or preempted, in us
    first_estimate: int = 0
    cached: int = 0  # tokens in the KV cache
    target: int = 0  # tokens to cache before it decodes
    generated: int = 0
    computed: int = 0
    queued: float = 0.0  # when it last joined a queue
    preemptions: int = 0
    shared: list[int] = field(default_factory=list)  # nodes of the prefix cache that it holds
    tokens_at: list[float] = field(default_factory=list)

    @property
    def to_prefill(self) -> int:
        return max(0, self.target - self.cached)

    @property
    def output_left(self) -> int:
        return max(1, math.ceil(self.predicted) - self.generated)


def naive_paths(requests: Requests, size: int) -> list[list[int]]:
    """Blocks of each prompt and output, told by what is in them."""
    numbers: dict[Any, int] = {}
    said: dict[Any, list[Any]] = {}  # tokens of the latest request of a conversation
    paths = []
    for r in range(len(requests.arrival_s)):
        prefix, session = int(requests.prefix[r]), int(requests.session[r])
        thread = (session, prefix, int(requests.prefix_tokens[r]))
        length = int(requests.prompt_tokens[r] + requests.output_tokens[r] - 1)
        tokens = [("system", prefix, k) for k in range(int(requests.prefix_tokens[r]) if prefix >= 0 else 0)]
        tokens += said.get(thread, [])[len(tokens) : int(requests.session_tokens[r])] if session >= 0 else []
        tokens = (tokens + [(r, k) for k in range(len(tokens), length)])[:length]
        if session >= 0:
            said[thread] = tokens
        blocks = length // size if size else 0
        paths.append([numbers.setdefault(tuple(tokens[: (k + 1) * size]), len(numbers)) for k in range(blocks)])
    return paths


class NaiveCache:
    """Blocks of the prefix cache with the time of their last use."""

    def __init__(self) -> None:
        self.used: dict[int, float] = {}
        self.parent: dict[int, int] = {}

    def found(self, path: list[int]) -> list[int]:
        count = 0
        while count < len(path) and path[count] in self.used:
            count += 1
        return path[:count]

    def touch(self, path: list[int], now: float) -> None:
        for node in path:
            self.used[node] = now

    def add(self, path: list[int], now: float) -> None:
        for before, node in zip([-1, *path], path, strict=False):
            if node not in self.used:
                self.used[node], self.parent[node] = now, before

    def evict(self, held: set[int]) -> None:
        continued = {self.parent[node] for node in self.used}
        _, node = min((at, node) for node, at in self.used.items() if node not in held and node not in continued)
        del self.used[node]


class NaiveServer:
    """First come, first served, in a token budget."""

    def __init__(self, group: Group, cache_tokens: int):
        self.cache = NaiveCache()
        self.size = cache_tokens
        self.cost, self.limits = group.cost, group.limits
        self.token_time = max((group.cost.layers_s[-1] - group.cost.layers_s[-2]) / 64, 1e-12)
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.changed, self.busy = False, False
        self.debt = 0.0
        self.come = 0

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.limits.block_tokens)

    def free(self) -> int:
        shared = self.blocks(self.size)
        free = self.limits.blocks - shared * len({node for job in self.running for node in job.shared})
        free -= sum(self.blocks(job.cached + job.to_prefill) - shared * len(job.shared) for job in self.running)
        assert free >= 0
        return free

    def path(self, job: Job, tokens: int) -> list[int]:
        return job.path[: tokens // self.size] if self.size else []

    def cached_of(self, job: Job, there: set[int]) -> int:
        path = self.path(job, job.prompt - 1)
        return self.size * next((k for k, node in enumerate(path) if node not in there), len(path))

    def trim(self) -> None:
        held = {node for job in self.running for node in job.shared}
        while (len(self.cache.used) - len(held)) * self.blocks(self.size) > self.free():
            self.cache.evict(held)

    def hold(self, job: Job, path: list[int], now: float) -> None:
        """Hold what is cached of a path, and add the rest of it."""
        found = self.cache.found(path)
        if len(found) > len(job.shared):
            self.cache.touch(found, now)
        self.cache.add(path, now)
        job.shared = path

    def leave(self, job: Job, now: float) -> None:
        self.running.remove(job)
        self.cache.touch(job.shared, now)
        job.shared = []

    def decoding(self) -> list[Job]:
        return [job for job in self.running if job.to_prefill == 0]

    def prefilling(self) -> list[Job]:
        return [job for job in self.running if job.to_prefill > 0]

    def estimate(self, tokens: int, context: int) -> int:
        pairs = tokens * (context + 0.5 * tokens)
        return math.ceil(1e6 * (self.token_time * tokens + self.cost.prefill_pair_s * pairs))

    def look(self, now: float) -> None:
        self.changed = False
        if not self.waiting or len(self.running) == self.limits.max_running or self.free() == 0:
            return
        self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
        while self.waiting and len(self.running) < self.limits.max_running:
            job = self.waiting[0]
            cached = self.cache.found(self.path(job, job.target - 1))
            held = {node for other in self.running for node in other.shared}
            if self.blocks(job.target) - self.blocks(self.size) * len(held & set(cached)) > self.free():
                return
            self.cache.touch(cached, now)
            job.shared, job.cached = cached, len(cached) * self.size
            job.computed += job.target - job.cached
            self.running.append(self.waiting.pop(0))
            self.trim()

    def make_room(self, now: float) -> None:
        block = self.limits.block_tokens
        while sum(job.cached % block == 0 for job in self.decoding()) > self.free() and len(self.running) > 1:
            victim = max(self.running, key=lambda job: job.number)
            self.leave(victim, now)
            victim.computed -= victim.to_prefill
            victim.cached, victim.target = 0, victim.prompt + victim.generated
            victim.estimate = self.estimate(victim.target, 0)
            victim.queued = now
            victim.preemptions += 1
            self.waiting.insert(0, victim)
            self.changed = True

    def begin(self, now: float) -> float:
        """Decide on a step; when it ends."""
        if self.changed:
            self.look(now)
        if self.decoding():
            self.make_room(now)
        self.batch, prefilling = self.decoding(), self.prefilling()
        budget = max(self.limits.max_prefill - len(self.batch), self.limits.block_tokens)
        self.chunks, pairs = [], 0.0
        for job in prefilling:
            chunk = min(budget, job.to_prefill)
            budget -= chunk
            pairs += chunk * (job.cached + 0.5 * chunk)
            self.chunks.append((job, chunk))
        tokens, context = sum(chunk for _, chunk in self.chunks), sum(job.cached for job in self.batch)
        seconds = step_seconds(self.cost, tokens, pairs, len(self.batch), float(context)) + self.debt
        self.debt, self.busy = 0.0, True
        return now + seconds

    def end(self, now: float) -> None:
        emitting, prompts, finished = list(self.batch), [], []
        for job in self.batch:
            job.cached += 1
        for job, chunk in self.chunks:
            job.cached += chunk
            if job.to_prefill == 0:
                emitting.append(job)
                prompts.append(job)
        self.trim()
        for job in emitting:
            job.generated += 1
            job.tokens_at.append(now)
            if job.generated == job.output:
                finished.append(job)
                self.changed = True
        for job in prompts:
            if job not in finished:
                self.hold(job, self.path(job, job.cached), now)
        for job in sorted(finished, key=lambda job: job.number):
            self.hold(job, self.path(job, job.cached), now)
            self.leave(job, now)
        self.trim()
        self.changed = self.changed or bool(self.chunks)
        self.busy = False

    def report(self) -> dict[str, Any]:
        decoding, prefilling = self.decoding(), self.prefilling()
        context = sum(job.cached for job in decoding)
        return {
            "come": self.come,
            "cache": set(self.cache.used),
            "waiting": len(self.waiting),
            "decoding": len(decoding),
            "prefilling": len(prefilling),
            "context": context,
            "free": self.free() * self.limits.block_tokens,
            "output_left": sum(job.output_left for job in [*self.waiting, *self.running]),
            "queue_us": sum(job.estimate for job in self.waiting)
            + sum(self.estimate(job.to_prefill, job.cached) for job in prefilling),
            "decode_step": step_seconds(self.cost, 0, 0.0, max(len(decoding), 1), float(context)),
        }


class NaiveCluster:
    """The rules of docs/serving.md, read again."""

    def __init__(self, requests: Requests, groups: list[Group], router: Router, cache_tokens: int, route: Any):
        self.requests, self.router, self.route = requests, router, route
        columns = (requests.arrival_s, requests.prompt_tokens, requests.output_tokens, requests.predicted_output)
        self.jobs = [Job(k, *row) for k, row in enumerate(zip(*(c.tolist() for c in columns), strict=True))]
        for job in self.jobs:
            job.target = job.prompt
        for job, path in zip(self.jobs, naive_paths(requests, cache_tokens), strict=True):
            job.path = path
        self.servers = [NaiveServer(group, cache_tokens) for group in groups for _ in range(group.servers)]
        self.horizon = groups[0].limits.horizon_s
        self.events: list[tuple[float, int, int]] = []
        self.reports: list[tuple[float, list[dict[str, Any]]]] = []
        self.chosen: list[int] = []

    def run(self) -> tuple[list[float], list[float], list[float], list[float], list[int], list[int]]:
        decided = -math.inf
        for job in self.jobs:
            decided = max(job.arrival, decided + self.router.deciding_s if job.number else job.arrival)
            heapq.heappush(self.events, (decided, ROUTED, job.number))
        for k in range(int(decided / self.router.period_s) + 2):
            heapq.heappush(self.events, (k * self.router.period_s, REPORT, 0))
        while self.events:
            self.happen(*heapq.heappop(self.events))
        inf = math.inf
        return (
            [job.tokens_at[0] if job.tokens_at else inf for job in self.jobs],
            [job.tokens_at[-1] if job.generated == job.output else inf for job in self.jobs],
            [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
            [job.sent for job in self.jobs],
            [job.computed for job in self.jobs],
            self.chosen,
        )

    def happen(self, now: float, kind: int, number: int) -> None:
        if kind == REPORT:
            self.reports.append((now, [server.report() for server in self.servers]))
        elif kind == ROUTED:
            self.decide(self.jobs[number], now)
        elif kind == COMES:
            self.servers[self.chosen[number]].waiting.append(self.jobs[number])
            self.servers[self.chosen[number]].changed = True
            self.servers[self.chosen[number]].come += 1
            self.jobs[number].queued = now
            self.wake(self.chosen[number], now)
        elif kind == STEP_ENDS:
            self.servers[number].end(now)
            self.wake(number, now)
        elif not self.servers[number].busy and now < self.horizon:
            heapq.heappush(self.events, (self.servers[number].begin(now), STEP_ENDS, number))

    def wake(self, number: int, now: float) -> None:
        server = self.servers[number]
        if not server.busy and (server.waiting or server.running):
            heapq.heappush(self.events, (now, STEP_BEGINS, number))

    def decide(self, job: Job, now: float) -> None:
        at, reports = [x for x in self.reports if x[0] <= max(now - self.router.delay_s, 0.0)][-1]
        seen = []
        for number, (server, report) in enumerate(zip(self.servers, reports, strict=True)):
            chosen = [j for j, i in zip(self.jobs, self.chosen, strict=False) if i == number]
            later = chosen[report["come"] :]
            seen.append(
                report
                | {
                    "sent": len(later),
                    "queue_us": report["queue_us"] + sum(j.first_estimate for j in later),
                    "output_left": report["output_left"] + sum(math.ceil(j.predicted) for j in later),
                    "cached": (cached := server.cached_of(job, report["cache"])),
                    "prefill_us": server.estimate(job.prompt - cached, cached),
                }
            )
        request = self.see_request(job, now, seen)
        scores = [self.route(request, self.see_instance(job, i, now - at, seen)) for i in range(len(seen))]
        best = scores.index(min(scores))
        self.chosen.append(best)
        job.sent = now + self.router.deciding_s
        job.estimate = job.first_estimate = seen[best]["prefill_us"]
        heapq.heappush(self.events, (job.sent, COMES, job.number))

    def see_request(self, job: Job, now: float, seen: list[dict[str, Any]]) -> Request:
        return Request(
            number=float(job.number),
            now=now,
            prompt=float(job.prompt),
            predicted_output=job.predicted,
            ttft_slo=min(float(self.requests.ttft_slo_s[job.number]), 1e6),
            tpot_slo=min(float(self.requests.tpot_slo_s[job.number]), 1e6),
            priority=float(self.requests.priority[job.number]),
            prefix_hash=float(self.prefix_key(job)),
            session_hash=float(self.session_key(job)),
            longest_cached=float(max(x["cached"] for x in seen)),
            shortest_queue=1e-6 * min(x["queue_us"] for x in seen),
            longest_queue=1e-6 * max(x["queue_us"] for x in seen),
            fastest_prefill=1e-6 * min(x["prefill_us"] for x in seen),
        )

    def prefix_key(self, job: Job) -> int:
        prefix = int(self.requests.prefix[job.number])
        return scramble(4 * prefix + 1) if prefix >= 0 else scramble(4 * job.number + 2)

    def session_key(self, job: Job) -> int:
        session = int(self.requests.session[job.number])
        return scramble(4 * session + 3) if session >= 0 else self.prefix_key(job)

    def see_instance(self, job: Job, i: int, age: float, seen: list[dict[str, Any]]) -> Instance:
        n, told, server = len(seen), seen[i], self.servers[i]
        places = []
        for key in (self.session_key(job), scramble(4 * job.number)):
            first = key % n
            second = (first + 1 + scramble(key) % (n - 1)) % n if n > 1 else first
            places += [float((i - first) % n), float((i - second) % n)]
        return Instance(
            number=float(i),
            instances=float(n),
            age=age,
            **{k: float(told[k]) for k in ("waiting", "decoding", "prefilling", "sent", "context", "free")},
            capacity=float(server.limits.blocks * server.limits.block_tokens),
            output_left=float(told["output_left"]),
            queue_time=1e-6 * told["queue_us"],
            prefill_time=1e-6 * told["prefill_us"],
            decode_step=told["decode_step"],
            token_time=server.token_time,
            cached_tokens=float(told["cached"]),
            hash_1=places[0],
            hash_2=places[1],
            draw_1=places[2],
            draw_2=places[3],
        )
