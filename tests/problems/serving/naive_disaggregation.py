"""A deployment in plain Python: one heap of events, lists and sums, nothing kept up to date."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from problems._hardware.step_cost import step_seconds
from problems.serving._cluster.data import Group, Router
from problems.serving._cluster.links import Move
from problems.serving._cluster.router import scramble
from problems.serving._disaggregation.data import Control, Plan
from problems.serving._disaggregation.views import Cluster, Instance, Request
from problems.serving._server.requests import Requests

# Of what happens at the same time, in this order.
STEP_ENDS, CACHE_COMES, READY, COMES, REPORT, KNOWN, TICK, ROUTED, STEP_BEGINS = range(9)
BOTH, PREFILL, DECODE = 0, 1, 2
AS_NUMBER = {BOTH: 0.0, PREFILL: 1.0, DECODE: -1.0}
INF = math.inf


@dataclass(eq=False)
class Job:
    number: int
    arrival: float
    prompt: int
    output: int
    predicted: float
    ttft_slo: float
    tpot_slo: float
    priority: int
    estimate: int = 0  # of its prefill, in us
    cached: int = 0
    target: int = 0
    home: Any = None
    known: float = INF
    moved: float = INF
    tokens_at: list[float] = field(default_factory=list)

    @property
    def generated(self) -> int:
        return len(self.tokens_at)

    @property
    def decodes(self) -> bool:
        return self.cached >= self.target

    @property
    def output_left(self) -> int:
        return max(1, math.ceil(self.predicted) - self.generated)


class NaiveInstance:
    def __init__(self, number: int, group: Group, move: Move):
        self.number, self.cost, self.limits, self.move = number, group.cost, group.limits, move
        self.role, self.wanted, self.switching, self.ready = group.role, group.role, False, INF
        self.token_time = max((group.cost.layers_s[-1] - group.cost.layers_s[-2]) / 64, 1e-12)
        self.on_the_way: list[Job] = []
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.held: list[Job] = []
        self.asked: list[Job] = []  # handed here, without room yet
        self.moving: list[Job] = []
        self.came: list[Job] = []
        self.changed, self.busy, self.due = False, False, False
        self.debt, self.sending, self.receiving = 0.0, 0.0, 0.0
        self.plan: list[tuple[Job, int]] = []  # what the step under way computes

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.limits.block_tokens)

    def free(self) -> int:
        growing = {id(job) for job, tokens in self.plan if self.busy and job.decodes and tokens == 1}
        used = sum(self.blocks(max(job.cached + (id(job) in growing), job.target)) for job in self.running)
        used += sum(self.blocks(job.cached) for job in [*self.held, *self.moving, *self.came])
        assert used <= self.limits.blocks
        return self.limits.blocks - used

    def crowd(self) -> int:
        return len(self.running) + len(self.moving) + len(self.came)

    def nothing_left(self) -> bool:
        lists = (self.on_the_way, self.waiting, self.running, self.held, self.asked, self.moving, self.came)
        return not any(lists) and not self.busy and not self.due

    def estimate(self, tokens: int, context: int) -> int:
        pairs = tokens * (context + 0.5 * tokens)
        return math.ceil(1e6 * (self.token_time * tokens + self.cost.prefill_pair_s * pairs))

    def look(self) -> None:
        self.changed = False
        if not self.waiting or self.crowd() >= self.limits.max_running or self.free() == 0:
            return
        self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
        while self.waiting and self.crowd() < self.limits.max_running:
            if self.blocks(self.waiting[0].target) > self.free():
                return
            self.running.append(self.waiting.pop(0))

    def make_room(self) -> None:
        block = self.limits.block_tokens
        while self.running and self.crowd() > 1:
            if sum(job.decodes and job.cached % block == 0 for job in self.running) <= self.free():
                return
            victim = max(self.running, key=lambda job: job.number)
            self.running.remove(victim)
            victim.cached, victim.target = 0, victim.prompt + victim.generated
            victim.estimate = self.estimate(victim.target, 0)
            self.waiting.insert(0, victim)
            self.changed = True

    def begin(self, now: float) -> float:
        """Begin a step; when it ends, or inf."""
        self.running += self.came
        self.came = []
        if self.changed:
            self.look()
        self.make_room()
        if not self.running:
            return INF
        decoding = [job for job in self.running if job.decodes]
        prompts = [job for job in self.running if not job.decodes]
        chunks = []
        if self.role == PREFILL:
            for job in prompts:
                left = job.target - job.cached
                if chunks and sum(c for _, c in chunks) + left > self.limits.max_prefill:
                    break
                chunks.append((job, left))
        else:
            budget = max(self.limits.max_prefill - len(decoding), self.limits.block_tokens)
            for job in prompts:
                chunks.append((job, min(budget, job.target - job.cached)))
                budget -= chunks[-1][1]
        tokens, pairs = sum(c for _, c in chunks), 0.0
        for job, chunk in chunks:
            pairs += chunk * (job.cached + 0.5 * chunk)
        context = float(sum(job.cached for job in decoding))
        seconds = step_seconds(self.cost, tokens, pairs, len(decoding), context) + self.debt
        self.plan = [(job, 1) for job in decoding] + chunks
        self.debt, self.busy = 0.0, True
        return now + seconds

    def report(self) -> dict[str, Any]:
        prompts = [job for job in self.running if not job.decodes]
        decoding = [job for job in self.running if job.decodes]
        coming = [*self.came, *self.moving, *self.asked]
        all_of_them = decoding + coming
        own = prompts + self.waiting if self.role != PREFILL else []
        context = sum(job.cached for job in decoding)
        queue = sum(job.estimate for job in [*self.waiting, *self.on_the_way])
        queue += sum(self.estimate(job.target - job.cached, job.cached) for job in prompts)
        return {
            "waiting": len(self.waiting) + len(self.on_the_way),
            "prefilling": len(prompts),
            "queue_us": queue,
            "decoding": len(decoding),
            "context": context,
            "decode_step": step_seconds(self.cost, 0, 0.0, max(len(decoding), 1), float(context)),
            "output_left": sum(job.output_left for job in all_of_them + own),
            "heavy": sum(job.predicted > 128.0 for job in all_of_them),
            "pending": len(self.moving) + len(self.asked),
            "pending_tokens": sum(job.cached for job in [*self.moving, *self.asked]),
            "held": sum(job.cached for job in self.held),
            "free": self.free() * self.limits.block_tokens,
        }


class NaiveDeployment:
    """The rules of docs/serving.md, read again."""

    def __init__(
        self, requests: Requests, groups: list[Group], moves: list[Move], plan: Plan, rules: Any, **others: Any
    ):
        self.router: Router = others["router"]
        self.control: Control = others["control"]
        self.group_blocks: int = others["group_blocks"]
        self.prefill, self.decode, self.role = rules
        columns = (*requests[:4], requests.ttft_slo_s, requests.tpot_slo_s, requests.priority)
        self.jobs = [Job(k, *row) for k, row in enumerate(zip(*(c.tolist() for c in columns), strict=True))]
        for job in self.jobs:
            job.target = job.prompt
        kinds = [(group, move) for group, move in zip(groups, moves, strict=True) for _ in range(group.servers)]
        self.instances = [NaiveInstance(i, group, move) for i, (group, move) in enumerate(kinds)]
        self.horizon = groups[0].limits.horizon_s
        self.rate, self.mean_prompt, self.mean_output = plan
        self.late_first = self.late_output = 0.0
        self.seen: dict[str, list[Any]] = {"arrivals": [], "firsts": [], "ends": []}  # since the last tick
        self.events: list[tuple[float, int, int]] = []
        self.known = self.under_way = [instance.report() for instance in self.instances]
        self.known_at, self.reports = 0.0, 1
        self.ticks = self.routed = self.handed = self.finished = 0
        self.free_at = -INF
        self.decisions: list[tuple[float, str, int, int]] = []

    def at(self, time: float, kind: int, number: int = 0) -> None:
        if kind == STEP_ENDS or time < self.horizon:
            heapq.heappush(self.events, (time, kind, number))

    def run(self) -> tuple[list[Any], ...]:
        self.at(0.0, TICK)
        self.at(self.router.period_s, REPORT)
        self.at(self.jobs[0].arrival, ROUTED)
        while self.events and self.finished < len(self.jobs):
            self.happen(*heapq.heappop(self.events))
        return (
            [job.tokens_at[0] if job.tokens_at else INF for job in self.jobs],
            [job.tokens_at[-1] if job.generated == job.output else INF for job in self.jobs],
            [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
            [job.moved for job in self.jobs],
            self.decisions,
        )

    def happen(self, now: float, kind: int, number: int) -> None:
        if kind == STEP_ENDS:
            self.step_ends(self.instances[number], now)
        elif kind == CACHE_COMES:
            target = self.instances[number]
            job = target.moving.pop(0)
            target.came.append(job)
            job.home.held.remove(job)
            job.home.changed = True
            if job.home.waiting:
                self.wake(job.home, now)
            self.wake(target, now)
            self.rest(job.home, now)
        elif kind == READY:
            instance = self.instances[number]
            instance.role, instance.switching, instance.ready = instance.wanted, False, INF
        elif kind == COMES:
            job = self.jobs[number]
            job.home.on_the_way.remove(job)
            job.home.waiting.append(job)
            job.home.changed = True
            self.wake(job.home, now)
        elif kind == REPORT:
            self.under_way = [instance.report() for instance in self.instances]
            self.at(self.reports * self.router.period_s + self.router.delay_s, KNOWN)
            self.reports += 1
            self.at(self.reports * self.router.period_s, REPORT)
        elif kind == KNOWN:
            self.known, self.known_at = self.under_way, (self.reports - 1) * self.router.period_s
        elif kind == TICK:
            self.tick(now)
        elif kind == ROUTED:
            self.route(now)
        else:
            self.instances[number].due = False
            end = self.instances[number].begin(now)
            if end < INF:
                self.at(end, STEP_ENDS, number)
            else:
                self.rest(self.instances[number], now)

    def wake(self, instance: NaiveInstance, now: float) -> None:
        if not instance.busy and not instance.due:
            instance.due = True
            self.at(now, STEP_BEGINS, instance.number)

    def rest(self, instance: NaiveInstance, now: float) -> None:
        if instance.switching and instance.ready == INF and instance.nothing_left():
            instance.ready = now + self.control.switch_s
            self.at(instance.ready, READY, instance.number)

    def step_ends(self, instance: NaiveInstance, now: float) -> None:
        plan, instance.plan, instance.busy = instance.plan, [], False
        prompts = any(not job.decodes for job, _ in plan)
        leaving = []
        for job, tokens in plan:
            was_prompt = not job.decodes
            job.cached += tokens
            if not job.decodes:
                continue
            job.tokens_at.append(now)
            if job.generated == 1:
                self.seen["firsts"].append(now - job.arrival > job.ttft_slo)
            if job.generated == job.output:
                self.finish(instance, job, now)
            elif was_prompt and instance.role == PREFILL:
                leaving.append(job)
        instance.changed = instance.changed or prompts
        for job in leaving:
            instance.running.remove(job)
            instance.held.append(job)
        for job in leaving:
            self.hand(job, now)
        self.grant(instance, now)
        if instance.waiting or instance.running or instance.came:
            self.wake(instance, now)
        else:
            self.rest(instance, now)

    def finish(self, instance: NaiveInstance, job: Job, now: float) -> None:
        instance.running.remove(job)
        instance.changed = True
        self.finished += 1
        spent = (now - job.tokens_at[0]) / max(job.output - 1, 1)
        self.seen["ends"].append((job.output, spent > job.tpot_slo))

    def grant(self, instance: NaiveInstance, now: float) -> None:
        while instance.asked and instance.crowd() < instance.limits.max_running:
            if instance.waiting and instance.waiting[0].generated > 0:
                return
            job = instance.asked[0]
            if instance.blocks(job.cached) > instance.free():
                return
            instance.asked.pop(0)
            instance.moving.append(job)
            start = max(now, job.known, job.home.sending, instance.receiving)
            job.moved = start + self.move_seconds(job.home, instance, job.cached)
            job.home.sending = instance.receiving = job.moved
            self.at(job.moved, CACHE_COMES, instance.number)

    def move_seconds(self, home: NaiveInstance, instance: NaiveInstance, tokens: int) -> float:
        groups = math.ceil(home.blocks(tokens) / self.group_blocks)
        token, group, message = (max(a, b) for a, b in zip(home.move, instance.move, strict=True))
        return message + group * groups + token * tokens

    def hand(self, job: Job, now: float) -> None:
        i = self.choose("hand", job, now, self.handed, lambda instance: instance.role != PREFILL, self.decode)
        self.handed += 1
        for reports in (self.known, self.under_way):
            told = reports[i] | {"pending": reports[i]["pending"] + 1}
            told["pending_tokens"] += job.cached
            told["output_left"] += job.output_left
            told["heavy"] += job.predicted > 128.0
            reports[i].update(told)
            if self.known is self.under_way:
                break
        job.known = now + self.router.deciding_s
        self.instances[i].asked.append(job)
        self.grant(self.instances[i], now)

    def route(self, now: float) -> None:
        job = self.jobs[self.routed]
        i = self.choose("send", job, now, self.routed, lambda instance: instance.role != DECODE, self.prefill)
        job.home, job.estimate = self.instances[i], self.instances[i].estimate(job.prompt, 0)
        for reports in (self.known, self.under_way):
            reports[i]["waiting"] += 1
            reports[i]["queue_us"] += job.estimate
            if self.known is self.under_way:
                break
        job.home.on_the_way.append(job)
        self.routed += 1
        self.seen["arrivals"].append(job.prompt)
        self.free_at = now + self.router.deciding_s
        self.at(self.free_at, COMES, job.number)
        if self.routed < len(self.jobs):
            self.at(max(self.jobs[self.routed].arrival, self.free_at), ROUTED)

    def choose(self, what: str, job: Job, now: float, turn: int, takes: Any, rule: Any) -> int:
        possible = [x for x in self.instances if not x.switching and takes(x)]
        request = Request(
            float(turn),
            now,
            now - job.arrival,
            float(job.prompt),
            job.predicted,
            min(job.ttft_slo, 1e6),
            min(job.tpot_slo, 1e6),
            float(job.priority),
        )
        draws = self.draws(turn, 0 if what == "send" else 1, len(possible))
        seen = [self.see(x, k, len(possible), draws, now, job, what) for k, x in enumerate(possible)]
        scores = [rule(request, instance) for instance in seen]
        chosen = possible[scores.index(min(scores))].number
        self.decisions.append((now, what, chosen, job.number))
        return chosen

    def draws(self, turn: int, kind: int, count: int) -> tuple[int, int]:
        key = scramble(4 * turn + kind)
        first = key % count
        others = [(first + 1 + k) % count for k in range(count - 1)] or [first]
        return first, others[scramble(key) % len(others)]

    def see(
        self, x: NaiveInstance, place: int, count: int, draws: tuple[int, int], now: float, job: Job | None, what: str
    ) -> Instance:
        told = self.known[x.number]
        prompt, output = self.mean_prompt, self.mean_output
        fits = int(x.limits.blocks * x.limits.block_tokens / (prompt + output))
        batch = max(1, min(fits, x.limits.max_running))
        step = step_seconds(x.cost, 0, 0.0, batch, batch * (prompt + 0.5 * output))
        whole = ("waiting", "prefilling", "decoding", "context", "output_left", "heavy", "pending", "pending_tokens")
        return Instance(
            place=float(place),
            instances=float(count),
            role=AS_NUMBER[x.role],
            age=now - self.known_at,
            queue_time=1e-6 * told["queue_us"],
            prefill_time=1e-6 * x.estimate(job.prompt, 0) if job else 0.0,
            decode_step=told["decode_step"],
            **{name: float(told[name]) for name in (*whole, "held", "free")},
            capacity=float(x.limits.blocks * x.limits.block_tokens),
            transfer_time=self.move_seconds(job.home, x, job.prompt) if job and what == "hand" else 0.0,
            prompt_time=x.token_time * prompt + x.cost.prefill_pair_s * (0.5 * prompt * prompt),
            output_time=output * step / batch,
            token_time=x.token_time,
            draw_1=float((place - draws[0]) % count),
            draw_2=float((place - draws[1]) % count),
        )

    def tick(self, now: float) -> None:
        if self.ticks > 0:
            self.learn()
        self.seen = {"arrivals": [], "firsts": [], "ends": []}
        count = len(self.instances)
        draws = self.draws(self.ticks, 2, count)
        for x in self.instances:
            if x.switching:
                continue
            value = self.role(self.see(x, x.number, count, draws, now, None, "role"), self.whole(now))
            wanted = PREFILL if value > 0.5 else DECODE if value < -0.5 else BOTH
            roles = [y.role for y in self.instances if y is not x and not y.switching]
            roles += [wanted] if self.ticks == 0 else []
            if wanted == x.role or all(r == DECODE for r in roles) or all(r == PREFILL for r in roles):
                continue
            self.decisions.append((now, "turn", x.number, 4 * self.ticks + wanted))
            x.wanted = wanted
            if self.ticks == 0:
                x.role = wanted
            else:
                x.switching = True
                self.rest(x, now)
        self.ticks += 1
        self.at(self.ticks * self.control.tick_s, TICK)

    def learn(self) -> None:
        arrivals, firsts, ends = self.seen["arrivals"], self.seen["firsts"], self.seen["ends"]
        self.rate += 0.25 * (len(arrivals) / self.control.tick_s - self.rate)
        if arrivals:
            self.mean_prompt += 0.25 * (sum(arrivals) / len(arrivals) - self.mean_prompt)
        if firsts:
            self.late_first += 0.25 * (sum(firsts) / len(firsts) - self.late_first)
        if ends:
            self.mean_output += 0.25 * (sum(e[0] for e in ends) / len(ends) - self.mean_output)
            self.late_output += 0.25 * (sum(e[1] for e in ends) / len(ends) - self.late_output)

    def whole(self, now: float) -> Cluster:
        told = self.known
        return Cluster(
            now=now,
            instances=float(len(self.instances)),
            prefill=float(sum(x.wanted == PREFILL for x in self.instances)),
            decode=float(sum(x.wanted == DECODE for x in self.instances)),
            switching=float(sum(x.switching for x in self.instances)),
            arrival_rate=self.rate,
            mean_prompt=self.mean_prompt,
            mean_output=self.mean_output,
            queue_time=1e-6 * sum(t["queue_us"] for t in told),
            pending_tokens=float(sum(t["pending_tokens"] for t in told)),
            free=float(sum(t["free"] for t, x in zip(told, self.instances, strict=True) if x.role != PREFILL)),
            late_first=self.late_first,
            late_output=self.late_output,
        )
