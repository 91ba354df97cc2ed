from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import draw_programs, run
from servers import limits
from test_programs_engine import COST, RULES

from problems.serving._programs import make_instance
from problems.serving._programs_replay import replay, verify


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
