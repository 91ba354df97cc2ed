from __future__ import annotations

import numpy as np
from clusters import serve_cluster, small
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_cluster import NaiveCluster
from servers import draw_requests, linear_cost

from problems.serving._cluster.data import Group, Router, make_cluster
from problems.serving._cluster.replay import verify
from problems.serving._cluster.views import Instance, Request
from problems.serving._server.requests import Requests, make_requests

SLOW = linear_cost(step=0.01, token=0.003, pair=1e-4, context=1e-4, sequence=0.001)
FAST = linear_cost(step=0.004, token=0.001, pair=5e-5, context=2e-5, sequence=0.001)


# A rule made of numbers: it depends on all that it is shown.
def nosy(r: Request, i: Instance, theta: np.ndarray) -> float:
    score = theta[0] * i.number + theta[1] * i.age + theta[2] * i.waiting + theta[3] * i.decoding
    score += theta[4] * i.prefilling + theta[5] * i.sent + theta[6] * (i.context - 0.5 * i.free) / i.capacity
    score += theta[7] * (i.queue_time + i.prefill_time) + theta[8] * i.decode_step * i.output_left
    score += theta[9] * i.cached_tokens / (1.0 + r.longest_cached) + theta[10] * i.token_time * r.prompt
    score += theta[11] * i.hash_1 + theta[12] * i.hash_2 + theta[13] * i.draw_1 + theta[14] * i.draw_2
    score += theta[15] * ((r.number + i.number) % i.instances) + theta[16] * i.number * (r.now + r.priority)
    score += theta[17] * i.number * (r.shortest_queue - r.longest_queue + r.fastest_prefill)
    return score + theta[18] * i.number * ((r.prefix_hash + r.session_hash) % 7.0 - r.predicted_output + r.ttft_slo)


def with_sessions(rng: np.random.Generator, requests: Requests) -> Requests:
    """The requests, some of them in few conversations, with few system prompts."""
    n = len(requests.arrival_s)
    prefix, session = rng.integers(-1, 3, n), rng.integers(-1, 4, n)
    shared = np.where(prefix >= 0, np.minimum(requests.prompt_tokens, 4 * prefix + 3), 0)
    repeated = np.maximum(shared, rng.integers(0, requests.prompt_tokens + 1))
    columns = requests._asdict() | {"prefix": prefix, "prefix_tokens": shared, "session": session}
    return make_requests(**(columns | {"session_tokens": repeated}))


def draw_cluster(rng: np.random.Generator, count: int, blocks: int, horizon: float) -> tuple:
    requests = with_sessions(rng, draw_requests(rng, count, rate=rng.choice([1.0, 8.0, 60.0])))
    end = horizon + requests.arrival_s[-1]
    groups = [Group(SLOW, small(blocks=blocks, horizon_s=end), int(rng.integers(1, 4)))]
    if rng.random() < 0.7:
        groups.append(Group(FAST, small(blocks=blocks + 10, horizon_s=end, max_prefill=16), int(rng.integers(1, 3))))
    router = Router(float(rng.choice([0.05, 0.5, 0.0078125])), float(rng.choice([0.0, 0.005, 0.2])), 1e-3)
    if rng.random() < 0.3:
        router = router._replace(deciding_s=0.0)
    return requests, groups, router, int(rng.choice([0, 4, 8]))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    blocks=st.integers(20, 60),
    horizon=st.sampled_from([1e4, 0.5]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(seed: int, count: int, blocks: int, horizon: float) -> None:
    rng = np.random.default_rng(seed)
    requests, groups, router, cache = draw_cluster(rng, count, blocks, horizon)
    theta = rng.normal(size=19) * (rng.random(19) < 0.4)
    data = make_cluster(requests, groups, router, cache_tokens=cache)
    found = serve_cluster(data, nosy, theta)
    first, finish, gap, sent, computed, chosen = NaiveCluster(
        requests, groups, router, cache, lambda r, i: nosy(r, i, theta)
    ).run()
    assert (found.log & 255).tolist() == chosen
    assert found.sent_s.tolist() == sent
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap
    assert found.computed_tokens.tolist() == computed
    verify(data, found)
