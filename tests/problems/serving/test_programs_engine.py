from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_programs import NaivePrograms
from programs import draw_programs, run
from servers import limits, linear_cost

from problems.serving._programs import make_instance
from problems.serving._programs_views import Call, Context, Server

COST = linear_cost(step=0.01, token=0.003, pair=1e-4, context=1e-4, sequence=0.001)


# Rules made of numbers: theta says how much each quantity counts, so that one compilation serves for all.
def order(c: Call, s: Server, theta: np.ndarray) -> float:
    score = theta[0] * c.waiting + theta[1] * c.age + theta[2] * c.attained + theta[3] * c.critical
    score += theta[4] * c.prefill_left + theta[5] * c.cached + theta[6] * c.siblings + theta[7] * c.pinned
    score += theta[0] * c.served + theta[1] * c.calls + theta[2] * c.predicted_tokens + theta[3] * c.predicted_calls
    return score + theta[4] * c.preemptions * s.mean_wait + theta[5] * c.generated * s.mean_service + c.prompt * s.free


def keep(c: Context, s: Server, theta: np.ndarray) -> float:
    if theta[8] < 0.2:
        return 1e30
    if theta[8] < 0.4:
        return c.predicted_tool + theta[1] * c.tool_deviation
    return theta[9] * (c.tool_mean + s.mean_wait + s.programs - s.pinned / s.capacity)


def evict(c: Context, s: Server, theta: np.ndarray) -> float:
    score = theta[0] * c.tokens + theta[1] * c.idle + theta[2] * c.returned + theta[3] * c.tool
    score += theta[4] * c.age + theta[5] * c.attained + theta[6] * c.calls + theta[7] * c.predicted_tool
    return score + theta[1] * s.parked * c.tool_mean + theta[2] * s.running * c.predicted_tokens


RULES = (order, keep, evict)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 12),
    blocks=st.integers(18, 60),
    patience=st.integers(1, 20),
    horizon=st.sampled_from([1e4, 8.0]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(
    seed: int, count: int, blocks: int, patience: int, horizon: float
) -> None:
    rng = np.random.default_rng(seed)
    arrival_s, calls = draw_programs(rng, count, rate=rng.choice([0.5, 2.0, 20.0]))
    given_limits = limits(blocks=blocks, patience=patience, horizon_s=horizon + arrival_s[-1], max_prefill=20)
    theta = np.concatenate([rng.normal(size=8), rng.random(4)])
    found = run(make_instance(arrival_s, calls, COST, given_limits), RULES, theta)
    hooks = tuple(lambda *a, hook=hook: hook(*a, theta) for hook in RULES)
    first, finish, gap = NaivePrograms(arrival_s.tolist(), calls, COST, given_limits, hooks).run()
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap
