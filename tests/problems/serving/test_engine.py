from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_batching import NaiveServer
from servers import draw_requests, limits, linear_cost, serve

from problems.serving._server.log import ADMIT, EVICT, about, step_entry
from problems.serving._server.machine import make_instance
from problems.serving._server.requests import make_requests
from problems.serving._server.views import Memory, Request, Server


# Rules made of numbers: theta says how much each quantity counts, so that one compilation serves for all.
def order(r: Request, s: Server, theta: np.ndarray) -> float:
    return (
        theta[0] * r.waiting
        + theta[1] * r.queued
        + theta[2] * r.prefill_left
        + theta[3] * r.predicted_left
        + theta[4] * r.slack
        + theta[5] * r.priority
    )


def admit(r: Request, s: Server, m: Memory, theta: np.ndarray) -> float:
    if theta[6] * r.waiting + theta[7] * s.waiting > 3.0:
        return 1.0
    taken = m.needed
    if theta[8] < 0.25:
        taken = m.used_after
    elif theta[8] < 0.5:
        taken = m.predicted_peak
    elif theta[8] < 0.75:
        taken = m.predicted_total
    elif theta[8] < 0.9:
        taken = m.reserved
    if taken <= theta[9] * s.capacity:
        return 1.0
    return 0.0 if theta[0] > 0.0 else -1.0


def chunk(s: Server, theta: np.ndarray) -> float:
    if theta[10] < 0.2:
        return -s.prefill_left
    if theta[10] < 0.4:
        return 8.0 - s.decoding + theta[1] * s.waiting_tokens
    if theta[10] < 0.6:
        return (0.05 - s.decode_step) / s.token_time
    return 20.0 * theta[11] + s.mean_output - s.context


def evict(r: Request, s: Server, theta: np.ndarray) -> float:
    return theta[1] * r.waiting + theta[3] * r.held + theta[5] * r.preemptions + theta[2] * r.tpot_slo * s.free


RULES = (order, admit, chunk, evict)
COST = linear_cost(step=0.01, token=0.003, pair=1e-4, context=1e-4, sequence=0.001)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 25),
    blocks=st.integers(20, 60),
    patience=st.integers(1, 20),
    swap=st.sampled_from([-1.0, 0.0, 0.002]),
    horizon=st.sampled_from([1e4, 30.0]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(
    seed: int, count: int, blocks: int, patience: int, swap: float, horizon: float
) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_requests(rng, count, rate=rng.choice([1.0, 4.0, 30.0]))
    given_limits = limits(
        blocks=blocks, patience=patience, swap_block_s=swap, horizon_s=horizon + requests.arrival_s[-1]
    )
    theta = np.concatenate([rng.normal(size=6), rng.random(6)])
    data = make_instance(requests, COST, given_limits)
    found = serve(data, RULES, theta)
    hooks = tuple(lambda *a, hook=hook: hook(*a, theta) for hook in RULES)
    first, finish, gap = NaiveServer(requests, COST, given_limits, hooks).run()
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap


def test_two_requests_and_a_preemption_by_hand() -> None:
    """Prompts of 4 tokens, 6 of output, blocks of 4 tokens, 4 blocks, steps of 1 s.

    0-1 both prefill (1 block each); 1-5 both decode (2 blocks each); at 5 both need a third: request 1 goes.
    5-6 request 0 decodes and ends; 6-7 request 1 prefills its 4 + 5 tokens again and ends.
    """
    requests = make_requests([0.0, 0.0], [4, 4], [6, 6], [6, 6])
    free = limits(blocks=4, max_output=8, decision_s=0.0, candidate_s=0.0)
    found = serve(make_instance(requests, linear_cost(step=1.0), free))
    assert found.first_token_s.tolist() == [1.0, 1.0]
    assert found.finish_s.tolist() == [6.0, 7.0]
    assert found.worst_gap_s.tolist() == [1.0, 2.0]
    assert found.log.tolist() == [
        about(ADMIT, 0),
        about(ADMIT, 1),
        step_entry(8, 0, 1),
        step_entry(0, 1, 4),
        about(EVICT, 1),
        step_entry(0, 1, 1),
        about(ADMIT, 1),
        step_entry(9, 0, 1),
    ]


@pytest.mark.parametrize("swap", [-1.0, 0.001])
def test_memory_runs_out_and_everything_is_served_all_the_same(swap: float) -> None:
    requests = draw_requests(np.random.default_rng(5), 40, rate=50.0)
    found = serve(make_instance(requests, COST, limits(blocks=30, swap_block_s=swap)))
    assert np.count_nonzero(found.log & 3 == EVICT) > 10
    assert np.isfinite(found.finish_s).all()
