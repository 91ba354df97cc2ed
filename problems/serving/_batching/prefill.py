"""Ways to prefill that hooks cannot express, replayed step by step: layer groups, and captured graphs.

Plain replays without a limit on memory, for claims alone: no hook decides here. The step costs are those of the
engine. Time in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from problems._hardware import models
from problems._hardware.devices import engine
from problems._hardware.roofline import activated_experts
from problems._hardware.step_cost import StepCost, layered_step_seconds, step_cost, step_seconds
from problems.serving._workloads.table import ARXIV

CHUNK = 512


class Stream(NamedTuple):
    """Requests in order of arrival."""

    arrival_s: np.ndarray  # (n,) float64
    prompt: np.ndarray  # (n,) int64
    output: np.ndarray  # (n,) int64


class Replay(NamedTuple):
    """What became of a stream."""

    first_s: np.ndarray  # (n,) float64, when each first token came
    finish_s: np.ndarray  # (n,) float64
    expert_reads: float  # experts read, all layers and steps


class _Piece(NamedTuple):
    """Part of the prompt in progress: first come, first served, one prompt at a time."""

    request: int
    length: int  # of the prompt
    number: int  # of pieces before it
    pieces: int  # of the prompt, a step each


def _with_piece(
    cost: StepCost, reached: np.ndarray, piece: _Piece, batch: tuple[int, float], *, layered: bool
) -> tuple[float, float]:
    """Seconds of a step that decodes a batch (sequences, context) beside a piece, and the experts it reads."""
    b, context = batch
    if layered:
        share, length = 1.0 / piece.pieces, piece.length
        seconds = layered_step_seconds(cost, piece.pieces, length, length * length / 2.0, b, context)
        return seconds, float(reached[length + b] * share + reached[b] * (1.0 - share))
    done = piece.number * CHUNK
    tokens = min(CHUNK, piece.length - done)
    return step_seconds(cost, tokens, tokens * (done + tokens / 2.0), b, context), float(reached[tokens + b])


def prefill_beside_decoding(cost: StepCost, model: str, stream: Stream, *, layered: bool) -> Replay:
    """Each step decodes all and prefills a piece of one prompt: a chunk, or all of it in a group of layers.

    A prompt takes as many steps either way: one for each 512 tokens.
    """
    of, n = models.model(model), len(stream.prompt)
    reached = activated_experts(of, np.arange(int(stream.prompt.max()) + n + 1)) * of.expert_layers
    first_s, finish_s, context = np.zeros(n), np.zeros(n), np.zeros(n)
    left, decoding, now, taken, reads = stream.output.copy(), list[int](), 0.0, 0, 0.0
    piece: _Piece | None = None
    while taken < n or decoding or piece:
        if piece is None and taken < n and (stream.arrival_s[taken] <= now or not decoding):
            now, length = max(now, float(stream.arrival_s[taken])), int(stream.prompt[taken])
            piece = _Piece(taken, length, 0, math.ceil(length / CHUNK))
            taken += 1
        b, held = len(decoding), float(context[decoding].sum())
        if piece is None:
            seconds, experts = step_seconds(cost, 0, 0.0, b, held), float(reached[b])
        else:
            seconds, experts = _with_piece(cost, reached, piece, (b, held), layered=layered)
        now, reads = now + seconds, reads + experts
        if piece is not None:
            piece = piece._replace(number=piece.number + 1)
        begun = [piece.request] if piece is not None and piece.number == piece.pieces else []
        context[decoding] += 1
        for r in begun:
            first_s[r], context[r], piece = now, stream.prompt[r], None
        left[decoding + begun] -= 1
        finish_s[[r for r in decoding + begun if left[r] == 0]] = now
        decoding = [r for r in decoding + begun if left[r] > 0]
    return Replay(first_s, finish_s, reads)


_EXPERTS = ("H100", "Qwen3-30B-A3B", 2)


def _summaries(rate_per_s: float, count: int = 200) -> Stream:
    """Papers to summarise, with the lengths of arXiv's."""
    rng = np.random.default_rng(20251009)
    lengths = np.rint(ARXIV.sample(count, rng)).astype(np.int64)
    return Stream(np.cumsum(rng.exponential(1.0, count)) / rate_per_s, lengths[:, 0], np.maximum(lengths[:, 1], 2))


def layered_and_chunked(load: float = 0.8) -> tuple[Stream, Replay, Replay]:
    """A stream at a share of what chunks sustain, with layer groups and with chunks."""
    device, model, tp = _EXPERTS
    cost = step_cost(device, model, tp)
    at_once = prefill_beside_decoding(cost, model, _summaries(1e6), layered=False)
    stream = _summaries(load * len(at_once.finish_s) / float(at_once.finish_s.max()))
    layered, chunked = (prefill_beside_decoding(cost, model, stream, layered=kind) for kind in (True, False))
    return stream, layered, chunked


