from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_preemption import NaivePreemption
from servers import draw_requests, if_it_fits, limits, linear_cost, serve
from simulate import simulate
from test_engine import COST, chunk, order

from problems.problem import Infeasible, NonFiniteScore
from problems.serving._preemption.views import Cache, Step
from problems.serving._server.log import ADMIT, CUT, EVICT, RANK, RESUME, SWAP, about, more, step_entry
from problems.serving._server.machine import make_instance
from problems.serving._server.replay import replay, verify
from problems.serving._server.requests import make_requests
from problems.serving._server.views import Request, Server
from problems.serving.preemption import PROBLEM


# Rules made of numbers, see test_engine.py; their order and chunk serve here too.
def admit(r: Request, s: Server, c: Cache, theta: np.ndarray) -> float:
    if c.needed > (0.2 + theta[9]) * s.capacity and r.waiting < 5.0:
        return 0.0 if theta[0] > 0.0 else -1.0
    return 1.0 + theta[8] + theta[6] * c.cached + theta[7] * s.waiting


def cut(r: Request, p: Step, theta: np.ndarray) -> float:
    return (
        theta[0] * (r.priority - p.priority)
        + theta[1] * (r.slack - p.slack)
        + theta[2] * p.left
        + theta[3] * (p.done - p.cost)
        + theta[4] * (p.prompts - p.decoding)
        + theta[5] * r.generated
        + theta[10]
    )


def save(r: Request, c: Cache, theta: np.ndarray) -> float:
    return theta[2] * c.move + theta[3] * (c.recompute - 0.05) + theta[4] * r.held


RULES = (order, admit, chunk, cut, save)


def run(data: Any, hooks: Any, theta: Any = ()) -> Any:
    return simulate(PROBLEM, hooks, data, theta=theta)


def host(**given: Any) -> Any:
    return limits(**({"segments": 4, "cut_s": 0.003, "swap_block_s": 0.001, "swap_group_s": 0.002} | given))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 25),
    blocks=st.integers(20, 60),
    segments=st.sampled_from([1, 2, 7, 40]),
    horizon=st.sampled_from([40.0, 5.0]),
)
def test_engine_replay_and_naive_twin_agree_to_the_last_digit(
    seed: int, count: int, blocks: int, segments: int, horizon: float
) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_requests(rng, count, rate=rng.choice([1.0, 4.0, 30.0]))
    given_limits = host(
        blocks=blocks,
        segments=segments,
        patience=int(rng.integers(1, 20)),
        group_blocks=int(rng.integers(1, 5)),
        max_running=int(rng.integers(2, 9)),
        horizon_s=horizon + requests.arrival_s[-1],
    )
    theta = np.concatenate([rng.normal(size=6), rng.random(6)])
    data = make_instance(requests, COST, given_limits)
    found = run(data, RULES, theta)
    hooks = tuple(lambda *a, hook=hook: hook(*a, theta) for hook in RULES)
    first, finish, gap = NaivePreemption(requests, COST, given_limits, hooks).run()
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap
    verify(data, found)
    again = replay(data, found.log, True)
    served = np.isfinite(found.finish_s)
    assert (again.generated[served] == requests.output_tokens[served]).all()
    if served.all():  # every token is put out once, and no time is lost
        assert again.gap_s.sum() == pytest.approx((found.finish_s - found.first_token_s).sum())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), swap=st.booleans())
def test_who_never_cuts_nor_displaces_is_served_as_by_continuous_batching(seed: int, swap: bool) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_requests(rng, 20, rate=rng.choice([1.0, 4.0, 30.0]))
    free = {"blocks": int(rng.integers(20, 60)), "decision_s": 0.0, "candidate_s": 0.0}
    theta = np.concatenate([rng.normal(size=6), rng.random(6)])
    plain = serve(
        make_instance(requests, COST, limits(**free, swap_block_s=0.002 if swap else -1.0)),
        (in_order, if_it_fits, chunk, in_order),
        theta,
    )
    cuttable = make_instance(requests, COST, host(**free, swap_block_s=0.002, swap_group_s=0.0))
    found = run(cuttable, (in_order, if_there_is_room, chunk, never, always if swap else never_save), theta)
    assert found.first_token_s.tolist() == plain.first_token_s.tolist()
    assert found.finish_s.tolist() == plain.finish_s.tolist()


def in_order(r: Request, s: Server) -> float:
    return -r.waiting


def if_there_is_room(r: Request, s: Server, c: Cache) -> float:
    return 1.0


def never(r: Request, p: Step) -> float:
    return -1.0


def never_save(r: Request, c: Cache) -> float:
    return -1.0


def always(r: Request, c: Cache) -> float:
    return 1.0


def whole_prompts(s: Server) -> float:
    return s.prefill_left


def urgent(r: Request, p: Step) -> float:
    return p.priority - r.priority


def by_class(r: Request, s: Server) -> float:
    return 1000.0 * r.priority - r.waiting


def instead(r: Request, s: Server, c: Cache) -> float:
    return 2.0


