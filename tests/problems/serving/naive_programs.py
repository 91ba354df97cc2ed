"""Programs on one server in plain Python: one step at a time, lists and sums, nothing kept up to date."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from problems._hardware.step_cost import StepCost, step_seconds
from problems.serving._programs.data import Calls, edges_of
from problems.serving._programs.views import Call, Context, Server


@dataclass(eq=False)
class Job:
    number: int
    program: int
    prompt: int
    output: int
    tool: int
    tool_s: float
    said: tuple[float, float, float, float]  # predicted output, tool, calls, tokens
    repeated: int
    before: list[Job] = field(default_factory=list)
    source: Job | None = None  # whose context it goes on from
    heir: Job | None = None
    release: float = math.inf
    cached: int = 0
    target: int = 0  # tokens to cache before it decodes
    generated: int = 0
    preemptions: int = 0
    admitted: float = 0.0
    served: float = 0.0
    parked: int = 0  # blocks
    pinned: float = 0.0  # until
    tokens_at: list[float] = field(default_factory=list)

    @property
    def to_prefill(self) -> int:
        return max(0, self.target - self.cached)

    released: bool = False
    ended: bool = False


class NaivePrograms:
    """The rules of docs/serving.md, read again."""

    def __init__(self, arrival: list[float], calls: Calls, cost: StepCost, limits: Any, hooks: tuple[Callable, ...]):
        self.arrival, self.cost, self.limits = arrival, cost, limits
        self.order, self.keep, self.evict = hooks
        self.jobs = [
            Job(
                c,
                int(calls.program[c]),
                int(calls.prompt_tokens[c]),
                int(calls.output_tokens[c]),
                int(calls.tool[c]),
                float(calls.tool_s[c]),
                tuple(
                    float(getattr(calls, f"predicted_{what}")[c]) for what in ("output", "tool_s", "calls", "tokens")
                ),
                int(calls.repeated_tokens[c]),
            )
            for c in range(len(calls.program))
        ]
        for a, b in edges_of(calls).tolist():
            self.jobs[b].before.append(self.jobs[a])
        for job in self.jobs:
            job.target = job.prompt
            if calls.continues[job.number] >= 0:
                job.source = self.jobs[calls.continues[job.number]]
                job.source.heir = job
            if not job.before:
                job.release = arrival[job.program] + job.tool_s
        self.now = self.debt = self.mean_wait = 0.0
        self.waiting: list[Job] = []
        self.running: list[Job] = []  # in order of admission
        self.returns: list[list[float]] = [[] for _ in range(8)]
        self.attained = [0.0] * len(arrival)
        self.arrived = self.finished = 0  # programs
        self.finished_service = 0.0
        self.changed, self.pure_decodes = False, 0

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.limits.block_tokens)

    def parked(self) -> list[Job]:
        return [job for job in self.jobs if job.parked > 0]

    def pinned(self) -> list[Job]:
        return [job for job in self.parked() if job.pinned > self.now]

    def free(self) -> int:
        used = sum(self.blocks(job.cached + job.to_prefill) for job in self.running)
        used += sum(job.parked for job in self.parked())
        assert used <= self.limits.blocks
        return self.limits.blocks - used

    def decoding(self) -> list[Job]:
        return [job for job in self.running if job.to_prefill == 0]

    def of(self, program: int) -> list[Job]:
        return [job for job in self.jobs if job.program == program]

    def critical(self, job: Job) -> float:
        return max((self.critical(b) + b.served for b in job.before if b.ended), default=0.0)

    def reusable(self, job: Job) -> int:
        if job.source is None:
            return 0
        return min(job.source.parked, min(job.repeated, job.prompt - 1) // self.limits.block_tokens)

    def see(self, job: Job) -> Call:
        running = job in self.running
        cached = 0 if running else self.reusable(job) * self.limits.block_tokens
        mine = self.of(job.program)
        return Call(
            waiting=self.now - job.release,
            age=self.now - self.arrival[job.program],
            attained=self.attained[job.program],
            critical=self.critical(job),
            served=job.served + (self.now - job.admitted if running else 0.0),
            calls=float(sum(other.ended for other in mine)),
            siblings=float(sum(other.released and not other.ended for other in mine)),
            prompt=float(job.prompt),
            prefill_left=float(job.to_prefill - cached),
            cached=float(cached),
            pinned=float(cached > 0 and job.source in self.pinned()),
            generated=float(job.generated),
            predicted_output=job.said[0],
            predicted_calls=job.said[2],
            predicted_tokens=job.said[3],
            preemptions=float(job.preemptions),
        )

    def see_context(self, job: Job) -> Context:
        back = self.returns[job.heir.tool]
        total, squares = 0.0, 0.0
        for seconds in back:
            total, squares = total + seconds, squares + seconds * seconds
        mean = total / len(back) if back else 5.0
        deviation = math.sqrt(max(0.0, squares / len(back) - mean * mean)) if len(back) > 1 else mean
        return Context(
            tokens=float(job.parked * self.limits.block_tokens),
            idle=self.now - job.tokens_at[-1],
            returned=float(job.heir in self.waiting),
            tool=float(job.heir.tool),
            predicted_tool=job.heir.said[1],
            tool_mean=mean,
            tool_deviation=deviation,
            age=self.now - self.arrival[job.program],
            attained=self.attained[job.program],
            calls=float(sum(other.ended for other in self.of(job.program))),
            predicted_calls=job.said[2],
            predicted_tokens=job.said[3],
        )

    def see_server(self) -> Server:
        decoding, block = self.decoding(), self.limits.block_tokens
        context = sum(job.cached for job in decoding)
        return Server(
            now=self.now,
            programs=float(self.arrived - self.finished),
            waiting=float(len(self.waiting)),
            running=float(len(self.running)),
            prefill_left=float(sum(job.to_prefill for job in self.running)),
            context=float(context),
            free=float(self.free() * block),
            parked=float(sum(job.parked for job in self.parked()) * block),
            pinned=float(sum(job.parked for job in self.pinned()) * block),
            capacity=float(self.limits.blocks * block),
            decode_step=step_seconds(self.cost, 0, 0.0, len(decoding), float(context)),
            token_time=max((self.cost.layers_s[-1] - self.cost.layers_s[-2]) / 64, 1e-12),
            mean_wait=self.mean_wait,
            mean_service=self.finished_service / self.finished if self.finished else 10.0,
        )

    def run(self) -> tuple[list[float], list[float], list[float]]:
        while not all(job.ended for job in self.jobs) and self.release():
            if self.changed or self.pure_decodes >= self.limits.patience:
                self.changed, self.pure_decodes = False, 0
                if self.waiting and len(self.running) < self.limits.max_running:
                    self.look()
            if not self.running:
                self.debt, self.now = 0.0, min(job.release for job in self.to_come())
                continue
            if self.decoding():
                self.make_room()
            self.step()
        inf = math.inf
        return (
            [job.tokens_at[0] if job.tokens_at else inf for job in self.jobs],
            [job.tokens_at[-1] if job.ended else inf for job in self.jobs],
            [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
        )

    def to_come(self) -> list[Job]:
        return [job for job in self.jobs if not job.released]

    def release(self) -> bool:
        self.arrived = sum(arrival <= self.now for arrival in self.arrival)
        for job in sorted(self.to_come(), key=lambda job: (job.release, job.number)):
            if job.release <= self.now:
                job.released = self.changed = True
                self.waiting.append(job)
                self.returns[job.tool].append(job.tool_s)
                if job.source is not None and job.source.parked and job.source.pinned > job.release:
                    job.source.pinned = math.inf
        return self.now < self.limits.horizon_s

    def drop(self, spared: Job | None) -> bool:
        candidates = [job for job in self.parked() if job is not spared]
        if len(self.running) > 1:
            candidates = [job for job in candidates if job not in self.pinned()]
        if not candidates:
            return False
        seen = self.see_server()
        max(candidates, key=lambda job: (self.evict(self.see_context(job), seen), job.number)).parked = 0
        return True

    def look(self) -> None:
        self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
        seen = self.see_server()
        for job in sorted(self.waiting, key=lambda job: (self.order(self.see(job), seen), job.number)):
            if len(self.running) == self.limits.max_running:
                return
            own = job.source.parked if job.source else 0
            needed = self.blocks(job.to_prefill) - own + (self.limits.blocks // 100 if self.running else 0)
            stays = self.pinned() if len(self.running) > 1 else []
            yields = sum(j.parked for j in self.parked() if j not in stays and j is not job.source)
            if needed > self.free() + yields:
                return
            while needed > self.free():
                assert self.drop(job.source)
            self.start(job)

    def start(self, job: Job) -> None:
        job.cached = self.reusable(job) * self.limits.block_tokens
        if job.source is not None:
            job.source.parked = 0
        self.waiting.remove(job)
        self.running.append(job)
        if job.preemptions == 0:
            self.mean_wait += 0.1 * (self.now - job.release - self.mean_wait)
        job.admitted = self.now

    def leave(self, job: Job) -> None:
        job.served += self.now - job.admitted
        self.attained[job.program] += self.now - job.admitted

    def make_room(self) -> None:
        while sum(job.cached % self.limits.block_tokens == 0 for job in self.decoding()) > self.free():
            if self.drop(None):
                continue
            seen = self.see_server()
            victim = max(self.running, key=lambda job: (self.order(self.see(job), seen), job.number))
            self.running.remove(victim)
            self.leave(victim)
            victim.preemptions += 1
            victim.cached, victim.target = 0, victim.prompt + victim.generated
            self.waiting.append(victim)
            self.changed = True

    def step(self) -> None:
        decoding, prefilling = self.decoding(), [job for job in self.running if job.to_prefill > 0]
        left = sum(job.to_prefill for job in prefilling)
        tokens = min(max(self.limits.max_prefill - len(decoding), self.limits.block_tokens), left)
        context, pairs, budget, emitting = sum(job.cached for job in decoding), 0.0, tokens, []
        for job in prefilling:
            chunk = min(budget, job.to_prefill)
            pairs += chunk * (job.cached + 0.5 * chunk)
            job.cached += chunk
            budget -= chunk
            if job.to_prefill == 0:
                emitting.append(job)
        self.now += step_seconds(self.cost, tokens, pairs, len(decoding), float(context)) + self.debt
        self.debt = 0.0
        for job in decoding:
            job.cached += 1
        for job in [*decoding, *emitting]:
            job.generated += 1
            job.tokens_at.append(self.now)
        ended = [job for job in self.running if job.generated == job.output]
        self.running = [job for job in self.running if job not in ended]
        for job in ended:
            self.end(job)
        self.changed = self.changed or bool(ended or prefilling)
        self.pure_decodes += 0 if prefilling else 1

    def end(self, job: Job) -> None:
        self.leave(job)
        job.ended = True
        if all(other.ended for other in self.of(job.program)):
            self.finished += 1
            self.finished_service += self.attained[job.program]
        for after in self.jobs:
            if job in after.before and all(before.ended for before in after.before):
                after.release = self.now + after.tool_s
        if job.heir is None:
            return
        job.parked = job.cached // self.limits.block_tokens
        if job.parked == 0:
            return
        seconds = self.keep(self.see_context(job), self.see_server())
        job.pinned = self.now + 1e-3 * int(min(max(1e3 * seconds, 0.0), 2.0**36))
