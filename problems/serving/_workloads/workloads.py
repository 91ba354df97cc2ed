"""Seeded request streams, fitted to public traces of language model servers.

A workload is a point process of sessions, a mixture of lengths, and who asks with which promise. All
randomness comes from one seed, in a stream per aspect: another rate leaves the lengths as they are.
Fits and their agreement with the traces: docs/workloads.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from problems.registry import unknown
from problems.serving._server.requests import NONE, Requests, make_requests
from problems.serving._workloads import table as table
from problems.serving._workloads.arrivals import Arrivals, arrival_times
from problems.serving._workloads.mixtures import Mixture, log_normal
from problems.serving._workloads.predictors import predict
from problems.serving._workloads.sessions import (
    NOMINAL_TOKEN_S,
    Conversation,
    Rows,
    conversation_rows,
    workflow_rows,
)

WARM_UP_SESSIONS = 3.0  # mean durations of a session that pass before time 0


class Prefixes(NamedTuple):
    """System prompts that sessions share; which one a session has follows a Zipf law."""

    number: int
    tokens: Mixture  # length of each
    skew: float = 1.0  # exponent; 0: all alike


class Class(NamedTuple):
    """A class of service."""

    share: float
    ttft_slo_s: float
    tpot_slo_s: float


class Workload(NamedTuple):
    """What arrives at a server."""

    title: str
    arrivals: Arrivals  # of requests; sessions arrive that much more rarely
    lengths: Mixture  # (input, output) tokens of a session's first request, system prompt included
    conversation: Conversation | None = None
    steps: tuple[table.Step, ...] = ()  # instead of lengths: a workflow of calls
    prefixes: Prefixes | None = None
    tenants: int = 0  # 0: requests have no tenant
    tenant_skew: float = 1.0
    classes: tuple[Class, ...] = ()  # most urgent first; none: no promises
    context_tokens: int = 131_072

    @property
    def requests_per_session(self) -> float:
        """Expected number."""
        if self.steps:
            return sum(max(step.calls_per_query, 1.0) for step in self.steps)
        return self.conversation.mean_turns if self.conversation else 1.0

    @property
    def session_seconds(self) -> float:
        """Expected time from a session's first request to its last."""
        if self.steps:
            return sum(max(s.calls_per_query, 1.0) * s.output_tokens[1] * NOMINAL_TOKEN_S for s in self.steps)
        if self.conversation is None:
            return 0.0
        return self.conversation.mean_seconds((self.conversation.output or self.lengths).mean(-1))


WORKLOADS = {
    "azure-code": Workload(
        "Azure code completion, November 2023: long prompts, short answers, extreme bursts",
        Arrivals(1 / table.AZURE_CODE_GAPS.mean(), gaps=table.AZURE_CODE_GAPS),
        table.AZURE_CODE,
    ),
    "azure-conv": Workload(
        "Azure conversations, November 2023: near Poisson, slowly changing",
        # the rate swings by a factor of two over the traced hour
        Arrivals(5.9, cv=1.04, swing=0.3, period_s=3600.0),
        table.AZURE_CONV,
    ),
    "mooncake-conversation": Workload(
        "Mooncake conversations: long contexts, several turns, one shared system prompt",
        # requests of three seconds were stamped alike upstream; within the seconds nothing is known
        Arrivals(3.26),
        table.MOONCAKE_FIRST,
        Conversation(
            table.MOONCAKE_PAUSE, table.MOONCAKE_ADDED, goes_on=table.MOONCAKE_GOES_ON, output=table.MOONCAKE_LATER
        ),
        prefixes=Prefixes(1, log_normal(table.MOONCAKE_SYSTEM_TOKENS, 1e-9)),
    ),
    "arxiv-summaries": Workload("Summaries of arXiv papers, Poisson arrivals", Arrivals(1.0), table.ARXIV),
    "coding-agents": Workload(
        "Coding agents: dozens of calls with tools in between, one long system prompt",
        Arrivals(1.0),
        Mixture((1.0,), ((table.AGENT_FIRST_TOKENS, 182.0),), ((0.0228, 0.85),), (13_214, 1), (14_912, 8977)),
        Conversation(table.AGENT_TOOLS, table.AGENT_ADDED, turns=table.AGENT_TURNS, output=table.AGENT_OUTPUT),
        prefixes=Prefixes(1, log_normal(table.AGENT_SYSTEM_TOKENS, 1e-9)),
    ),
    "text-to-sql": Workload(
        "Text-to-SQL workflow: 11-28 calls per query in seven steps, each with its own system prompt",
        Arrivals(5.0),
        table.AZURE_CONV,
        steps=table.TEXT_TO_SQL,
    ),
    "tenants": Workload(
        "Conversations of 27 tenants with Zipf shares, 100 system prompts, two classes of service",
        Arrivals(5.9, cv=2.0, bursts_per_hour=6.0, burst_factor=3.0, burst_s=60.0),
        table.AZURE_CONV,
        Conversation(log_normal(60.0, 1.0), log_normal(80.0, 1.0), goes_on=(0.6,)),
        prefixes=Prefixes(100, log_normal(300.0, 1.0, low=16.0, high=4000.0)),
        tenants=27,
        classes=(Class(0.7, 1.0, 0.05), Class(0.3, 10.0, 0.2)),
        context_tokens=32_768,
    ),
}