def test_a_step_is_cut_and_goes_on_by_hand() -> None:
    """Prompts of 8 and 4 tokens at 1 s a token, 4 segments, 0.25 s for a cut and again for going on.

    0-8 would be the step of request 0, in segments of 2 s. Request 1 comes at 3 and cuts it at 4; 4.25-8.25 its
    prompt, which is all of it; 8.25-8.5 going on, 8.5-12.5 the rest: 4 s.
    """
    requests = make_requests([0.0, 3.0], [8, 4], [1, 1], [1, 1], priority=[1, 0])
    free = host(blocks=40, decision_s=0.0, candidate_s=0.0, cut_s=0.25)
    data = make_instance(requests, linear_cost(token=1.0, step=1e-12), free)
    found = run(data, (by_class, instead, whole_prompts, urgent, never_save))
    assert found.finish_s == pytest.approx([12.5, 8.25])
    log = [about(ADMIT, 0), step_entry(8, 0, 1), more(CUT, 2), about(ADMIT, 1), step_entry(4, 0, 1), more(RESUME, 0)]
    assert found.log.tolist() == log
    verify(data, found)
    uncut = run(data, (by_class, instead, whole_prompts, never, never_save))
    assert uncut.finish_s == pytest.approx([8.0, 12.0])


@pytest.mark.parametrize(("keep", "ends"), [(always, [7.25, 5.125]), (never_save, [11.0, 5.0])])
def test_an_urgent_request_takes_the_place_of_another_by_hand(keep: Any, ends: list[float]) -> None:
    """One place in the batch; prompts of 4 and 1 tokens, outputs of 3 and 1; 1 s a token.

    0-4 prompt of request 0. Request 1, come at 0.5, is urgent: at 4 it takes the place, for 1 s. What request 0 has
    cached, a block, takes 1/8 s to move each way, and then it decodes twice. Or it computes its 5 tokens again, which
    yields the second one, and decodes the third.
    """
    requests = make_requests([0.0, 0.5], [4, 1], [3, 1], [3, 3], priority=[1, 0])
    free = host(
        blocks=60, max_running=1, decision_s=0.0, candidate_s=0.0, swap_block_s=0.0625, swap_group_s=0.0625, segments=1
    )
    data = make_instance(requests, linear_cost(token=1.0, step=1e-12), free)
    found = run(data, (by_class, instead, whole_prompts, never, keep))
    assert found.finish_s == pytest.approx(ends)
    verify(data, found)


def broken(data: Any, solution: Any, entries: list[int], message: str) -> None:
    with pytest.raises(Infeasible, match=message):
        verify(data, solution._replace(log=np.array(entries, dtype=np.int64)))


def test_each_rule_of_cuts_is_checked() -> None:
    requests = make_requests([0.0, 3.0], [8, 4], [1, 1], [1, 1], priority=[1, 0])
    free = host(blocks=40, decision_s=0.0, candidate_s=0.0, cut_s=0.25)
    data = make_instance(requests, linear_cost(token=1.0, step=1e-12), free)
    good = run(data, (by_class, instead, whole_prompts, urgent, never_save))
    start, first, cut_at, admit_1, step, go_on = good.log.tolist()
    broken(data, good, [start, first, more(CUT, 1), admit_1, step, go_on], "nothing has arrived")
    broken(data, good, [start, first, more(CUT, 3), admit_1, step, go_on], "nothing has arrived")
    broken(data, good, [start, first, more(CUT, 4), admit_1, step, go_on], "nothing has arrived")
    broken(data, good, [start, first, more(RESUME, 0), admit_1, step], "none is cut")
    broken(data, good, [start, first, cut_at, admit_1, more(SWAP, 0), step, go_on], "no need")
    broken(data, good, [start, first, cut_at, admit_1, more(RANK, 0), step, go_on], "not being prefilled")
    broken(data, good, [start, first, cut_at, admit_1, step, go_on, go_on], "after the end")
    broken(data, good, [start, first, cut_at, admit_1, step, about(EVICT, 0), go_on], "not running|no need")
    broken(data, good, [start, first, cut_at, admit_1, step, more(7, 0)], "no entry")
    with pytest.raises(Infeasible, match="no entry"):  # nothing can be cut in continuous batching
        verify(make_instance(requests, linear_cost(token=1.0, step=1e-12), free._replace(segments=0)), good)


@pytest.mark.parametrize("hook", range(5))
def test_a_hook_that_returns_nan_is_an_error(hook: int) -> None:
    hooks: list[Any] = [by_class, instead, whole_prompts, urgent, always]
    hooks[hook] = (nan_two, nan_three, nan_one, nan_two, nan_two)[hook]
    requests = draw_requests(np.random.default_rng(5), 40, rate=50.0)
    with pytest.raises(NonFiniteScore):
        run(make_instance(requests, COST, host(blocks=30)), hooks)


def nan_one(a: Any) -> float:
    return np.nan


def nan_two(a: Any, b: Any) -> float:
    return np.nan


def nan_three(a: Any, b: Any, c: Any) -> float:
    return np.nan


def refuse(r: Request, s: Server, c: Cache) -> float:
    return -1.0


def test_who_refuses_all_scores_the_worst_and_ends() -> None:
    probe = PROBLEM.probes()[0]
    found = run(probe.data, (by_class, refuse, whole_prompts, urgent, always))
    PROBLEM.verify(probe.data, found)
    raw = PROBLEM.measure(probe.data, found)
    assert raw["slo_attainment"] == 0.0
    assert raw["unfinished"] == 100.0
    for rule in PROBLEM.rules:
        other = PROBLEM.measure(probe.data, run(probe.data, [rule.hooks[h.name] for h in PROBLEM.hooks]))
        assert other["best_effort_latency"] < raw["best_effort_latency"]
