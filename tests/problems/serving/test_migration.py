from __future__ import annotations

import numpy as np
from clusters import serve_cluster
from hypothesis import example, given, settings
from hypothesis import strategies as st
from migrations import serve_migrating
from naive_migration import NaiveMigration
from test_cluster import draw_cluster, nosy

from problems.serving._cluster.links import Move
from problems.serving._migration.data import Migrating, make_migrating
from problems.serving._migration.engine import Migration
from problems.serving._migration.log import JOINED, QUEUED
from problems.serving._migration.verify import verify
from problems.serving._migration.views import Job, Server


# Rules made of numbers: they depend on all that they are shown. The first 19 are those of the routing rule.
def nosy_pair(s: Server, t: Server, theta: np.ndarray) -> float:
    score = theta[19] + theta[20] * (s.number - t.number) / s.servers + theta[21] * (s.waiting - t.waiting)
    score += theta[22] * (s.decoding - t.decoding) + theta[23] * (s.prefilling - t.prefilling)
    score += theta[24] * (s.urgent - t.urgent) + theta[25] * (t.free - s.free) / s.capacity
    score += theta[26] * (s.context - t.context) / t.capacity + theta[27] * (s.first_needs - t.first_needs) / 16.0
    score += theta[28] * (s.first_waited - t.first_waited) + theta[29] * (s.queue_tokens - t.queue_tokens) / 40.0
    score += theta[30] * (s.queue_time - t.queue_time) + theta[31] * (s.output_left - t.output_left) / 40.0
    return score + theta[32] * (s.decode_step / t.decode_step - s.token_time / t.token_time)


def nosy_pick(j: Job, s: Server, t: Server, theta: np.ndarray) -> float:
    score = theta[33] + theta[34] * j.waiting + theta[35] * j.context / 40.0 + theta[36] * j.prefill_left / 40.0
    score += theta[37] * (j.prompt - j.generated) / 40.0 + theta[38] * j.predicted_left / 40.0 + theta[39] * j.age
    score += theta[40] * j.idle + theta[41] * j.preemptions + theta[42] * j.copy_time + theta[43] * j.priority
    score += theta[44] * (min(j.ttft_slo, 5.0) - min(j.tpot_slo, 5.0)) + theta[45] * (s.free - t.free) / s.capacity
    return score + theta[46] * (s.waiting - t.waiting)


def draw_migrating(rng: np.random.Generator, count: int, blocks: int, horizon: float) -> tuple:
    requests, groups, router, cache = draw_cluster(rng, count, blocks, horizon)
    speed = float(rng.choice([1.0, 0.01]))
    moves = [Move(*(speed * rng.uniform(0.0001, 0.01, 3)).tolist()) for _ in groups]
    return requests, groups, moves, router, cache, int(rng.integers(1, 4)), float(rng.choice([0.05, 0.25, 0.7]))


def make(drawn: tuple) -> Migrating:
    requests, groups, moves, router, cache, together, tick_s = drawn
    return make_migrating(requests, groups, moves, router, cache_tokens=cache, group_blocks=together, tick_s=tick_s)


def draw_theta(rng: np.random.Generator) -> np.ndarray:
    theta = rng.normal(size=47) * (rng.random(47) < 0.4)
    theta[[19, 33]] += 0.5
    return theta


@settings(max_examples=150, deadline=None)
@example(seed=65, count=20, blocks=30, horizon=0.5)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    blocks=st.integers(20, 60),
    horizon=st.sampled_from([1e4, 0.5]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(seed: int, count: int, blocks: int, horizon: float) -> None:
    rng = np.random.default_rng(seed)
    drawn, theta = draw_migrating(rng, count, blocks, horizon), draw_theta(rng)
    data = make(drawn)
    found = serve_migrating(data, nosy, nosy_pair, nosy_pick, theta)
    hooks = (
        lambda r, i: nosy(r, i, theta),
        lambda s, t: nosy_pair(s, t, theta),
        lambda j, s, t: nosy_pick(j, s, t, theta),
    )
    for name, values in NaiveMigration(*drawn, hooks).run().items():
        assert getattr(found, name).tolist() == values, name
    verify(data, found)
    conserved(data, found)


def conserved(data: Migrating, found: Migration) -> None:
    """No output comes twice or too early, and only who decodes pauses."""
    finished = np.isfinite(found.finish_s)
    assert (found.first_token_s[finished] > data.cluster.requests.arrival_s[finished]).all()
    assert (found.first_token_s[finished] <= found.finish_s[finished]).all()
    assert (found.pause_s[found.fate == QUEUED] == 0.0).all()
    assert (found.pause_s[found.fate == JOINED] > 0.0).all()
    joined = (found.moves[found.fate == JOINED] >> 8) & (2**24 - 1)
    done, pause_s = finished[joined], found.pause_s[found.fate == JOINED]
    # A gap is no shorter than the pause in it.
    assert (found.worst_gap_s[joined][done] >= pause_s[done]).all()


def test_drawn_cases_reach_every_end_of_a_migration() -> None:
    ends = np.zeros(5, dtype=np.int64)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data, theta = make(draw_migrating(rng, 20, 30, 1e4)), draw_theta(rng)
        ends += np.bincount(serve_migrating(data, nosy, nosy_pair, nosy_pick, theta).fate, minlength=5)
    assert (ends > 0).all(), ends


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_without_migration_all_is_as_in_request_routing(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    data, theta = make(draw_migrating(rng, count, 30, 1e4)), draw_theta(rng)
    still, routed = serve_migrating(data, nosy, theta=theta), serve_cluster(data.cluster, nosy, theta)
    for name in routed._fields:
        assert getattr(still, name).tolist() == getattr(routed, name).tolist(), name