def expert_traffic() -> float:
    """Experts read with chunks over those with layer groups."""
    _, layered, chunked = layered_and_chunked()
    return chunked.expert_reads / layered.expert_reads


def layered_ttft() -> float:
    """Mean time to first token with chunks over that with layer groups."""
    stream, layered, chunked = layered_and_chunked()
    return float(np.mean(chunked.first_s - stream.arrival_s) / np.mean(layered.first_s - stream.arrival_s))


# LAPS: prompts alone, as on the prefill side of a split fleet; short ones in captured graphs.
SHORT = 256  # tokens of a prompt up to which there are graphs,
LENGTHS = (8, 16, 32, 64, 128, 256)  # for these lengths
LARGEST_BATCH = 64  # and up to so many prompts
BUDGET = 8192  # prompt tokens of a step without graphs
_EAGER_LAUNCH_S = engine("vllm-2023-h100").launch_per_layer_s


def _eager_s(cost: StepCost, layers: int, prompts: np.ndarray) -> float:
    pairs = float((prompts.astype(np.float64) ** 2).sum() / 2.0)
    return max(step_seconds(cost, int(prompts.sum()), pairs, 0, 0.0), layers * _EAGER_LAUNCH_S)


def bucket(tokens: int) -> int:
    """Length of the graph for a short prompt."""
    return next(length for length in LENGTHS if length >= tokens)


def graph_s(cost: StepCost, length: int, prompts: int) -> float:
    """A step of short prompts in the graph of this length and of the next power of two of prompts."""
    batch = 1 << (prompts - 1).bit_length()
    return step_seconds(cost, batch * length, batch * length * length / 2.0, 0, 0.0)


def _serve(arrival_s: np.ndarray, take: Callable[[list[int]], tuple[list[int], float]]) -> np.ndarray:
    """(n,) times from arrival to end; ``take`` chooses the next batch of those who wait, and says how long it takes."""
    n, now, arrived = len(arrival_s), 0.0, 0
    ended_s, waiting = np.zeros(n), list[int]()
    while arrived < n or waiting:
        if not waiting:
            now = max(now, float(arrival_s[arrived]))
        while arrived < n and arrival_s[arrived] <= now:
            waiting.append(arrived)
            arrived += 1
        batch, seconds = take(waiting)
        now += seconds
        ended_s[batch] = now
        chosen = set(batch)
        waiting = [r for r in waiting if r not in chosen]
    return ended_s - arrival_s


def prompts_by_length(load: float = 0.7, count: int = 4000) -> float:
    """Mean prefill latency first come, first served, over that with two queues and graphs.

    Four of five prompts are short (median 90 tokens), the others have a median of 2000. The load is a share of what
    full batches of the mixture allow.
    """
    host, rng = ("H100", "Qwen2.5-32B"), np.random.default_rng(20260104)
    cost, layers = step_cost(*host), models.model(host[1]).layers
    short = rng.random(count) < 0.8
    medians = np.where(short, 90.0, 2000.0)
    drawn = np.rint(medians * np.exp(0.6 * rng.standard_normal(count))).astype(np.int64)
    prompt = np.clip(drawn, np.where(short, 4, SHORT + 1), np.where(short, SHORT, BUDGET))

    def in_order(waiting: list[int]) -> tuple[list[int], float]:
        last = max(1, int(np.searchsorted(np.cumsum(prompt[waiting]), BUDGET, side="right")))
        return waiting[:last], _eager_s(cost, layers, prompt[waiting[:last]])

    turn = [True]  # the two queues alternate, so that short prompts gather while a long one is computed

    def by_length(waiting: list[int]) -> tuple[list[int], float]:
        queues = {kind: [r for r in waiting if (prompt[r] <= SHORT) == kind] for kind in (True, False)}
        now_short = turn[0] if queues[True] and queues[False] else bool(queues[True])
        turn[0] = not now_short
        if now_short:
            length = bucket(prompt[queues[True][0]])
            batch = [r for r in queues[True] if bucket(prompt[r]) == length][:LARGEST_BATCH]
            return batch, graph_s(cost, length, len(batch))
        return in_order(queues[False])

    queue, full_s = deque(range(count)), 0.0
    while queue:
        batch, seconds = in_order(list(queue)[:BUDGET])
        full_s += seconds
        for _ in batch:
            queue.popleft()
    arrival_s = np.cumsum(rng.exponential(1.0, count)) * full_s / count / load
    return float(_serve(arrival_s, in_order).mean() / _serve(arrival_s, by_length).mean())
