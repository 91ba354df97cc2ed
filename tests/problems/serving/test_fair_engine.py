from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fair import NaiveFair
from servers import limits, linear_cost
from simulate import simulate
from test_engine import COST

from problems.problem import NonFiniteScore
from problems.serving._fair.metrics import vtc_bound
from problems.serving._fair.views import Client, Prefix, Service
from problems.serving._server.machine import make_instance
from problems.serving._server.replay import replay, verify
from problems.serving._server.requests import Requests, make_requests
from problems.serving._server.views import Request
from problems.serving.fair_sharing import PROBLEM


# Rules made of numbers: theta says how much each quantity counts, so that one compilation serves for all.
def order(r: Request, c: Client, p: Prefix, theta: np.ndarray) -> float:
    return (
        theta[0] * r.waiting
        + theta[1] * c.counter
        + theta[2] * (c.counter - c.least)
        + theta[3] * p.cached
        + theta[4] * (c.waiting - c.running) * c.clients
        + theta[5] * r.predicted_left
    )


def charge(s: Service, c: Client, theta: np.ndarray) -> float:
    return theta[6] * s.computed + theta[7] * s.cached + theta[8] * s.output + theta[9] * c.running + 0.01 * c.least


def lift(c: Client, theta: np.ndarray) -> float:
    return max(c.counter, c.least + theta[5]) if theta[10] > 0.5 else 0.5 * (c.counter + c.least)


RULES = (order, charge, lift)


def run(data: Any, hooks: Any, theta: Any = ()) -> Any:
    return simulate(PROBLEM, hooks, data, theta=theta)


def rule(name: str) -> list[Any]:
    baseline = PROBLEM.baseline(name)
    assert baseline is not None
    return [baseline.hooks[hook.name] for hook in PROBLEM.hooks]


def draw_clients(rng: np.random.Generator, count: int, *, rate: float = 4.0, longest: int = 40) -> Requests:
    """Requests of up to four clients, some about one of six documents; some arrive together."""
    gaps = rng.exponential(1 / rate, count) * rng.integers(0, 2, count)
    output, prompt = rng.integers(1, longest + 1, count), rng.integers(1, longest + 1, count)
    length = rng.integers(1, longest + 1, 6)
    document = rng.integers(-1, 6, count)
    return make_requests(
        np.cumsum(gaps),
        prompt,
        output,
        output * np.exp(rng.normal(0, 0.5, count)),
        tenant=rng.integers(0, rng.integers(1, 5), count),
        prefix=document,
        prefix_tokens=np.where(document < 0, 0, np.minimum(length[document], prompt)),
    )


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 25),
    blocks=st.integers(20, 60),
    pool=st.sampled_from([0, 30, 80, 1000]),
    horizon=st.sampled_from([40.0, 5.0]),
)
def test_engine_replay_and_naive_twin_agree_to_the_last_digit(
    seed: int, count: int, blocks: int, pool: int, horizon: float
) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_clients(rng, count, rate=rng.choice([1.0, 4.0, 30.0]))
    given_limits = limits(
        blocks=blocks,
        pool=pool,
        patience=int(rng.integers(1, 20)),
        max_running=int(rng.integers(1, 9)),
        horizon_s=horizon + requests.arrival_s[-1],
    )
    theta = np.concatenate([rng.normal(size=6), rng.random(6)])
    data = make_instance(requests, COST, given_limits)
    found = run(data, RULES, theta)
    hooks = tuple(lambda *a, hook=hook: hook(*a, theta) for hook in RULES)
    first, finish, gap = NaiveFair(requests, COST, given_limits, hooks).run()
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap
    verify(data, found)
    again = replay(data, found.log, True)
    served = np.isfinite(found.finish_s)
    assert (again.generated[served] == requests.output_tokens[served]).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), places=st.integers(1, 8), patience=st.integers(1, 40))
def test_service_under_vtc_stays_within_its_proved_bound(seed: int, places: int, patience: int) -> None:
    """Theorem of Sheng et al. (2024); M is here what the batch can hold, prompts and outputs of all its places."""
    rng = np.random.default_rng(seed)
    requests = draw_clients(rng, 60, rate=30.0)
    free = limits(blocks=20 * places, max_running=places, pool=0, patience=patience)
    data = make_instance(requests, COST, free)
    gap = replay(data, run(data, rule("vtc")).log, False).service_gap
    assert gap <= 1e3 * vtc_bound(data)


