"""Replays of layer groups and of captured graphs, and the offline order by prefix, against cases solved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from problems._hardware.models import model
from problems._hardware.step_cost import layered_step_seconds, step_cost, step_seconds
from problems.serving._batching.prefill import Stream, bucket, graph_s, prefill_beside_decoding
from problems.serving._routing.offline import MAX_RUNNING, draw_questions, grouped_by_prefix, in_order
from problems.serving._server.machine import Host

NAME = "Qwen3-30B-A3B"
COST = step_cost("H100", NAME, 2)


def stream(*requests: tuple[float, int, int]) -> Stream:
    arrival, prompt, output = zip(*requests, strict=True)
    return Stream(np.array(arrival), np.array(prompt), np.array(output))


def test_a_prompt_of_1000_tokens_alone_takes_two_chunks_and_two_decode_steps() -> None:
    found = prefill_beside_decoding(COST, NAME, stream((0.5, 1000, 3)), layered=False)
    first = 0.5 + step_seconds(COST, 512, 512 * 256.0, 0, 0.0) + step_seconds(COST, 488, 488 * (512 + 244.0), 0, 0.0)
    assert found.first_s[0] == pytest.approx(first)
    last = first + step_seconds(COST, 0, 0.0, 1, 1000.0) + step_seconds(COST, 0, 0.0, 1, 1001.0)
    assert found.finish_s[0] == pytest.approx(last)
    # 48 layers; 512 tokens reach all 128 experts but for a fraction, one token reaches 8
    assert found.expert_reads == pytest.approx(48 * (2 * 128 + 2 * 8), rel=1e-6)


def test_in_layer_groups_the_same_prompt_reads_its_experts_once() -> None:
    found = prefill_beside_decoding(COST, NAME, stream((0.5, 1000, 3)), layered=True)
    assert found.first_s[0] == pytest.approx(0.5 + 2 * layered_step_seconds(COST, 2, 1000, 5e5, 0, 0.0))
    assert found.expert_reads == pytest.approx(48 * (128 + 2 * 8), rel=1e-6)


def test_a_prompt_of_one_chunk_is_the_same_either_way() -> None:
    requests = stream(*((0.01 * k, 300 + k, 20) for k in range(30)))
    layered, chunked = (prefill_beside_decoding(COST, NAME, requests, layered=kind) for kind in (True, False))
    assert layered.first_s == pytest.approx(chunked.first_s)
    assert layered.finish_s == pytest.approx(chunked.finish_s)
    assert layered.expert_reads == pytest.approx(chunked.expert_reads)
    assert (layered.first_s >= requests.arrival_s).all()
    assert (layered.finish_s > layered.first_s).all()
    assert model(NAME).expert_layers == 48


def test_graphs_pad_to_the_next_length_and_power_of_two() -> None:
    assert [bucket(tokens) for tokens in (1, 8, 9, 200, 256)] == [8, 8, 16, 256, 256]
    assert graph_s(COST, 64, 3) == graph_s(COST, 64, 4) == step_seconds(COST, 256, 4 * 64 * 32.0, 0, 0.0)


def test_groups_are_whole_and_their_first_comes_a_batch_ahead() -> None:
    questions = draw_questions(40, 16, np.random.default_rng(1))
    order = grouped_by_prefix(questions)
    assert sorted(order.tolist()) == list(range(640))
    place = np.argsort(order).reshape(40, 16)
    assert (np.ptp(place[:, 1:], axis=1) == 14).all()
    assert (place[:, 1:].min(axis=1) - place[:, 0] >= 16).all()
    later = np.argsort(place[:, 1])[MAX_RUNNING // 16 + 1 :]
    assert (place[later, 1] - place[later, 0] >= MAX_RUNNING).all()


def test_a_question_brings_its_document_with_it() -> None:
    questions = draw_questions(3, 4, np.random.default_rng(1))
    data = in_order(questions, np.array([5, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]), Host("A100-80", "Llama-3.1-8B"))
    assert data.requests.prefix.tolist() == [1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert (data.requests.prompt_tokens > data.requests.prefix_tokens).all()
