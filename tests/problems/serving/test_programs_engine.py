from __future__ import annotations

import numpy as np
import pytest
from call_programs import PLAIN, chain, draw_programs, first_come, least_recent, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_programs import NaivePrograms
from servers import limits, linear_cost

from problems.serving._programs.data import make_calls, make_instance
from problems.serving._programs.views import Call, Context, Server
from problems.serving._server.log import ADMIT, EVICT, KEEP, about, keep_entry, step_entry

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
@example(seed=249814, count=9, blocks=35, patience=1, horizon=1e4)  # a program arrives within a leap, its call later
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


STEP = linear_cost(step=1.0)
FREE = {"max_output": 8, "decision_s": 0.0, "candidate_s": 0.0}


def two_and_a_visitor() -> tuple:
    """A program of two calls with a tool of 2.5 s between them, and one of a single call that comes meanwhile."""
    calls = make_calls(
        [(0, 1)],
        program=[0, 0, 1],
        prompt_tokens=[8, 16, 12],
        output_tokens=[5, 3, 3],
        continues=[-1, 0, -1],
        repeated_tokens=[0, 13, 0],
        tool_s=[0.0, 2.5, 0.0],
    )
    return [0.0, 5.5], calls


def test_a_context_that_fits_is_used_again_by_hand() -> None:
    """Blocks of 4 tokens, steps of 1 s: 0-5 call 0 (8 + 5 tokens, of which 3 blocks stay); 7.5 its tool returns;
    7.5-10.5 call 1 computes the 4 tokens that are new, and decodes."""
    calls = chain([5, 3], first=8, added=3, tool_s=2.5)
    found = run(make_instance([0.0], calls, STEP, limits(blocks=20, **FREE)))
    assert found.first_token_s.tolist() == [1.0, 8.5]
    assert found.finish_s.tolist() == [5.0, 10.5]
    prefill = step_entry(8, 0, 1), step_entry(4, 0, 1)
    assert found.log.tolist() == [
        *(about(ADMIT, 0), prefill[0], step_entry(0, 1, 4)),
        *(about(ADMIT, 1), prefill[1], step_entry(0, 1, 2)),
    ]


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_context_gives_way_to_another_call_where_memory_is_short(seconds: float) -> None:
    """6 blocks, of which 3 are parked: the visitor needs 3 for its prompt and one more to decode, at 6.5.

    A single call runs then, so even a context that is still pinned goes; call 1, released at 7.5 beside it, computes
    all of its 16 tokens from 8.5 on.
    """
    arrival_s, calls = two_and_a_visitor()

    def pin(context: Context, server: Server, theta: np.ndarray) -> float:
        return theta[0]

    data = make_instance(arrival_s, calls, STEP, limits(blocks=6, **FREE))
    found = run(data, (first_come, pin, least_recent), [seconds])
    kept = [keep_entry(0, 2000)] if seconds else []
    assert found.log.tolist() == [
        *(about(ADMIT, 0), step_entry(8, 0, 1), step_entry(0, 1, 4), *kept),
        *(about(ADMIT, 2), step_entry(12, 0, 1), about(EVICT, 0), step_entry(0, 1, 1), step_entry(0, 1, 1)),
        *(about(ADMIT, 1), step_entry(16, 0, 1), step_entry(0, 1, 2)),
    ]
    assert found.finish_s.tolist() == [5.0, 11.5, 8.5]


def test_a_pin_holds_while_two_calls_run() -> None:
    """Two calls decode and both need a block; of 9, 2 are parked and pinned: the later call is preempted.

    A single call runs then: to admit the other one again, the pinned context goes.
    """
    calls = make_calls(
        [(0, 1)],
        program=[0, 0, 1, 2],
        prompt_tokens=[8, 16, 12, 12],
        output_tokens=[1, 3, 8, 8],
        continues=[-1, 0, -1, -1],
        repeated_tokens=[0, 9, 0, 0],
        tool_s=[0.0, 90.0, 0.0, 0.0],
    )
    data = make_instance([0.0, 1.0, 1.0], calls, STEP, limits(blocks=9, **FREE))

    def pin(context: Context, server: Server) -> float:
        return 99.0

    pinned = run(data, (first_come, pin, least_recent)).log.tolist()
    assert pinned.index(about(EVICT, 3)) < pinned.index(about(EVICT, 0))
    free = run(data, PLAIN).log.tolist()
    assert free.index(about(EVICT, 0)) < free.index(about(EVICT, 3))


def test_everything_is_served_whatever_a_rule_does() -> None:
    """Pins forever, the worst order, and evictions of what returns first: memory is short, and all finish."""
    arrival_s, calls = draw_programs(np.random.default_rng(5), 30, rate=5.0)
    data = make_instance(arrival_s, calls, COST, limits(blocks=20))

    def last(call: Call, server: Server) -> float:
        return call.waiting

    def forever(context: Context, server: Server) -> float:
        return 1e300

    def never(context: Context, server: Server) -> float:
        return -1e300

    for keep_rule in (forever, never):
        found = run(data, (last, keep_rule, forever))
        assert np.isfinite(found.finish_s).all()
        assert ((found.log & 3) == EVICT).any()
        assert ((found.log & 3) == KEEP).any() == (keep_rule is forever)