def test_first_come_first_served_breaks_the_bound_of_vtc() -> None:
    """A client that comes first with 60 requests, before one that comes with 60 a moment later."""
    n = 120
    requests = make_requests(
        np.linspace(0.0, 1.0, n), np.full(n, 8), np.full(n, 8), np.full(n, 8.0), tenant=np.arange(n) // 60
    )
    data = make_instance(requests, COST, limits(blocks=12, max_output=16, max_running=3, pool=0))
    gaps = {name: replay(data, run(data, rule(name)).log, False).service_gap for name in ("fcfs", "vtc")}
    assert gaps["vtc"] <= 1e3 * vtc_bound(data) < gaps["fcfs"]


def test_two_clients_take_turns_by_hand() -> None:
    """One place; prompts of 4 and outputs of 1 token, 1 s a step. Client 0 comes with three, client 1 with one.

    Client 1 comes when client 0 has been charged 4, and is lifted to that; at 1 the output makes it 6 to 4.
    """
    requests = make_requests([0.0, 0.1, 0.2, 0.3], [4] * 4, [1] * 4, [1.0] * 4, tenant=[0, 0, 0, 1])
    data = make_instance(
        requests, linear_cost(step=1.0), limits(blocks=40, max_running=1, pool=0, decision_s=0.0, candidate_s=0.0)
    )
    assert run(data, rule("vtc")).finish_s.tolist() == [1.0, 3.0, 4.0, 2.0]
    assert run(data, rule("fcfs")).finish_s.tolist() == [1.0, 2.0, 3.0, 4.0]
    # Both wait from 0.3 to 1, and client 1 no more once its request is admitted: nothing differs meanwhile.
    assert replay(data, run(data, rule("vtc")).log, False).service_gap == 0.0
    # First come: until its last request is admitted, at 2, client 0 gets a prompt of 4 and an output that counts 2.
    assert replay(data, run(data, rule("fcfs")).log, False).service_gap == 6.0


def test_a_kept_document_is_not_computed_again_by_hand() -> None:
    """Prompts of 6 tokens, 5 of them a document; 1 s a token. The second request computes one token."""
    requests = make_requests(
        [0.0, 10.0, 20.0], [6] * 3, [1] * 3, [1.0] * 3, tenant=[0] * 3, prefix=[0, 0, 1], prefix_tokens=[5] * 3
    )
    free = limits(blocks=40, pool=5, decision_s=0.0, candidate_s=0.0)
    data = make_instance(requests, linear_cost(token=1.0, step=1e-12), free)
    found = run(data, rule("fcfs"))
    assert found.finish_s == pytest.approx([6.0, 11.0, 26.0])
    assert replay(data, found.log, False).hits == 5
    verify(data, found)


@pytest.mark.parametrize("hook", range(3))
def test_a_hook_that_returns_nan_is_an_error(hook: int) -> None:
    hooks = rule("vtc")
    hooks[hook] = (nan_three, nan_two, nan_one)[hook]
    with pytest.raises(NonFiniteScore):
        run(PROBLEM.probes()[0].data, hooks)


def nan_one(a: Any) -> float:
    return np.nan


def nan_two(a: Any, b: Any) -> float:
    return np.nan


def nan_three(a: Any, b: Any, c: Any) -> float:
    return np.nan


def never(c: Client) -> float:
    return -1e300


def huge(s: Service, c: Client) -> float:
    return 1e308


def test_counters_that_overflow_are_an_error_or_harmless() -> None:
    probe = PROBLEM.probes()[0]
    hooks = rule("vtc")
    hooks[1] = huge
    with pytest.raises(NonFiniteScore):
        run(probe.data, hooks)
    hooks = rule("vtc")
    hooks[2] = never
    PROBLEM.verify(probe.data, run(probe.data, hooks))


def test_requests_without_a_client_are_refused() -> None:
    requests = make_requests([0.0], [4], [1], [1.0])
    with pytest.raises(ValueError, match="tenant must not be negative"):
        make_instance(requests, COST, limits(pool=0))
