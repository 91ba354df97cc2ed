"""Continuous batching in plain Python: one iteration at a time, lists and sums, nothing kept up to date."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from problems._hardware.step_cost import StepCost, step_seconds
from problems.serving._server.requests import Requests
from problems.serving._server.views import Memory, Request, Server


@dataclass
class Job:
    number: int
    arrival: float
    prompt: int
    output: int
    predicted: float
    ttft: float
    tpot: float
    priority: int
    queued: float = 0.0
    cached: int = 0  # tokens in the KV cache
    generated: int = 0
    preemptions: int = 0
    swapped: bool = False
    tokens_at: list[float] | None = None

    target: int = 0  # tokens to cache before it decodes

    @property
    def to_prefill(self) -> int:
        return max(0, self.target - self.cached)


class NaiveServer:
    """The rules of docs/serving.md, read again."""

    def __init__(self, requests: Requests, cost: StepCost, limits: Any, hooks: tuple[Callable[..., float], ...]):
        self.cost, self.limits = cost, limits
        self.order, self.admit, self.chunk, self.evict = hooks
        columns = zip(
            requests.arrival_s.tolist(),
            requests.prompt_tokens.tolist(),
            requests.output_tokens.tolist(),
            requests.predicted_output.tolist(),
            requests.ttft_slo_s.tolist(),
            requests.tpot_slo_s.tolist(),
            requests.priority.tolist(),
            strict=True,
        )
        self.jobs = [Job(k, *row, tokens_at=[], target=row[1]) for k, row in enumerate(columns)]
        self.token_time = max((cost.layers_s[-1] - cost.layers_s[-2]) / 64, 1e-12)
        self.now = self.debt = 0.0
        self.coming = list(self.jobs)
        self.waiting: list[Job] = []
        self.running: list[Job] = []  # in order of admission
        self.changed, self.pure_decodes, self.refusals = False, 0, 0
        self.most_blocks_used = 0

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.limits.block_tokens)

    def held(self, job: Job) -> int:
        return self.blocks(job.cached + job.to_prefill)

    def free(self) -> int:
        used = sum(self.held(job) for job in self.running)
        assert used <= self.limits.blocks
        self.most_blocks_used = max(self.most_blocks_used, used)
        return self.limits.blocks - used

    def decoding(self) -> list[Job]:
        return [job for job in self.running if job.to_prefill == 0]

    def prefilling(self) -> list[Job]:
        return [job for job in self.running if job.to_prefill > 0]

    def see(self, job: Job) -> Request:
        due = job.arrival + job.ttft
        if job.generated > 0:
            due += job.generated * job.tpot
        return Request(
            waiting=self.now - job.arrival,
            queued=self.now - job.queued,
            prompt=float(job.prompt),
            prefill_left=float(job.to_prefill),
            generated=float(job.generated),
            predicted_output=job.predicted,
            predicted_left=max(1.0, job.predicted - job.generated),
            held=float(self.held(job) * self.limits.block_tokens if job in self.running else 0),
            preemptions=float(job.preemptions),
            slack=min(due - self.now, 1e6),
            tpot_slo=min(job.tpot, 1e6),
            priority=float(job.priority),
        )

    def see_server(self) -> Server:
        decoding, prefilling, limits = self.decoding(), self.prefilling(), self.limits
        context = sum(job.cached for job in decoding)
        finished = [job for job in self.jobs if job.generated == job.output]
        return Server(
            now=self.now,
            waiting=float(len(self.waiting)),
            waiting_tokens=float(sum(job.to_prefill for job in self.waiting)),
            decoding=float(len(decoding)),
            prefilling=float(len(prefilling)),
            prefill_left=float(sum(job.to_prefill for job in prefilling)),
            context=float(context),
            free=float(self.free() * limits.block_tokens),
            capacity=float(limits.blocks * limits.block_tokens),
            decode_step=step_seconds(self.cost, 0, 0.0, len(decoding), float(context)),
            token_time=self.token_time,
            max_output=float(limits.max_output),
            mean_output=sum(job.output for job in finished) / len(finished) if finished else 256.0,
        )

    def see_memory(self, job: Job) -> Memory:
        together = [*self.running, job]
        lengths = sorted(
            ((math.ceil(max(1.0, j.predicted - j.generated)), j.cached + j.to_prefill) for j in together), reverse=True
        )
        peaks = [sum(held for _, held in lengths[: k + 1]) + (k + 1) * left for k, (left, _) in enumerate(lengths)]
        return Memory(
            needed=float(self.held(job) * self.limits.block_tokens),
            used_after=float(sum(held for _, held in lengths)),
            predicted_total=float(sum(left + held for left, held in lengths)),
            predicted_peak=float(max(peaks)),
            reserved=float(sum(j.prompt + self.limits.max_output for j in together)),
        )

    def run(self) -> tuple[list[float], list[float], list[float]]:
        while any(job.generated < job.output for job in self.jobs) and self.take_arrivals():
            if self.changed or self.pure_decodes >= self.limits.patience:
                self.changed, self.pure_decodes = False, 0
                if self.waiting and len(self.running) < self.limits.max_running and self.free() > 0:
                    self.look()
            if self.running:
                self.step()
            elif self.waiting:
                self.debt, self.changed = 0.0, True
                next_arrival = self.coming[0].arrival if self.coming else math.inf
                self.refusals += 1
                # later by a tick each time, up to 20
                wait = min(sum(self.limits.tick_s for _ in range(self.refusals)), 20 * self.limits.tick_s)
                self.now = min(self.now + wait, next_arrival)
            else:
                self.debt, self.now = 0.0, self.coming[0].arrival
        inf = math.inf
        return (
            [job.tokens_at[0] if job.tokens_at else inf for job in self.jobs],
            [job.tokens_at[-1] if job.generated == job.output else inf for job in self.jobs],
            [max((b - a for a, b in pairwise(job.tokens_at)), default=0.0) for job in self.jobs],
        )

    def take_arrivals(self) -> bool:
        """Queue what has come; False once it is too late to start anything."""
        while self.coming and self.coming[0].arrival <= self.now:
            job = self.coming.pop(0)
            job.queued, self.refusals = job.arrival, 0
            self.waiting.append(job)
            self.changed = True
        return self.now < self.limits.horizon_s

    def look(self) -> None:
        self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
        seen = self.see_server()
        ranked = sorted(self.waiting, key=lambda job: (self.order(self.see(job), seen), job.number))
        for job in ranked:
            if len(self.running) == self.limits.max_running:
                return
            verdict = self.admit(self.see(job), seen, self.see_memory(job))
            if verdict == 0:
                continue
            if verdict < 0 or self.held(job) > self.free():
                return
            self.waiting.remove(job)
            if job.swapped:
                self.debt += self.limits.swap_block_s * self.blocks(job.cached)
                job.swapped = False
            self.running.append(job)
            self.refusals = 0
            seen = self.see_server()

    def step(self) -> None:
        tokens, decode = 0, bool(self.decoding())
        if self.prefilling():
            share = self.chunk(self.see_server())
            tokens = int(abs(share))
            if tokens > 0:
                tokens = max(tokens, self.limits.block_tokens)
            tokens = min(tokens, self.limits.max_prefill, sum(job.to_prefill for job in self.prefilling()))
            decode = decode and (share > 0 or tokens == 0)
        if decode:
            self.make_room()
        decoding = self.decoding() if decode else []
        left = sum(job.to_prefill for job in self.prefilling())
        tokens = min(tokens, left)
        if not tokens and not decoding:
            tokens = min(self.limits.block_tokens, left)
        self.compute(tokens, decoding)

    def needed(self) -> int:
        return sum(1 for job in self.decoding() if job.cached % self.limits.block_tokens == 0)

    def make_room(self) -> None:
        while self.needed() > self.free() and len(self.running) > 1:
            seen = self.see_server()
            victim = max(self.running, key=lambda job: (self.evict(self.see(job), seen), job.number))
            self.running.remove(victim)
            victim.queued, victim.preemptions = self.now, victim.preemptions + 1
            if self.limits.swap_block_s < 0:
                victim.cached, victim.target = 0, victim.prompt + victim.generated
            elif victim.cached > 0:
                victim.swapped = True
                self.debt += self.limits.swap_block_s * self.blocks(victim.cached)
            self.waiting.append(victim)
            self.changed = True

    def compute(self, tokens: int, decoding: list[Job]) -> None:
        prefilling, context = self.prefilling(), sum(job.cached for job in decoding)
        pure = not prefilling
        pairs, budget, emitting = 0.0, tokens, []
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
            if job.generated == job.output:
                self.running.remove(job)
                self.changed = True
        self.free()
        if pure:
            self.pure_decodes += 1
        else:
            self.changed = True
