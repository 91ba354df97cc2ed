from __future__ import annotations

import numpy as np
import pytest
from call_programs import PLAIN, chain, draw_programs, run
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import limits, linear_cost
from test_programs_engine import COST, RULES

from problems.problem import Infeasible
from problems.serving._programs.data import make_calls, make_instance
from problems.serving._programs.replay import replay, verify
from problems.serving._server.log import ADMIT, EVICT, about, keep_entry, step_entry


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20))
def test_whatever_the_engine_does_is_verified_and_conserves_tokens(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    arrival_s, calls = draw_programs(rng, count, rate=rng.choice([0.5, 2.0, 20.0]))
    given_limits = limits(blocks=int(rng.integers(18, 60)), horizon_s=arrival_s[-1] + 40, max_prefill=20)
    data = make_instance(arrival_s, calls, COST, given_limits)
    found = run(data, RULES, np.concatenate([rng.normal(size=8), rng.random(4)]))
    verify(data, found)
    again = replay(data, found.log)
    known = np.isfinite(found.finish_s)
    assert (again.release_s >= arrival_s[calls.program])[np.isfinite(again.release_s)].all()
    assert (found.first_token_s >= again.release_s)[np.isfinite(found.first_token_s)].all()
    assert (found.finish_s >= found.first_token_s)[known].all()
    assert (again.generated == calls.output_tokens)[known].all()
    assert (again.reused <= calls.repeated_tokens).all()
    if not (again.preemptions > 0).any() and known.all():
        steps = found.log[found.log & 3 == 0]
        assert (steps >> 35).sum() == (calls.prompt_tokens - again.reused).sum()


def broken(data: object, solution: object, entries: list[int], message: str) -> None:
    with pytest.raises(Infeasible, match=message):
        verify(data, solution._replace(log=np.array(entries, dtype=np.int64)))


def test_each_rule_of_the_log_is_checked() -> None:
    calls = chain([5, 3], first=8, added=3, tool_s=2.5)
    data = make_instance(
        [0.0], calls, linear_cost(step=1.0), limits(blocks=20, max_output=8, decision_s=0.0, candidate_s=0.0)
    )
    good = run(data)
    first, decode = [about(ADMIT, 0), step_entry(8, 0, 1)], step_entry(0, 1, 4)
    second = [about(ADMIT, 1), step_entry(4, 0, 1), step_entry(0, 1, 2)]
    log = [*first, decode, *second]
    assert good.log.tolist() == log
    verify(data, good)
    broken(data, good, [about(ADMIT, 1), *log], "not waiting")
    broken(data, good, [about(ADMIT, 9), *log], "not waiting")
    broken(data, good, [first[0], first[0], *log[1:]], "not waiting")
    broken(data, good, log[1:], "idle though a call waits")
    broken(data, good, [*first, about(ADMIT, 1), decode, *second], "not waiting|does not look")
    broken(data, good, [*first, about(EVICT, 0), decode, *second], "no need")
    broken(data, good, [*first, decode, about(EVICT, 1), *second], "no need")
    broken(data, good, [*first, decode, about(ADMIT, 1), step_entry(5, 0, 1), second[2]], "too much")
    broken(data, good, [*first, decode, keep_entry(1, 5), *second], "idle though a call waits")
    broken(data, good, [*first, keep_entry(0, 5), decode, *second], "no entry of a log")
    broken(data, good, log[:-1], "before the simulation does")
    broken(data, good, [*log, decode], "after the end")
    broken(data, good, [*log[:-1], -1], "no entry")


def test_a_dropped_context_is_computed_again_and_a_longer_pin_changes_nothing() -> None:
    calls = chain([5, 3], first=8, added=3, tool_s=2.5)
    data = make_instance(
        [0.0], calls, linear_cost(step=1.0), limits(blocks=20, max_output=8, decision_s=0.0, candidate_s=0.0)
    )
    good = run(data)
    log = good.log.tolist()
    verify(data, good._replace(log=np.array([*log[:3], keep_entry(0, 100), *log[3:]])))
    dropped = [*log[:3], about(EVICT, 0), about(ADMIT, 1), step_entry(16, 0, 1), log[5]]
    verify(data, good._replace(log=np.array(dropped)))
    broken(data, good, [*log[:4], step_entry(16, 0, 1), log[5]], "too much")


def test_pinned_contexts_are_not_evicted_while_two_calls_run() -> None:
    """As in test_programs_engine: at 3, two calls run and need a block; the log says that the pinned one gives way."""
    calls = make_calls(
        [(0, 1)],
        program=[0, 0, 1, 2],
        prompt_tokens=[8, 16, 12, 12],
        output_tokens=[1, 3, 8, 8],
        continues=[-1, 0, -1, -1],
        repeated_tokens=[0, 9, 0, 0],
        tool_s=[0.0, 90.0, 0.0, 0.0],
    )
    free = limits(blocks=9, max_output=8, decision_s=0.0, candidate_s=0.0)
    data = make_instance([0.0, 1.0, 1.0], calls, linear_cost(step=1.0), free)
    good = run(data, PLAIN)
    verify(data, good)
    at = good.log.tolist().index(step_entry(8, 0, 1)) + 1
    broken(data, good, [*good.log[:at], keep_entry(0, 99_000), *good.log[at:]], "call 0, which is pinned")


def test_times_that_the_log_does_not_lead_to_are_refused() -> None:
    arrival_s, calls = draw_programs(np.random.default_rng(7), 3)
    data = make_instance(arrival_s, calls, COST, limits())
    good = run(data)
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        wrong = getattr(good, name).copy()
        wrong[1] = np.nextafter(wrong[1], 9e9)
        with pytest.raises(Infeasible, match=f"{name} of request 1"):
            verify(data, good._replace(**{name: wrong}))
