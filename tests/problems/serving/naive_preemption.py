"""Preemption in plain Python: continuous batching as in naive_batching.py, and a step that can stand aside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from naive_batching import Job, NaiveServer

from problems._hardware.step_cost import StepCost, step_seconds
from problems.serving._preemption.views import Cache, Step
from problems.serving._server.requests import Requests


@dataclass
class Segmented:
    """A step on its way."""

    members: list[Job]
    emitting: list[Job]
    prompts: list[Job]
    decoding: int
    segments: int
    segment: float  # s
    left: float  # s
    done: float = 0.0  # s


class NaivePreemption(NaiveServer):
    """The rules of docs/serving.md on preemption, read again."""

    def __init__(self, requests: Requests, cost: StepCost, limits: Any, hooks: tuple[Callable[..., float], ...]):
        order, admit, chunk, self.cut, self.save = hooks
        super().__init__(requests, cost, limits, (order, admit, chunk, order))
        self.aside: Segmented | None = None
        self.cuts = self.displaced = 0

    def free(self) -> int:
        aside = self.aside.members if self.aside else []
        used = sum(self.held(job) for job in [*self.running, *aside])
        assert used <= self.limits.blocks
        return self.limits.blocks - used

    def cache_of(self, job: Job) -> Cache:
        tokens = job.prompt + job.generated
        return Cache(
            needed=float(self.held(job) * self.limits.block_tokens),
            cached=float(job.cached),
            move=self.moving(job),
            recompute=step_seconds(self.cost, tokens, tokens * (0.5 * tokens), 0, 0.0),
        )

    def moving(self, job: Job) -> float:
        blocks = self.blocks(job.cached)
        groups = math.ceil(blocks / self.limits.group_blocks)
        return self.limits.swap_block_s * blocks + self.limits.swap_group_s * groups

    def describe(self, step: Segmented, ran: float) -> Step:
        return Step(
            done=step.done + ran,
            left=step.left - ran,
            cost=2.0 * self.limits.cut_s,
            slack=min([1e6, *(self.see(job).slack for job in step.prompts)]),
            priority=float(min(job.priority for job in step.prompts)),
            prompts=float(len(step.prompts)),
            decoding=float(step.decoding),
            token_time=self.token_time,
        )

    def run(self) -> tuple[list[float], list[float], list[float]]:
        while any(job.generated < job.output for job in self.jobs) and self.take_arrivals():
            if self.changed or self.pure_decodes >= self.limits.patience:
                self.changed, self.pure_decodes = False, 0
                self.look()
            if self.running or self.aside:
                self.step()
            elif self.waiting:
                self.debt, self.changed = 0.0, True
                self.refusals += 1
                wait = min(sum(self.limits.tick_s for _ in range(self.refusals)), 20 * self.limits.tick_s)
                self.now = min(self.now + wait, self.coming[0].arrival if self.coming else math.inf)
            else:
                self.debt, self.now = 0.0, self.coming[0].arrival
        return (
            [job.tokens_at[0] if job.tokens_at else math.inf for job in self.jobs],
            [job.tokens_at[-1] if job.generated == job.output else math.inf for job in self.jobs],
            [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
        )

    def fits(self, job: Job) -> bool:
        aside = len(self.aside.members) if self.aside else 0
        return len(self.running) + aside < self.limits.max_running and self.held(job) <= self.free()

    def look(self) -> None:
        if self.waiting:
            self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
            seen = self.see_server()
            scores = {job.number: self.order(self.see(job), seen) for job in self.waiting}
            for job in sorted(self.waiting, key=lambda job: (scores[job.number], job.number)):
                verdict = self.admit(self.see(job), seen, self.cache_of(job))
                if verdict == 0:
                    continue
                if verdict < 0 or not (self.fits(job) or (verdict > 1 and self.displace(job, scores[job.number]))):
                    break
                self.waiting.remove(job)
                if job.swapped:
                    self.debt += self.moving(job)
                    job.swapped = False
                self.running.append(job)
                self.refusals = 0
                seen = self.see_server()
        seen, prompts = self.see_server(), self.prefilling()
        ranked = sorted(prompts, key=lambda job: self.order(self.see(job), seen))
        self.running = [job for job in self.running if job not in prompts] + ranked

    def displace(self, job: Job, own: float) -> bool:
        seen = self.see_server()
        scores = {other.number: self.order(self.see(other), seen) for other in self.running}
        behind = sorted(
            (other for other in self.running if scores[other.number] > own), key=lambda j: (scores[j.number], j.number)
        )
        if not behind or self.held(job) > self.free() + sum(self.held(other) for other in behind):
            return False
        while not self.fits(job):
            self.dismiss(behind.pop())
            self.displaced += 1
        return True

    def dismiss(self, job: Job) -> None:
        keep = self.save(self.see(job), self.cache_of(job)) > 0
        self.running.remove(job)
        job.queued, job.preemptions = self.now, job.preemptions + 1
        if not keep:
            job.cached, job.target = 0, job.prompt + job.generated
        elif job.cached > 0:
            job.swapped = True
            self.debt += self.moving(job)
        self.waiting.append(job)
        self.changed = True

    def make_room(self) -> None:
        while self.needed() > self.free() and len(self.running) > 1:
            seen = self.see_server()
            self.dismiss(max(self.running, key=lambda job: (self.order(self.see(job), seen), job.number)))

    def step(self) -> None:
        if self.aside:
            seen = self.describe(self.aside, 0.0)
            if not any(self.cut(self.see(job), seen) > 0 for job in self.running):
                self.resume(self.aside)
                return
        super().step()

    def compute(self, tokens: int, decoding: list[Job]) -> None:
        if self.aside and decoding and self.needed() > self.free():
            self.resume(self.aside)
            return
        context, pairs, budget, prompts, done = sum(job.cached for job in decoding), 0.0, tokens, [], []
        self.changed = self.changed or bool(self.prefilling())
        self.pure_decodes += 0 if self.prefilling() else 1
        for job in self.prefilling():
            chunk = min(budget, job.to_prefill)
            pairs += chunk * (job.cached + 0.5 * chunk)
            job.cached += chunk
            budget -= chunk
            if chunk:
                prompts.append(job)
            if job.to_prefill == 0:
                done.append(job)
        for job in decoding:
            job.cached += 1
        seconds = step_seconds(self.cost, tokens, pairs, len(decoding), float(context))
        step = Segmented(
            [*decoding, *prompts],
            [*decoding, *done],
            prompts,
            len(decoding),
            self.limits.segments,
            seconds / self.limits.segments,
            seconds,
        )
        if tokens == 0 or self.aside:
            self.now += seconds + self.debt
            self.debt = 0.0
            self.emit(step)
        elif self.pass_time(step):
            self.emit(step)
        else:
            self.aside = step
            self.running = [job for job in self.running if job not in step.members]

    def resume(self, step: Segmented) -> None:
        self.debt += self.limits.cut_s
        if self.pass_time(step):
            self.aside, self.running = None, [*step.members, *self.running]
            self.changed = True
            self.emit(step)

    def pass_time(self, step: Segmented) -> bool:
        """Whether the step came to its end."""
        start, lead = self.now, self.debt
        end = start + (step.left + lead)
        self.debt = 0.0
        for k in range(1, step.segments):
            boundary = start + (lead + k * step.segment)
            if boundary >= end:
                break
            come = [job for job in self.coming if job.arrival <= boundary]
            if not come:
                continue
            self.now = boundary
            self.take_arrivals()
            seen = self.describe(step, boundary - start)
            if any(self.cut(self.see(job), seen) > 0 for job in come):
                step.left, step.done, step.segments = end - boundary, step.done + (boundary - start), step.segments - k
                self.now = boundary + self.limits.cut_s
                self.cuts += 1
                return False
        self.now = end
        return True

    def emit(self, step: Segmented) -> None:
        for job in step.emitting:
            job.generated += 1
            job.tokens_at.append(self.now)
            if job.generated == job.output:
                self.running.remove(job)
                self.changed = True
        self.free()