def make_workload(
    workload: str | Workload,
    count: int,
    seed: int,
    *,
    predictor: tuple[str, float] = ("rank", 0.7),
    **arrivals: Any,
) -> Requests:
    """The first ``count`` requests of a workload.

    Parameters
    ----------
    workload : str or Workload
        A name of WORKLOADS, or one of your own.
    count, seed : int
        Number of requests (>= 1), and the seed that fixes all of them.
    predictor : tuple of str and float
        Kind and size of the error of ``predicted_output``, see _workloads_predictors.KINDS.
    arrivals
        Fields of Arrivals to replace: ``rate_per_s=8.0``, ``cv=4.0`` (which puts gamma gaps in place of
        fitted ones), ``burst_factor=...``.

    Raises
    ------
    ValueError
        If the workload is unknown or a number is impossible.
    """
    if isinstance(workload, str):
        if workload not in WORKLOADS:
            raise ValueError(unknown("workload", workload, WORKLOADS))
        workload = WORKLOADS[workload]
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if wrong := sorted(set(arrivals) - set(Arrivals._fields)):
        raise ValueError(unknown("field of arrivals", wrong[0], Arrivals._fields))
    if "cv" in arrivals:
        arrivals = {"gaps": None, **arrivals}
    process = workload.arrivals._replace(**arrivals)
    rows = _first(_rows(workload, process, count, seed), count)
    return _requests(workload, rows, seed, predictor)


def _stream(seed: int, aspect: int) -> np.random.Generator:
    return np.random.default_rng([seed, aspect])


def _rows(workload: Workload, process: Arrivals, count: int, seed: int) -> Rows:
    """Requests from time 0 on, at least ``count`` of them, of sessions that started then or some time before.

    Without sessions from before, the first minutes would lack their later turns, and with them load.
    """
    if workload.requests_per_session == 1:
        return _singles(workload, arrival_times(process, count, _stream(seed, 0)), _stream(seed, 1))
    process = process._replace(rate_per_s=process.rate_per_s / workload.requests_per_session)
    warm_up = WARM_UP_SESSIONS * workload.session_seconds
    sessions = int(1.2 * (count / workload.requests_per_session + warm_up * process.rate_per_s)) + 20
    while True:
        starts = arrival_times(process, sessions, _stream(seed, 0)) - warm_up
        rng = _stream(seed, 1)
        if workload.steps:
            rows = workflow_rows(workload.steps, starts, rng)
        else:
            assert workload.conversation is not None
            rows = conversation_rows(workload.conversation, workload.lengths, starts, workload.context_tokens, rng)
        rows = Rows(*(column[rows.arrival_s >= 0] for column in rows))
        # complete only up to the start of the last session
        if np.count_nonzero(rows.arrival_s <= starts[-1]) >= count:
            return rows
        sessions *= 2


def _singles(workload: Workload, starts: np.ndarray, rng: np.random.Generator) -> Rows:
    lengths = np.maximum(np.rint(workload.lengths.sample(len(starts), rng)), 1)
    prompt = np.maximum(np.minimum(lengths[:, 0], workload.context_tokens - lengths[:, 1]), 1)
    nothing = np.zeros(len(starts))
    return Rows(starts, prompt, lengths[:, 1], nothing + NONE, nothing, nothing + NONE, nothing)


def _first(rows: Rows, count: int) -> Rows:
    """The earliest ``count`` rows in order of arrival."""
    order = np.argsort(rows.arrival_s, kind="stable")[:count]
    return Rows(*(column[order] for column in rows))


def _requests(workload: Workload, rows: Rows, seed: int, predictor: tuple[str, float]) -> Requests:
    # who asks is drawn per session, or per request where there are no sessions
    who = np.where(rows.session == NONE, np.arange(len(rows.session)), rows.session).astype(np.int64)
    others: dict[str, Any] = {"session": rows.session, "session_tokens": rows.session_tokens}
    others |= {"prefix": rows.prefix, "prefix_tokens": rows.prefix_tokens}
    if workload.prefixes:
        rng = _stream(seed, 2)
        prefixes = workload.prefixes
        length = np.rint(prefixes.tokens.sample(prefixes.number, rng)[:, 0])
        chosen = _zipf(prefixes.number, prefixes.skew, int(who.max()) + 1, rng)[who]
        shared = np.minimum(length[chosen], rows.prompt_tokens)
        others |= {"prefix": chosen, "prefix_tokens": shared}
        others["session_tokens"] = np.maximum(rows.session_tokens, shared)
    if workload.tenants:
        others["tenant"] = _zipf(workload.tenants, workload.tenant_skew, int(who.max()) + 1, _stream(seed, 3))[who]
    if workload.classes:
        share = np.array([c.share for c in workload.classes])
        chosen = _stream(seed, 4).choice(len(share), size=int(who.max()) + 1, p=share / share.sum())[who]
        others["priority"] = chosen
        others["ttft_slo_s"] = np.array([c.ttft_slo_s for c in workload.classes])[chosen]
        others["tpot_slo_s"] = np.array([c.tpot_slo_s for c in workload.classes])[chosen]
    predicted = predict(rows.output_tokens, *predictor, _stream(seed, 5))
    return make_requests(rows.arrival_s, rows.prompt_tokens, rows.output_tokens, predicted, **others)


def _zipf(count: int, skew: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number,) draws of 0..count-1, i with weight (i + 1) ** -skew."""
    weight = np.arange(1, count + 1, dtype=np.float64) ** -skew
    return rng.choice(count, size=number, p=weight / weight.sum())
