"""Prompts that share blocks: calls of sessions and workflows turned into paths through a tree, with hints.

A call continues a *thread* (a conversation, or one agent's part of a workflow) and may begin with a system
prompt that others share. What it repeats of either are the same nodes; the rest is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from problems.serving._eviction.data import NEVER_S, NONE, Prompts
from problems.serving._prefix.store import NOBODY
from problems.serving._server.requests import Requests


class Calls(NamedTuple):
    """n calls in order of arrival."""

    arrival_s: np.ndarray  # (n,) float64
    prompt_tokens: np.ndarray  # (n,) int64
    session: np.ndarray  # (n,) int64
    kind: np.ndarray  # (n,) int64, index of KINDS
    prefix: np.ndarray  # (n,) int64 system prompt, or NONE
    prefix_tokens: np.ndarray  # (n,) int64
    thread: np.ndarray  # (n,) int64, of one session and one system prompt
    thread_tokens: np.ndarray  # (n,) int64 leading tokens that repeat the thread's last prompt, or what followed it


class Predictor(NamedTuple):
    """How wrong hints are: a log-normal factor, and how often an end is missed or seen where there is none."""

    spread: np.ndarray  # (n,) by call, standard deviation of the logarithm of predicted over true time
    miss: np.ndarray  # (n,) by call, probability


class Teams(NamedTuple):
    """Workflows of agents that take turns, as in KVFlow [1]_: each has instructions of its own and a history.

    .. [1] Pan et al. (2025), "KVFlow: efficient prefix caching for accelerating LLM-based multi-agent
       workflows", arXiv:2507.07400.
    """

    types: int = 12  # kinds of workflow; which one a run is follows a Zipf law
    agents: int = 5
    rounds: tuple[int, int] = (2, 5)  # how often agents take turns, least and most
    instructions: tuple[float, float] = (3000.0, 0.4)  # tokens of an agent's prompt: median, spread
    added: tuple[float, float] = (700.0, 0.7)  # tokens of each further call
    pause_s: tuple[float, float] = (8.0, 0.6)  # from one call of a run to the next
    skips: float = 0.15  # probability that an agent is left out of a round


def calls_of(requests: Requests, kind: int) -> Calls:
    """Requests of the workloads as calls of one kind."""
    session = np.where(requests.session == NONE, np.arange(len(requests.session)), requests.session)
    _, thread = np.unique(np.stack([session, requests.prefix]), axis=1, return_inverse=True)
    return Calls(
        requests.arrival_s,
        requests.prompt_tokens,
        session,
        np.full(len(session), kind),
        requests.prefix,
        requests.prefix_tokens,
        thread.reshape(-1),
        requests.session_tokens,
    )


def team_calls(teams: Teams, count: int, rate_per_s: float, *, cv: float, rng: np.random.Generator) -> Calls:
    """The first ``count`` calls of workflows, ``rate_per_s`` calls a second; runs start at gamma gaps."""
    weight = np.arange(1, teams.types + 1, dtype=np.float64) ** -0.8
    instructions = np.rint(_log_normal(teams.instructions, teams.types * teams.agents, rng))
    calls_per_run = teams.agents * (1 - teams.skips) * sum(teams.rounds) / 2
    # runs that began before time 0 are there from the start
    warm_up_s = teams.agents * teams.rounds[1] * teams.pause_s[0] * 1.5
    runs = int(1.3 * (count / calls_per_run + warm_up_s * rate_per_s / calls_per_run)) + 20
    starts = np.cumsum(rng.gamma(cv**-2, cv**2 * calls_per_run / rate_per_s, runs)) - warm_up_s
    rows: list[tuple[float, ...]] = []
    for run, at_s in enumerate(starts):
        first = teams.agents * int(rng.choice(teams.types, p=weight / weight.sum()))
        lengths = instructions[first : first + teams.agents].copy()
        for _ in range(int(rng.integers(teams.rounds[0], teams.rounds[1] + 1))):
            for agent in np.flatnonzero(rng.random(teams.agents) >= teams.skips):
                prefix, before = first + int(agent), lengths[agent]
                lengths[agent] += max(float(np.rint(_log_normal(teams.added, 1, rng)[0])), 1.0)
                rows.append((at_s, lengths[agent], run, prefix, instructions[prefix], before))
                at_s += float(_log_normal(teams.pause_s, 1, rng)[0])
    table = np.array([row for row in rows if row[0] >= 0])
    table = table[np.argsort(table[:, 0], kind="stable")][:count]
    tokens, session, prefix, shared, before = (column.astype(np.int64) for column in table.T[1:])
    thread = session * teams.types * teams.agents + prefix
    return Calls(table[:, 0], tokens, session, np.full(len(table), 2), prefix, shared, thread, before)


def _log_normal(median_spread: tuple[float, float], count: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(median_spread[0] * np.exp(median_spread[1] * rng.standard_normal(count)))


def merged(streams: Sequence[Calls]) -> Calls:
    """Several streams at one server: nothing is shared between them."""
    renumbered = []
    sessions = prefixes = threads = 0
    for calls in streams:
        prefix = np.where(calls.prefix == NONE, NONE, calls.prefix + prefixes)
        renumbered.append(
            calls._replace(session=calls.session + sessions, prefix=prefix, thread=calls.thread + threads)
        )
        sessions += int(calls.session.max()) + 1
        prefixes += int(calls.prefix.max()) + 1
        threads += int(calls.thread.max()) + 1
    columns = [np.concatenate(column) for column in zip(*renumbered, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Calls(*(column[order] for column in columns))


class Tree:
    """Nodes, numbered as they come up."""

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.parent: list[int] = []
        self.prefixes: dict[int, list[int]] = {}
        self.threads: dict[int, list[int]] = {}

    def add(self, after: int) -> int:
        self.parent.append(after)
        return len(self.parent) - 1

    def grow(self, path: list[int], blocks: int) -> list[int]:
        """A path and new nodes behind it, so that it has so many."""
        path = list(path)
        while len(path) < blocks:
            path.append(self.add(path[-1] if path else NOBODY))
        return path

    def prefix(self, name: int, tokens: int) -> list[int]:
        """The full blocks of a system prompt."""
        blocks = tokens // self.block_tokens if name != NONE else 0
        self.prefixes[name] = self.grow(self.prefixes.get(name, []), blocks)
        return self.prefixes[name][:blocks]

    def path(self, calls: Calls, r: int) -> list[int]:
        """The blocks of call r; its thread ends there from now on."""
        size, thread = self.block_tokens, int(calls.thread[r])
        path = self.prefix(int(calls.prefix[r]), int(calls.prefix_tokens[r]))
        path = path + self.threads.get(thread, [])[len(path) : int(calls.thread_tokens[r]) // size]
        # the last token is always computed
        blocks = int(calls.prompt_tokens[r] - 1) // size
        self.threads[thread] = self.grow(path[:blocks], blocks)
        return self.threads[thread]


def prompts_of(calls: Calls, block_tokens: int, predictor: Predictor, rng: np.random.Generator) -> Prompts:
    """Paths and hints of calls.

    When a call is done, the thread it continues and all others of its session are announced: the time to the
    thread's next call is multiplied by the predictor's error. A thread that ends is announced as such.
    """
    tree, n = Tree(block_tokens), len(calls.arrival_s)
    following: dict[int, list[int]] = {}  # calls of each thread, last first
    members: dict[int, list[int]] = {}  # threads of each session
    for r in range(n - 1, -1, -1):
        following.setdefault(int(calls.thread[r]), []).append(r)
        if calls.thread[r] not in members.setdefault(int(calls.session[r]), []):
            members[int(calls.session[r])].append(int(calls.thread[r]))
    paths: list[list[int]] = []
    hints: list[list[tuple[int, float]]] = []
    for r in range(n):
        own = int(calls.thread[r])
        paths.append(tree.path(calls, r))
        following[own].pop()
        found: list[tuple[int, float]] = []
        for thread in members[int(calls.session[r])]:
            if not following[thread]:
                if thread == own and paths[r]:
                    found.append((paths[r][-1], np.inf))
                continue
            later = following[thread][-1]
            node = tree.threads.get(thread) or tree.prefix(int(calls.prefix[later]), int(calls.prefix_tokens[later]))
            if node:
                found.append((node[-1], float(calls.arrival_s[later] - calls.arrival_s[r])))
        hints.append(found)
    return _prompts(calls, tree, paths, _flat(hints, predictor, rng))


def _flat(
    hints: list[list[tuple[int, float]]], predictor: Predictor, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each call's hints start, their nodes, and the predicted times."""
    start = np.cumsum([0, *map(len, hints)])
    node = np.array([node for found in hints for node, _ in found], dtype=np.int64)
    true_s = np.array([seconds for found in hints for _, seconds in found], dtype=np.float64)
    known = true_s[np.isfinite(true_s)]
    owner = np.repeat(np.arange(len(hints)), np.diff(start))
    # one draw per aspect, whatever the size of the errors
    z, wrong, other = rng.standard_normal(len(node)), rng.random(len(node)), rng.random(len(node))
    substitute = np.sort(known)[(other * len(known)).astype(np.int64)] if len(known) else np.full(len(node), 60.0)
    missed = wrong < predictor.miss[owner]
    said_s = np.where(np.isfinite(true_s), np.where(missed, np.inf, true_s), np.where(missed, substitute, np.inf))
    said_s = np.minimum(said_s * np.exp(predictor.spread[owner] * z), NEVER_S)
    return start, node, said_s


def _prompts(calls: Calls, tree: Tree, paths: list[list[int]], hints: tuple[Any, Any, Any]) -> Prompts:
    _, session = np.unique(calls.session, return_inverse=True)
    return Prompts(
        calls.arrival_s,
        calls.prompt_tokens,
        session.reshape(-1),
        calls.kind,
        np.cumsum([0, *map(len, paths)]),
        np.array([node for path in paths for node in path], dtype=np.int64),
        *hints,
        np.array(tree.parent, dtype=np.int64),
    )
