"""A cluster in plain Python whose servers hand requests on: the cluster's queue of events, with one kind more."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from naive_cluster import COMES, REPORT, ROUTED, STEP_BEGINS, STEP_ENDS, Job, NaiveCluster, NaiveServer

from problems.serving._cluster.data import Group, Router
from problems.serving._cluster.links import Move
from problems.serving._migration import views
from problems.serving._server.requests import Requests

# Of what happens at the same time, in this order: reports, the tick, the router, who lands, steps that begin.
TICK, LANDS = REPORT + 0.5, ROUTED + 0.5
LOST, REFUSED, QUEUED, JOINED, RECOMPUTED = range(5)


@dataclass
class Out:
    """A migration under way."""

    entry: int
    job: Job
    source: int
    target: int
    ready: float
    copied: int
    was: tuple[int, int]
    arrives: float = math.inf  # known once it has left


class NaiveMigration(NaiveCluster):
    """The rules of docs/serving.md, read again."""

    def __init__(
        self,
        requests: Requests,
        groups: list[Group],
        moves: list[Move],
        router: Router,
        cache_tokens: int,
        group_blocks: int,
        tick_s: float,
        hooks: tuple[Any, Any, Any],
    ):
        route, self.pair, self.pick = hooks
        super().__init__(requests, groups, router, cache_tokens, route)
        self.links = [move for move, group in zip(moves, groups, strict=True) for _ in range(group.servers)]
        self.group_blocks, self.tick_s = group_blocks, tick_s
        self.under_way: list[Out] = []
        self.entries: list[tuple[int, int, int]] = []  # tick, request, target
        self.fate: list[int] = []
        self.pause: list[float] = []
        self.tick = 0
        self.told: list[dict[str, Any]] = []  # reports at the last tick

    def run(self) -> dict[str, Any]:  # type: ignore[override]
        heapq.heappush(self.events, (0.0, TICK, 0))  # type: ignore[arg-type]
        super().run()
        inf = math.inf
        return {
            "first_token_s": [job.tokens_at[0] if job.tokens_at else inf for job in self.jobs],
            "finish_s": [job.tokens_at[-1] if job.generated == job.output else inf for job in self.jobs],
            "worst_gap_s": [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
            "sent_s": [job.sent for job in self.jobs],
            "computed_tokens": [job.computed for job in self.jobs],
            "preemptions": [job.preemptions for job in self.jobs],
            "log": [(r << 8) | i for r, i in enumerate(self.chosen)],
            "moves": [(tick << 32) | (r << 8) | target for tick, r, target in self.entries],
            "decided_s": [tick * self.tick_s for tick, _, _ in self.entries],
            "fate": self.fate,
            "pause_s": self.pause,
        }

    def happen(self, now: float, kind: float, number: int) -> None:  # type: ignore[override]
        if kind == TICK:
            if now < self.horizon:
                self.told = [server.report() for server in self.servers]
                self.migrate(now)
                self.tick += 1
            if any(job.generated < job.output for job in self.jobs) and now < self.horizon:
                heapq.heappush(self.events, (self.tick * self.tick_s, TICK, 0))  # type: ignore[arg-type]
        elif kind == STEP_ENDS:
            self.servers[number].end(now)
            self.change_hands(number, now)
            self.wake(number, now)
        elif kind == LANDS:
            if not self.servers[number].busy and now < self.horizon:
                self.change_hands(number, now)
                self.wake(number, now)
        elif kind == STEP_BEGINS:
            server = self.servers[number]
            if not server.busy and now < self.horizon:
                self.change_hands(number, now)
                if server.waiting or server.running:
                    heapq.heappush(self.events, (server.begin(now), STEP_ENDS, number))
        else:
            assert kind in (COMES, REPORT, ROUTED)
            super().happen(now, int(kind), number)

    def change_hands(self, i: int, now: float) -> None:
        for out in list(self.under_way):
            if out.source == i and out.arrives == math.inf and out.ready <= now:
                self.leave(out, now)
        for out in list(self.under_way):
            if out.target == i and out.arrives <= now:
                self.land(out, now)

    def settle(self, out: Out, fate: int) -> None:
        self.fate[out.entry] = fate
        self.under_way.remove(out)

    def lost(self, out: Out) -> bool:
        return out.job.generated == out.job.output or out.was != (out.job.preemptions, out.job.computed)

    def leave(self, out: Out, now: float) -> None:
        source, target, job = self.servers[out.source], self.told[out.target], out.job
        if self.lost(out):
            self.settle(out, LOST)
        elif job in source.waiting:
            source.waiting.remove(job)
            source.changed = True
            out.arrives = now + self.router.delay_s
        elif (
            source.blocks(job.cached) * source.limits.block_tokens > target["free"]
            or target["decoding"] + target["prefilling"] >= source.limits.max_running
        ):
            self.settle(out, REFUSED)
        else:
            source.leave(job, now)
            source.changed = True
            pause = self.move_seconds(out.source, out.target, max(job.cached - out.copied, 1))
            self.pause[out.entry] = pause
            out.arrives = now + pause
        if out.arrives < math.inf:
            heapq.heappush(self.events, (out.arrives, LANDS, out.target))  # type: ignore[arg-type]

    def land(self, out: Out, now: float) -> None:
        server, job = self.servers[out.target], out.job
        if job.cached == 0:
            server.waiting.append(job)
            self.settle(out, QUEUED)
        elif server.blocks(job.cached) <= server.free() and len(server.running) < server.limits.max_running:
            server.running.append(job)
            server.trim()
            self.settle(out, JOINED)
            return
        else:
            job.cached, job.target = 0, job.prompt + job.generated
            job.preemptions += 1
            server.waiting.insert(0, job)
            self.settle(out, RECOMPUTED)
        server.changed = True
        job.queued = now
        job.estimate = server.estimate(job.target, 0)

    def move_seconds(self, i: int, j: int, tokens: int) -> float:
        home, target = self.links[i], self.links[j]
        blocks = math.ceil(tokens / self.servers[i].limits.block_tokens)
        groups = math.ceil(blocks / self.group_blocks)
        whole = max(home.message_s, target.message_s) + max(home.group_s, target.group_s) * groups
        return whole + max(home.token_s, target.token_s) * tokens

    def migrate(self, now: float) -> None:
        for out in list(self.under_way):
            if out.arrives == math.inf and self.lost(out):
                self.settle(out, LOST)
        n = len(self.servers)
        scores = {}
        seen = [self.see_server(i, now) for i in range(n)]
        for i in range(n):
            for j in range(n):
                if i != j and self.is_free(i) and self.is_free(j) and seen[i].decoding + seen[i].waiting > 0:
                    scores[i, j] = self.pair(seen[i], seen[j])
        while scores:
            i, j = max(scores, key=lambda ij: (scores[ij], -ij[0], -ij[1]))
            if scores.pop((i, j)) <= 0:
                return
            server = self.servers[i]
            jobs = [*server.decoding(), *server.waiting]
            values = {job.number: self.pick(self.see_job(job, i, j, now), seen[i], seen[j]) for job in jobs}
            best = max(values, key=lambda r: (values[r], -r))
            if values[best] > 0:
                self.start(self.jobs[best], i, j, now)
                scores = {ij: score for ij, score in scores.items() if not {i, j} & set(ij)}

    def is_free(self, i: int) -> bool:
        """Takes part in no migration: as long as a request has not left, and the other until it has come."""
        return not any(out.target == i or (out.source == i and out.arrives == math.inf) for out in self.under_way)

    def start(self, job: Job, i: int, j: int, now: float) -> None:
        copy = self.move_seconds(i, j, job.cached) if job.cached else 0.0
        ready = now + self.router.delay_s + copy
        was = (job.preemptions, job.computed)
        self.under_way.append(Out(len(self.fate), job, i, j, ready, job.cached, was))
        self.entries.append((self.tick, job.number, j))
        self.fate.append(LOST)
        self.pause.append(0.0)

    def see_server(self, i: int, now: float) -> views.Server:
        server: NaiveServer = self.servers[i]
        told, first = self.told[i], server.waiting[0] if server.waiting else None
        everybody = [*server.running, *server.waiting]
        block = server.limits.block_tokens
        return views.Server(
            number=float(i),
            servers=float(len(self.servers)),
            **{k: float(told[k]) for k in ("waiting", "decoding", "prefilling", "context", "free", "output_left")},
            urgent=float(sum(self.requests.priority[job.number] == 0 for job in everybody)),
            capacity=float(server.limits.blocks * block),
            first_needs=float(server.blocks(first.target) * block) if first else 0.0,
            first_waited=now - first.queued if first else 0.0,
            queue_tokens=float(sum(job.target for job in server.waiting)),
            queue_time=1e-6 * told["queue_us"],
            decode_step=told["decode_step"],
            token_time=server.token_time,
        )

    def see_job(self, job: Job, i: int, j: int, now: float) -> views.Job:
        waits = job in self.servers[i].waiting
        return views.Job(
            waiting=float(waits),
            context=float(job.cached),
            prefill_left=float(job.to_prefill),
            prompt=float(job.prompt),
            generated=float(job.generated),
            predicted_left=max(1.0, job.predicted - job.generated),
            age=now - job.arrival,
            idle=now - (job.queued if waits else job.tokens_at[-1]),
            preemptions=float(job.preemptions),
            copy_time=0.0 if waits else self.move_seconds(i, j, job.cached),
            priority=float(self.requests.priority[job.number]),
            ttft_slo=min(float(self.requests.ttft_slo_s[job.number]), 1e6),
            tpot_slo=min(float(self.requests.tpot_slo_s[job.number]), 1e6),
        )
