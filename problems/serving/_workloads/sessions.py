"""Conversations, agents and workflows: requests of one session follow and repeat one another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems.serving._server.requests import NONE
from problems.serving._workloads.mixtures import Mixture
from problems.serving._workloads.table import Step

MOST_TURNS = 500
# An arrival is fixed before anything is simulated: the next turn starts after an answer of nominal speed.
NOMINAL_TOKEN_S = 0.03


class Conversation(NamedTuple):
    """How a session goes on after its first request."""

    pause: Mixture  # seconds from the end of an answer to the next request: a person thinks, a tool runs
    added: Mixture  # tokens of the next prompt beyond the last prompt and its answer
    goes_on: tuple[float, ...] = ()  # probability of another turn after turn 1, 2, ...; the last holds for the rest
    turns: tuple[float, float] = (0.0, 0.0)  # instead: median and spread of a log-normal number of turns
    output: Mixture | None = None  # of later turns; None: as of first ones

    def sample_turns(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count,) int64 number of requests of each session, >= 1."""
        if self.turns[0] > 0:
            drawn = np.exp(np.log(self.turns[0]) + self.turns[1] * rng.standard_normal(count))
            return np.clip(np.rint(drawn), 1, MOST_TURNS).astype(np.int64)
        turns = np.ones(count, dtype=np.int64)
        going = np.ones(count, dtype=bool)
        for turn in range(1, MOST_TURNS):
            going &= rng.random(count) < self.goes_on[min(turn, len(self.goes_on)) - 1]
            turns += going
        return turns

    @property
    def mean_turns(self) -> float:
        """Expected number of requests of a session."""
        if self.turns[0] > 0:
            return float(self.turns[0] * np.exp(self.turns[1] ** 2 / 2))
        *early, rest = self.goes_on
        reached = np.cumprod([1.0, *early])
        return float(reached[:-1].sum() + reached[-1] / (1 - rest))

    def mean_seconds(self, output_tokens: float) -> float:
        """Expected time from a session's first request to its last, for answers of this mean length."""
        return (self.mean_turns - 1) * (self.pause.mean() + output_tokens * NOMINAL_TOKEN_S)


class Rows(NamedTuple):
    """Requests as columns, not yet in order of arrival."""

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    session: np.ndarray
    session_tokens: np.ndarray
    prefix: np.ndarray  # NONE where the workload's own system prompts apply
    prefix_tokens: np.ndarray


def conversation_rows(
    conversation: Conversation, lengths: Mixture, starts: np.ndarray, context_tokens: int, rng: np.random.Generator
) -> Rows:
    """All turns of the sessions that start at ``starts``; a session ends where its context is full."""
    count = len(starts)
    turns = conversation.sample_turns(count, rng)
    first = np.maximum(np.rint(lengths.sample(count, rng)), 1)
    arrival, prompt, output = starts, first[:, 0], first[:, 1]
    session, repeated = np.arange(count), np.zeros(count)
    parts: list[tuple[np.ndarray, ...]] = []
    for turn in range(1, MOST_TURNS + 1):
        fits = prompt + output <= context_tokens
        if turn == 1:
            prompt = np.where(fits, prompt, np.maximum(context_tokens - output, 1))
            fits[:] = True
        arrival, prompt, output, session, repeated = (x[fits] for x in (arrival, prompt, output, session, repeated))
        parts.append((arrival, prompt, output, session, repeated))
        more = turns[session] > turn
        arrival, prompt, output, session = (x[more] for x in (arrival, prompt, output, session))
        if not len(session):
            break
        arrival = arrival + output * NOMINAL_TOKEN_S + conversation.pause.sample(len(session), rng)[:, 0]
        repeated = prompt + output
        prompt = repeated + np.maximum(np.rint(conversation.added.sample(len(session), rng)[:, 0]), 1)
        later = conversation.output or lengths
        output = np.maximum(np.rint(later.sample(len(session), rng)[:, -1]), 1)
    arrival, prompt, output, session, repeated = (np.concatenate(column) for column in zip(*parts, strict=True))
    nothing = np.zeros(len(arrival))
    return Rows(arrival, prompt, output, session, repeated, nothing + NONE, nothing)


def workflow_rows(steps: tuple[Step, ...], starts: np.ndarray, rng: np.random.Generator) -> Rows:
    """Queries of a fixed workflow: calls of each step in order, with the step's own system prompt."""
    parts: list[tuple[np.ndarray, ...]] = []
    ready = starts
    for number, step in enumerate(steps):
        # at least one call of each step; the rest is Poisson
        calls = 1 + rng.poisson(max(step.calls_per_query - 1, 0), len(starts))
        for call in range(int(calls.max(initial=0))):
            session = np.flatnonzero(calls > call)
            prompt, output = (
                np.maximum(np.rint(between(quantiles, len(session), rng)), 1)
                for quantiles in (step.input_tokens, step.output_tokens)
            )
            shared = np.minimum(np.rint(0.9 * step.input_tokens[0]), prompt)
            parts.append((ready[session], prompt, output, session, shared, np.full(len(session), number), shared))
            ready = ready.copy()
            ready[session] += output * NOMINAL_TOKEN_S
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def between(quantiles: tuple[float, float, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Log-normal halves around the median, through the 10 % and 90 % quantiles."""
    low, middle, high = np.log(quantiles)
    z = rng.standard_normal(count) / 1.2816
    return np.asarray(np.exp(middle + np.where(z < 0, middle - low, high - middle) * z))
