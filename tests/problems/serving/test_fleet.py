from __future__ import annotations

import numpy as np
import pytest
from clusters import small
from fleets import run_fleet
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fleet import NaiveFleet
from servers import draw_requests
from test_cluster import FAST, SLOW, nosy, with_sessions

from problems.serving._cluster.data import Group, Router
from problems.serving._fleet.data import Control, Elastic, Instances, make_elastic
from problems.serving._fleet.verify import verify
from problems.serving._fleet.views import Fleet, Pool


# A rule made of numbers: it depends on all that it is shown. The first 19 are those of the routing rule.
def nosy_scale(p: Pool, f: Fleet, theta: np.ndarray) -> float:
    wanted = theta[19] + theta[20] * p.number + theta[21] * p.wanted + theta[22] * p.up + theta[23] * p.loading
    wanted += theta[24] * p.draining + theta[25] * p.next_up + theta[26] * (p.load_time + p.price + p.least + p.most)
    wanted += theta[27] * p.since_start * 1e-6 + theta[28] * (p.since_stop % 7.0) + theta[29] * p.waiting
    wanted += theta[30] * p.running + theta[31] * p.sent + theta[32] * p.free / p.capacity
    wanted += theta[33] * p.remaining_steps + theta[34] * p.output_left / 40.0 + theta[35] * p.queue_time
    wanted += theta[36] * p.longest_queue + theta[37] * p.decode_step + theta[38] * p.token_time
    wanted += theta[39] * p.request_time + theta[40] * p.offered_short + theta[41] * p.offered_long
    wanted += theta[42] * f.rate_short + theta[43] * f.rate_long + theta[44] * (f.prompt - f.output) / 40.0
    wanted += theta[45] * f.backlog + theta[46] * (f.up - f.loading + f.waiting - f.running)
    return wanted + theta[47] * (f.now + f.tick + f.pools + f.short_window - f.long_window + f.penalty)


def draw_fleet(rng: np.random.Generator, count: int, blocks: int, tail: float) -> tuple:
    requests = with_sessions(rng, draw_requests(rng, count, rate=rng.choice([4.0, 12.0, 60.0])))
    end = float(requests.arrival_s[-1]) + tail
    pools = []
    for cost, prefill in ((SLOW, 32), (FAST, 16))[: int(rng.integers(1, 3))]:
        places = int(rng.integers(1, 4))
        least = int(rng.integers(1, places + 1)) if rng.random() < 0.3 else 1
        group = Group(cost, small(blocks=blocks, horizon_s=end, max_prefill=prefill), places)
        first = int(rng.integers(least, places + 1))
        pools.append(Instances(group, float(rng.integers(1, 5)), float(rng.choice([0.0, 0.3, 1.0, 1.1])), least, first))
    router = Router(float(rng.choice([0.05, 0.25, 0.125])), float(rng.choice([0.0, 0.005, 0.1])), 1e-3)
    if rng.random() < 0.3:
        router = router._replace(deciding_s=0.0)
    control = Control(float(rng.choice([0.35, 0.5, 1.0])), 0.8, 3.0)
    places = sum(pool.group.servers for pool in pools)
    failing = sorted((float(at), int(rng.integers(places))) for at in rng.uniform(0, end, int(rng.integers(0, 7))))
    return requests, pools, router, control, int(rng.choice([0, 4, 8])), failing


def make(drawn: tuple) -> Elastic:
    requests, pools, router, control, cache, failing = drawn
    return make_elastic(requests, pools, 0.25, router=router, control=control, cache_tokens=cache, failures=failing)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    blocks=st.integers(20, 60),
    tail=st.sampled_from([15.0, 0.5]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(seed: int, count: int, blocks: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    drawn = draw_fleet(rng, count, blocks, tail)
    theta = rng.normal(size=48) * (rng.random(48) < 0.3)
    theta[19] += 2.0
    data = make(drawn)
    found = run_fleet(data, nosy_scale, nosy, theta)
    requests, pools, router, control, cache, failing = drawn
    twin = NaiveFleet(
        requests,
        pools,
        router,
        control,
        cache,
        failing,
        0.25,
        lambda p, f: nosy_scale(p, f, theta),
        lambda r, i: nosy(r, i, theta),
    ).run()
    for name, values in twin.items():
        assert getattr(found, name).tolist() == values, name
    verify(data, found)
    conserved(data, found)


def conserved(data: Elastic, found) -> None:
    """Every request is sent, and finishes once; time is paid from each start to the end of what it served."""
    finished = np.isfinite(found.finish_s)
    assert (found.first_token_s[finished] <= found.finish_s[finished]).all()
    assert (found.first_token_s[finished] > data.cluster.requests.arrival_s[finished]).all()
    sent = found.log >> 8
    assert set(np.flatnonzero(finished)) <= set(sent.tolist())
    if len(data.fail_s) == 0:
        assert len(set(sent.tolist())) == len(sent)
    horizon_s = float(data.cluster.time_s[0])
    for i in range(len(data.cluster.kind)):
        moves = [entry for entry in found.moves.tolist() if (entry >> 2) & 255 == i]
        assert [entry & 3 for entry in moves[::2]] == [0] * len(moves[::2]) or len(data.fail_s) > 0
        if not moves:
            assert found.paid_s[i] == 0.0
        if len(moves) == 1 and len(data.fail_s) == 0:
            assert found.paid_s[i] == pytest.approx(horizon_s - 1e-3 * (moves[0] >> 10), abs=2.0)
