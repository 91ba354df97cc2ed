from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import draw_requests, limits, linear_cost, serve
from test_engine import COST, RULES

from problems.problem import Infeasible
from problems.serving._server.log import ADMIT, EVICT, WAIT, about, step_entry
from problems.serving._server.machine import make_instance
from problems.serving._server.replay import replay, verify
from problems.serving._server.requests import make_requests


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), swap=st.sampled_from([-1.0, 0.002]))
def test_whatever_the_engine_does_is_verified_and_conserves_tokens(seed: int, count: int, swap: float) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_requests(rng, count, rate=rng.choice([1.0, 4.0, 30.0]))
    given_limits = limits(blocks=int(rng.integers(20, 60)), swap_block_s=swap, horizon_s=requests.arrival_s[-1] + 60)
    data = make_instance(requests, COST, given_limits)
    found = serve(data, RULES, np.concatenate([rng.normal(size=6), rng.random(6)]))
    verify(data, found)
    known = np.isfinite(found.finish_s)
    assert (found.first_token_s >= requests.arrival_s)[np.isfinite(found.first_token_s)].all()
    assert (found.finish_s >= found.first_token_s)[known].all()
    again = replay(data, found.log, True)
    if known.all():
        assert len(again.gap_s) == (requests.output_tokens - 1).sum()
        assert again.gap_s.sum() == pytest.approx((found.finish_s - found.first_token_s).sum())
    if not (again.preemptions > 0).any() and known.all():
        steps = found.log[found.log & 3 == 0]
        assert (steps >> 35).sum() == requests.prompt_tokens.sum()


def two() -> tuple:
    requests = make_requests([0.0, 1.0], [4, 4], [3, 3], [3, 3])
    data = make_instance(requests, linear_cost(step=1.0), limits(blocks=11, decision_s=0.0, candidate_s=0.0))
    return data, serve(data)


def broken(data: object, solution: object, entries: list[int], message: str) -> None:
    with pytest.raises(Infeasible, match=message):
        verify(data, solution._replace(log=np.array(entries, dtype=np.int64)))


def test_each_rule_of_the_log_is_checked() -> None:
    data, good = two()
    # Prefill of 0 until 1; 0 decodes beside the prefill of 1 until 2; both until 3; 1 alone until 4.
    admit, prefill, both = about(ADMIT, 0), step_entry(4, 0, 1), step_entry(4, 1, 1)
    decode = step_entry(0, 1, 1)
    log = [admit, prefill, about(ADMIT, 1), both, decode, decode]
    assert good.log.tolist() == log
    assert good.finish_s.tolist() == [3.0, 4.0]
    broken(data, good, [about(ADMIT, 1), *log], "not waiting")
    broken(data, good, [admit, admit, *log[1:]], "not waiting")
    broken(data, good, [about(ADMIT, 7), *log], "not waiting")
    broken(data, good, [admit, prefill, both, *log[2:]], "computes nothing or too much")
    broken(data, good, [admit, about(EVICT, 0), *log[1:]], "no need")
    broken(data, good, [admit, step_entry(5, 0, 1), *log[2:]], "too much")
    broken(data, good, [admit, step_entry(0, 0, 1), *log[2:]], "computes nothing")
    broken(data, good, [admit, step_entry(4, 1, 1), *log[2:]], "computes nothing or too much")
    broken(data, good, [*log[:4], step_entry(0, 1, 2)], "something has changed")
    broken(data, good, [admit, WAIT, *log[1:]], "waits though")
    broken(data, good, log[:-1], "before the simulation does")
    broken(data, good, [*log, decode], "after the end")
    broken(data, good, [*log[:4], step_entry(0, 1, 0), decode], "computes nothing")
    broken(data, good, [*log[:-1], -1], "no entry")
    broken(data, good, [*log[:-1], 7], "no entry")


def test_times_that_the_log_does_not_lead_to_are_refused() -> None:
    data, good = two()
    for name in ("first_token_s", "finish_s", "worst_gap_s"):
        wrong = getattr(good, name).copy()
        wrong[1] = np.nextafter(wrong[1], 9.0)
        with pytest.raises(Infeasible, match=f"{name} of request 1"):
            verify(data, good._replace(**{name: wrong}))


def test_more_than_fits_is_refused() -> None:
    requests = make_requests([0.0, 0.0], [4, 4], [9, 9], [9, 9])
    data = make_instance(requests, linear_cost(step=1.0), limits(blocks=12, max_running=1))
    good = serve(data)
    log = [about(ADMIT, 0), about(ADMIT, 1), step_entry(8, 0, 1), step_entry(0, 1, 8)]
    broken(data, good, log, "batch or the KV cache is full")
