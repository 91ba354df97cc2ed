"""Requests that are all known beforehand, in an order of the planner's choice: BatchLLM's grouping by prefix.

One server of a cluster serves them first come, first served, with its prefix cache; the plan is the order in
which they come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems.serving._cluster.data import Cluster, on_hosts
from problems.serving._server.machine import Host, Limits
from problems.serving._server.requests import make_requests

MAX_RUNNING = Limits(blocks=1, horizon_s=0.0).max_running


class Questions(NamedTuple):
    """Documents, and as many questions about each, in order of document."""

    documents: int
    each: int
    shared: np.ndarray  # (n,) int64, tokens of the document
    prompt: np.ndarray  # (n,) int64, with the document
    output: np.ndarray  # (n,) int64


def draw_questions(documents: int, each: int, rng: np.random.Generator) -> Questions:
    """Log-normal lengths: medians of 2000 tokens for documents, 60 for questions, 100 for answers."""
    n = documents * each
    shared = np.repeat(np.clip(2000.0 * np.exp(0.5 * rng.standard_normal(documents)), 200, 12_000).round(), each)
    question = np.clip(60.0 * np.exp(0.5 * rng.standard_normal(n)), 4, 500).round()
    answer = np.clip(100.0 * np.exp(0.8 * rng.standard_normal(n)), 1, 1000).round()
    return Questions(documents, each, *(column.astype(np.int64) for column in (shared, shared + question, answer)))


def grouped_by_prefix(questions: Questions) -> np.ndarray:
    """(n,) order: group by group, those with more output per new prompt token first.

    The first of each group comes earlier by as many groups as a batch holds: its document is then in the cache
    before the others look for it.
    """
    each, groups = questions.each, questions.documents
    first = np.arange(groups) * each
    new = np.add.reduceat(questions.prompt - questions.shared, first) + questions.shared[first]
    by_ratio = np.argsort(-np.add.reduceat(questions.output, first) / new, kind="stable")
    ahead = min(MAX_RUNNING // each + 1, groups)
    order = [g * each for g in by_ratio[:ahead]]
    for k, group in enumerate(by_ratio):
        order += [g * each for g in by_ratio[k + ahead : k + ahead + 1]]
        order += range(group * each + 1, (group + 1) * each)
    return np.array(order, dtype=np.int64)


def in_order(questions: Questions, order: np.ndarray, host: Host) -> Cluster:
    """All at once on one server, which takes them in this order."""
    n = len(order)
    output = questions.output[order]
    requests = make_requests(
        np.zeros(n),
        questions.prompt[order],
        output,
        output,
        prefix=order // questions.each,
        prefix_tokens=questions.shared[order],
    )
    return on_hosts(requests, ((host, 1),), 36_000.0, cache_tokens=64)
