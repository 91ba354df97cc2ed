"""A fleet in plain Python: the cluster's queue of events, with instances that come, go and fail."""

from __future__ import annotations

import heapq
import math
from itertools import pairwise
from typing import Any

from naive_cluster import Job, NaiveCluster, NaiveServer

from problems._hardware.step_cost import step_seconds
from problems.serving._cluster.data import Router
from problems.serving._cluster.views import Instance
from problems.serving._fleet.data import Control, Instances
from problems.serving._fleet.views import Fleet, Pool
from problems.serving._server.requests import Requests

# Of what happens at the same time, in this order.
STEP_ENDS, COMES, REPORT, READY, FAILS, ARRIVES, TICK, ROUTED, STEP_BEGINS = range(9)
UP, LOADING, DOWN, DRAINING = range(4)


class Life:
    """What becomes of one instance."""

    def __init__(self, server: NaiveServer, begun: float, ready: float):
        self.server, self.begun, self.ready, self.status = server, begun, ready, LOADING
        self.jobs: list[Job] = []  # sent to it, in order
        self.stopped, self.last, self.done = math.inf, ready, math.inf


class NaiveFleet(NaiveCluster):
    """The rules of docs/serving.md, read again."""

    def __init__(
        self,
        requests: Requests,
        pools: list[Instances],
        router: Router,
        control: Control,
        cache_tokens: int,
        failures: list[tuple[float, int]],
        penalty: float,
        scale: Any,
        route: Any,
    ):
        super().__init__(requests, [pool.group for pool in pools], router, cache_tokens, route)
        self.pools, self.control, self.size, self.scale, self.penalty = pools, control, cache_tokens, scale, penalty
        self.pool_of = [p for p, pool in enumerate(pools) for _ in range(pool.group.servers)]
        self.lives: list[Life | None] = [None] * len(self.pool_of)
        self.paid = [0.0] * len(self.pool_of)
        self.wanted = [pool.first for pool in pools]
        self.started, self.stopped = [-1e6] * len(pools), [-1e6] * len(pools)
        self.queue: list[Job] = []
        self.free_at, self.known_at = 0.0, -1.0
        self.seen: list[Any] = []  # the reports of then,
        self.sent_since: set[int] = set()  # and who has been sent since they came
        self.log: list[tuple[int, int]] = []
        self.sent_at: list[float] = []
        self.work: list[tuple[float, int, int]] = []  # when, pool, us
        self.moves: list[tuple[int, int, int]] = []  # ms, place, 0: start, 1: stop
        for i, p in enumerate(self.pool_of):
            if i - self.pool_of.index(p) < pools[p].first:
                self.start(i, 0.0, 0.0)
                self.life(i).status = UP
                self.moves.append((0, i, 0))
        for at, place in failures:
            heapq.heappush(self.events, (at, FAILS, place, None))
        for job in self.jobs:
            heapq.heappush(self.events, (job.arrival, ARRIVES, job.number, None))
        k = 1
        while k * control.tick_s < self.horizon:
            heapq.heappush(self.events, (k * control.tick_s, TICK, k, None))
            k += 1
        for k in range(int(self.horizon / router.period_s) + 2):
            heapq.heappush(self.events, (k * router.period_s, REPORT, 0, None))

    def life(self, i: int) -> Life:
        found = self.lives[i]
        assert found is not None
        return found

    def alive(self, *statuses: int) -> list[int]:
        return [i for i, life in enumerate(self.lives) if life is not None and life.status in statuses]

    def run(self) -> dict[str, Any]:
        while self.events:
            now, kind, number, life = heapq.heappop(self.events)
            self.happen(now, kind, number, life)
        for i, life in enumerate(self.lives):
            if life is not None:
                end = max(life.stopped, life.last) if life.status == DRAINING else self.horizon
                end = max(self.horizon, life.last) if life.status == UP else end
                self.gone(i, end)
        inf = math.inf
        return {
            "first_token_s": [job.tokens_at[0] if job.tokens_at else inf for job in self.jobs],
            "finish_s": [job.tokens_at[-1] if job.generated == job.output else inf for job in self.jobs],
            "worst_gap_s": [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
            "computed_tokens": [job.computed for job in self.jobs],
            "sent_s": self.sent_at,
            "log": [(r << 8) | i for r, i in self.log],
            "moves": [(ms << 10) | (i << 2) | kind for ms, i, kind in self.moves],
            "paid_s": self.paid,
        }

    def happen(self, now: float, kind: int, number: int, life: Any) -> None:
        if kind == REPORT:
            seen = [None if x is None else x.server.report() | {"server": x.server} for x in self.lives]
            self.reports.append((now, seen))
        elif kind == READY:
            if self.lives[number] is life and now < self.horizon:
                life.status = UP
        elif kind == ARRIVES:
            self.queue.append(self.jobs[number])
        elif kind == FAILS:
            self.fail(number, now)
        elif kind == TICK:
            self.tick(now)
        elif kind == ROUTED:
            if self.queue and self.alive(UP) and self.free_at <= now < self.horizon:
                self.decide(self.queue.pop(0), now)
        elif self.lives[number if kind != COMES else self.log_of(number)] is not life:
            return  # it is gone
        elif kind == COMES:
            life.server.waiting.append(self.jobs[number])
            life.server.changed = True
            life.server.come += 1
            self.wake_up(self.log_of(number), now)
        elif kind == STEP_ENDS:
            life.server.end(now)
            life.last = now
            if life.status == DRAINING and self.empty(life):
                life.done = now
            self.wake_up(number, now)
        elif not life.server.busy and now < self.horizon:
            heapq.heappush(self.events, (life.server.begin(now), STEP_ENDS, number, life))
        if self.queue and self.alive(UP) and max(now, self.free_at) < self.horizon:
            heapq.heappush(self.events, (max(now, self.free_at), ROUTED, 0, None))

    def log_of(self, r: int) -> int:
        """Where request r was last sent."""
        return next(i for other, i in reversed(self.log) if other == r)

    def wake_up(self, i: int, now: float) -> None:
        life = self.life(i)
        if not life.server.busy and (life.server.waiting or life.server.running):
            heapq.heappush(self.events, (now, STEP_BEGINS, i, life))

    def empty(self, life: Life) -> bool:
        return all(job.generated == job.output for job in life.jobs)

    def start(self, i: int, now: float, load: float) -> None:
        life = Life(NaiveServer(self.pools[self.pool_of[i]].group, self.size), now, now + load)
        self.lives[i] = life
        heapq.heappush(self.events, (life.ready, READY, i, life))

    def gone(self, i: int, end: float) -> None:
        self.paid[i] += end - self.life(i).begun
        self.lives[i] = None

    def fail(self, i: int, now: float) -> None:
        life = self.lives[i]
        if life is None:
            return
        back = [job for job in life.jobs if job.generated < job.output]
        for job in back:
            if job in life.server.running:
                job.computed -= job.to_prefill
            job.cached, job.target, job.shared = 0, job.prompt + job.generated, []
        self.queue += sorted(back, key=lambda job: job.number)
        self.gone(i, life.done if life.status == DRAINING and not back else now)

    def look(self, now: float) -> float:
        """Time of the latest report."""
        at, seen = next(x for x in reversed(self.reports) if x[0] <= max(now - self.router.delay_s, 0.0))
        if at > self.known_at:
            self.known_at, self.seen, self.sent_since = at, seen, set()
        return at

    def told(self, i: int) -> dict[str, Any]:
        """What the router knows of an instance."""
        life = self.life(i)
        report = self.seen[i]
        if report is None or report["server"] is not life.server:
            report = NaiveServer(self.pools[self.pool_of[i]].group, self.size).report()
        later = life.jobs[report["come"] :]
        left = sum(math.ceil(job.predicted) if job.number in self.sent_since else job.output_left for job in later)
        return report | {
            "sent": len(later),
            "queue_us": report["queue_us"] + sum(job.first_estimate for job in later),
            "output_left": report["output_left"] + left,
        }

    def decide(self, job: Job, now: float) -> None:
        at, places = self.look(now), self.alive(UP)
        self.servers = [life.server if life is not None else None for life in self.lives]  # type: ignore[misc]
        seen: list[Any] = [None] * len(self.lives)
        for i in places:
            told, server = self.told(i), self.life(i).server
            cached = server.cached_of(job, told.get("cache", set()))
            seen[i] = told | {"cached": cached, "prefill_us": server.estimate(job.prompt - cached, cached)}
        request = self.see_request(job, now, [seen[i] for i in places])
        scores = []
        for i in places:
            instance: Instance = self.see_instance(job, i, now - at, seen)
            scores.append(self.route(request, instance._replace(instances=float(len(places)))))
        best = places[scores.index(min(scores))]
        life = self.life(best)
        life.jobs.append(job)
        job.sent = self.free_at = now + self.router.deciding_s
        job.estimate = job.first_estimate = seen[best]["prefill_us"]
        self.log.append((job.number, best))
        self.sent_since.add(job.number)
        self.sent_at.append(job.sent)
        self.work.append((job.sent, self.pool_of[best], self.work_us(life.server, job)))
        heapq.heappush(self.events, (job.sent, COMES, job.number, life))

    def work_us(self, server: NaiveServer, job: Job) -> int:
        limits = server.limits
        tokens = job.prompt + math.ceil(job.predicted)
        batch = max(1, min(limits.max_running, limits.blocks * limits.block_tokens // tokens))
        step = step_seconds(server.cost, 0, 0.0, batch, batch * (job.prompt + 0.5 * job.predicted))
        return job.first_estimate + math.ceil(1e6 * (job.predicted * (step / batch)))

    def tick(self, now: float) -> None:
        at = self.look(now)
        for i in self.alive(DRAINING):
            if self.life(i).done <= at:
                self.gone(i, self.life(i).done)
        fleet = self.see_fleet(now)
        for p in range(len(self.pools)):
            answer = self.scale(self.see_pool(p, now), fleet)
            most = self.pools[p].group.servers
            self.resize(p, math.floor(min(max(answer, self.pools[p].least), most) + 0.5), now)

    def resize(self, p: int, wanted: int, now: float) -> None:
        ms = round(1e3 * now)
        while len(live := [i for i in self.alive(UP, LOADING) if self.pool_of[i] == p]) > wanted:
            loading = [i for i in live if self.life(i).status == LOADING]
            if loading:
                i = max(loading, key=lambda i: (self.life(i).ready, i))
            else:
                i = min(live, key=lambda i: (self.known_requests(i), -i))
            life = self.life(i)
            if life.status == LOADING or self.known_requests(i) == 0:
                self.gone(i, now)
            else:
                life.status, life.stopped = DRAINING, now
                life.done = now if self.empty(life) else math.inf
            self.moves.append((ms, i, 1))
            self.stopped[p] = now
        for i in range(len(self.lives)):
            if self.pool_of[i] == p and self.lives[i] is None and len(live) < wanted:
                self.start(i, now, self.pools[p].load_s)
                live.append(i)
                self.moves.append((ms, i, 0))
                self.started[p] = now
        self.wanted[p] = wanted

    def known_requests(self, i: int) -> int:
        told = self.told(i)
        return int(told["waiting"] + told["decoding"] + told["prefilling"] + told["sent"])

    def see_fleet(self, now: float) -> Fleet:
        short, long = min(self.control.short_s, now), min(self.control.long_s, now)
        recent = [job for job in self.jobs if now - long < job.arrival <= now]
        told = [self.told(i) for i in self.alive(UP)]
        return Fleet(
            now=now,
            tick=self.control.tick_s,
            pools=float(len(self.pools)),
            short_window=self.control.short_s,
            long_window=self.control.long_s,
            rate_short=sum(job.arrival > now - short for job in recent) / short,
            rate_long=len(recent) / long,
            prompt=sum(job.prompt for job in recent) / max(len(recent), 1),
            output=sum(math.ceil(job.predicted) for job in recent) / max(len(recent), 1),
            backlog=float(len(self.queue)),
            up=float(len(told)),
            loading=float(len(self.alive(LOADING))),
            waiting=float(sum(x["waiting"] for x in told)),
            running=float(sum(x["decoding"] + x["prefilling"] for x in told)),
            penalty=self.penalty,
        )

    def see_pool(self, p: int, now: float) -> Pool:
        mine = [i for i in range(len(self.lives)) if self.pool_of[i] == p]
        up, loading, draining = ([i for i in mine if i in self.alive(status)] for status in (UP, LOADING, DRAINING))
        told, limits, pool = [self.told(i) for i in up], self.pools[p].group.limits, self.pools[p]
        token = NaiveServer(pool.group, self.size).token_time
        steps, decode = 0.0, 0.0
        for x, i in zip(told, up, strict=True):
            decode += x["decode_step"]
            free = (x["free"] - 1e-6 * x["queue_us"] / token) / limits.block_tokens
            steps += free / max(self.known_requests(i), 1)
        short, long = min(self.control.short_s, now), min(self.control.long_s, now)
        sent = [(at, us) for at, where, us in self.work if where == p and at > now - long]
        return Pool(
            number=float(p),
            least=float(pool.least),
            most=float(pool.group.servers),
            wanted=float(self.wanted[p]),
            up=float(len(up)),
            loading=float(len(loading)),
            draining=float(len(draining)),
            next_up=min((self.life(i).ready for i in loading), default=now) - now,
            load_time=pool.load_s,
            price=pool.price,
            since_start=min(now - self.started[p], 1e6),
            since_stop=min(now - self.stopped[p], 1e6),
            waiting=float(sum(x["waiting"] for x in told)),
            running=float(sum(x["decoding"] + x["prefilling"] for x in told)),
            sent=float(sum(x["sent"] for x in told)),
            free=float(sum(x["free"] for x in told)),
            capacity=float(limits.blocks * limits.block_tokens),
            remaining_steps=steps / max(len(up), 1),
            output_left=float(sum(x["output_left"] for x in told)),
            queue_time=1e-6 * sum(x["queue_us"] for x in told),
            longest_queue=1e-6 * max((x["queue_us"] for x in told), default=0),
            decode_step=decode / max(len(up), 1),
            token_time=token,
            request_time=1e-6 * sum(us for _, us in sent) / max(len(sent), 1),
            offered_short=1e-6 * sum(us for at, us in sent if at > now - short) / short,
            offered_long=1e-6 * sum(us for _, us in sent) / long,
        )
