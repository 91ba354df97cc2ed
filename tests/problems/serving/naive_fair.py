"""Fair sharing in plain Python: continuous batching as in naive_batching.py, with counters and kept prefixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naive_batching import Job, NaiveServer

from problems._hardware.step_cost import StepCost
from problems.serving._fair.views import Client, Prefix, Service
from problems.serving._server.requests import Requests


class NaiveFair(NaiveServer):
    """The rules of docs/serving.md on fair sharing, read again."""

    def __init__(self, requests: Requests, cost: StepCost, limits: Any, hooks: tuple[Callable[..., float], ...]):
        self.rank, self.charge, self.lift = hooks
        super().__init__(
            requests,
            cost,
            limits,
            (self.rank, self.rank, lambda s: max(2048.0 - s.decoding, 1.0), lambda r, s: -r.waiting),
        )
        self.client = requests.tenant.tolist()
        self.prefix = list(zip(requests.prefix.tolist(), requests.prefix_tokens.tolist(), strict=True))
        self.counter = [0.0] * (max(self.client) + 1)
        self.least = 0.0
        self.known: list[Job] = []  # waiting at the last look, or come since
        self.ran: dict[int, int] = {}  # running after the last look: output by then
        self.running_of = [0] * len(self.counter)
        self.kept: dict[int, int] = {}  # prefix to tokens, the one used last at the end

    def see_client(self, c: int) -> Client:
        waiting = [self.client[job.number] for job in self.known]
        if waiting:
            self.least = min(self.counter[other] for other in waiting)
        return Client(
            counter=self.counter[c],
            least=self.least,
            waiting=float(waiting.count(c)),
            running=float(self.running_of[c]),
            clients=float(len(set(waiting))),
        )

    def cached(self, job: Job) -> int:
        p, tokens = self.prefix[job.number]
        return min(self.kept.get(p, 0), tokens, job.prompt - 1)

    def keep(self, job: Job) -> None:
        p, tokens = self.prefix[job.number]
        if p < 0 or tokens > self.limits.pool:
            return
        self.kept[p] = max(tokens, self.kept.pop(p, 0))
        while sum(self.kept.values()) > self.limits.pool:
            del self.kept[next(iter(self.kept))]

    def pay(self, c: int, service: Service) -> None:
        self.counter[c] += self.charge(service, self.see_client(c))
        self.see_client(c)

    def settle(self) -> None:
        new = [job for job in self.waiting if job.preemptions == 0 and job not in self.known]
        for job in sorted(new, key=lambda job: job.number):
            c = self.client[job.number]
            if all(self.client[other.number] != c for other in self.known):
                self.counter[c] = self.lift(self.see_client(c))
            self.known.append(job)
            self.see_client(c)
        output = [0] * len(self.counter)
        for number, before in self.ran.items():
            output[self.client[number]] += self.jobs[number].generated - before
        for c, tokens in enumerate(output):
            if tokens:
                self.pay(c, Service(0.0, 0.0, float(tokens)))

    def look(self) -> None:
        self.settle()
        self.known = list(self.waiting)
        self.see_client(0)
        self.debt += self.limits.decision_s + self.limits.candidate_s * len(self.waiting)
        while self.waiting and len(self.running) < self.limits.max_running:
            score = {
                job.number: self.rank(
                    self.see(job),
                    self.see_client(self.client[job.number]),
                    Prefix(float(self.prefix[job.number][1]), float(self.cached(job))),
                )
                for job in self.waiting
            }
            job = min(self.waiting, key=lambda job: (score[job.number], job.number))
            if self.held(job) > self.free():
                break
            self.waiting.remove(job)
            self.known.remove(job)
            self.running.append(job)
            self.refusals = 0
            job.cached = self.cached(job)
            self.keep(job)
            if job.preemptions == 0:
                service = Service(float(job.prompt - job.cached), float(job.cached), 0.0)
                self.pay(self.client[job.number], service)
        self.ran = {job.number: job.generated for job in self.running}
        self.running_of = [sum(1 for n in self.ran if self.client[n] == c) for c in range(len(self.counter))]
