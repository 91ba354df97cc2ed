"""One GPU whose SMs are divided between prefill and decode, for claims: plain Python, no part of the problem's engine.

Both phases run at the same time and share weights, KV cache and bandwidth; how fast each is follows from
problems/_hardware/sharing.py. Prompts are prefilled first come, first served, in whole, up to 2048 tokens a step. A
phase that runs alone has the whole GPU. Room is kept for the whole output, so that nothing is preempted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._hardware.sharing import DECODE_SATURATION, PREFILL_SATURATION, Split, split_seconds
from problems._hardware.step_cost import StepCost, step_cost, step_seconds, tabulated
from problems.serving._server.machine import Host, blocks_on
from problems.serving._server.requests import Requests

STEP_TOKENS = 2048
SHARES = tuple(k / 20 for k in range(2, 19))  # of the SMs, for decode
WINDOW_S = 1.0  # semi-PD moves its share this often,
STRIDE = 0.05  # by so much


class Served(NamedTuple):
    """What became of each request."""

    first_token_s: np.ndarray  # (n,) float64
    finish_s: np.ndarray  # (n,) float64


class Seen(NamedTuple):
    """What a rule for the share knows."""

    now_s: float
    share: float  # of the SMs that decode has
    prefill_s: float  # the steps under way, alone on the whole GPU; 0: none
    decode_s: float
    prefill_memory: float
    late_first: float  # share of first tokens that came late since the last time that the share changed
    late_step: float  # share of decode steps that were longer than promised


Rule = Callable[[Seen], float]


def halves(seen: Seen) -> float:
    """A share that stays."""
    return 0.5


def feedback() -> Rule:
    """semi-PD: every second the share moves a step toward the phase whose promises are broken more often."""
    due = [WINDOW_S]

    def rule(seen: Seen) -> float:
        if seen.now_s < due[0] or seen.late_first == seen.late_step:
            return seen.share
        due[0] = seen.now_s + WINDOW_S
        move = STRIDE if seen.late_step > seen.late_first else -STRIDE
        return min(max(seen.share + move, SHARES[0]), SHARES[-1])

    return rule


def greedy(step_s: float) -> Rule:
    """Nexus: at each step the least share at which decode steps are predicted to keep a time, contention included."""

    def rule(seen: Seen) -> float:
        if seen.decode_s == 0.0 or seen.prefill_s == 0.0:
            return seen.share
        fitting = (s for s in SHARES if _durations(seen, s).decode_s <= step_s)
        return next(fitting, SHARES[-1])

    return rule


def _durations(seen: Seen, share: float) -> Split:
    """Of the steps under way, at a share; alone each has the whole GPU."""
    if seen.prefill_s == 0.0 or seen.decode_s == 0.0:
        return Split(seen.prefill_s, seen.decode_s)
    return split_seconds(
        seen.prefill_s, seen.decode_s, share, seen.prefill_memory, PREFILL_SATURATION, DECODE_SATURATION
    )


class _Gpu:
    """The state of a simulation."""

    def __init__(self, requests: Requests, host: Host, step_s: float):
        n = len(requests.arrival_s)
        self.requests, self.step_s = requests, step_s
        self.cost: StepCost = step_cost(host.device, host.model, host.tp, engine=host.engine)
        self.free = 16 * blocks_on(host)
        self.now_s, self.come, self.share = 0.0, 0, 0.5
        self.waiting: list[int] = []
        self.prompts: list[int] = []  # of the step under way
        self.decoding: list[int] = []
        self.joining: list[int] = []
        self.batch: list[int] = []  # of the step under way
        self.generated = np.zeros(n, dtype=np.int64)
        self.prefill_left = self.decode_left = 0.0  # parts of the steps under way
        self.prefill_s = self.decode_s = self.memory = self.step_began_s = 0.0
        self.firsts, self.steps = [0, 0], [0, 0]  # all, late
        self.served = Served(np.full(n, np.inf), np.full(n, np.inf))

    def seen(self) -> Seen:
        late = [part / max(whole, 1) for whole, part in (self.firsts, self.steps)]
        return Seen(self.now_s, self.share, self.prefill_s, self.decode_s, self.memory, *late)

    def start(self) -> None:
        """Begin steps where a phase has none under way."""
        requests = self.requests
        while self.come < len(requests.arrival_s) and requests.arrival_s[self.come] <= self.now_s:
            self.waiting.append(self.come)
            self.come += 1
        if not self.prompts and self.waiting:
            tokens, pairs = 0, 0.0
            while self.waiting:
                r = self.waiting[0]
                length = int(requests.prompt_tokens[r])
                needed = length + int(requests.output_tokens[r])
                if needed > self.free or (tokens > 0 and tokens + length > STEP_TOKENS):
                    break
                self.free -= needed
                tokens, pairs = tokens + length, pairs + 0.5 * length**2
                self.prompts.append(self.waiting.pop(0))
            if self.prompts:
                self.prefill_s, self.prefill_left = step_seconds(self.cost, tokens, pairs, 0, 0.0), 1.0
                self.memory = min(1.0, tabulated(self.cost.layers_s, 1) / self.prefill_s)
        if not self.batch and (self.decoding or self.joining):
            self.decoding += self.joining
            self.joining, self.batch = [], list(self.decoding)
            context = float(np.sum(requests.prompt_tokens[self.batch] + self.generated[self.batch] - 1))
            self.decode_s, self.decode_left = step_seconds(self.cost, 0, 0.0, len(self.batch), context), 1.0
            self.step_began_s = self.now_s

    def advance(self, rule: Rule) -> bool:
        """Run until a step ends or somebody arrives; False when all is done."""
        self.start()
        changed = rule(self.seen())
        if changed != self.share:
            self.share, self.firsts, self.steps = changed, [0, 0], [0, 0]
        run = _durations(self.seen(), self.share)
        ends = [np.inf, np.inf, np.inf]
        if self.prompts:
            ends[0] = self.prefill_left * run.prefill_s
        if self.batch:
            ends[1] = self.decode_left * run.decode_s
        if self.come < len(self.requests.arrival_s):
            ends[2] = float(self.requests.arrival_s[self.come]) - self.now_s
        passed_s = min(ends)
        if passed_s == np.inf:
            return False
        self.now_s += passed_s
        if ends[0] == passed_s:
            self.end_prefill()
        elif self.prompts:
            self.prefill_left -= passed_s / run.prefill_s
        if ends[1] == passed_s:
            self.end_decode()
        elif self.batch:
            self.decode_left -= passed_s / run.decode_s
        if ends[2] == passed_s:
            self.now_s = float(self.requests.arrival_s[self.come])
        return True

    def end_prefill(self) -> None:
        for r in self.prompts:
            self.served.first_token_s[r] = self.now_s
            self.firsts[0] += 1
            self.firsts[1] += bool(self.now_s - self.requests.arrival_s[r] > self.requests.ttft_slo_s[r])
            self.put_out(r)
            if self.served.finish_s[r] == np.inf:
                self.joining.append(r)
        self.prompts, self.prefill_s = [], 0.0

    def end_decode(self) -> None:
        self.steps[0] += 1
        self.steps[1] += self.now_s - self.step_began_s > self.step_s
        for r in self.batch:
            self.put_out(r)
        self.decoding = [r for r in self.batch if self.served.finish_s[r] == np.inf]
        self.batch, self.decode_s = [], 0.0

    def put_out(self, r: int) -> None:
        self.generated[r] += 1
        if self.generated[r] == self.requests.output_tokens[r]:
            self.served.finish_s[r] = self.now_s
            self.free += int(self.requests.prompt_tokens[r] + self.requests.output_tokens[r])


def serve_split(requests: Requests, host: Host, rule: Rule, step_s: float) -> Served:
    """Serve requests on one divided GPU; a decode step should take no longer than step_s."""
    gpu = _Gpu(requests, host, step_s)
    while gpu.advance(rule):
        pass
    return gpu.served
