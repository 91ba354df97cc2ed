from __future__ import annotations

import numpy as np
from clusters import serve_cluster, small
from deployments import deploy
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_disaggregation import NaiveDeployment
from servers import draw_requests, linear_cost

from problems.serving._cluster.data import DECODE, MIXED, PREFILL, Group, Router, make_cluster
from problems.serving._cluster.links import Move
from problems.serving._disaggregation.data import Control, Plan, make_deployment
from problems.serving._disaggregation.log import HANDED, SENT, TURNED, entry
from problems.serving._disaggregation.replay import verify
from problems.serving._disaggregation.views import Cluster, Instance, Request

SLOW = linear_cost(step=0.01, token=0.003, pair=1e-4, context=1e-4, sequence=0.001)
FAST = linear_cost(step=0.004, token=0.001, pair=5e-5, context=2e-5, sequence=0.001)
KINDS = {"send": SENT, "hand": HANDED, "turn": TURNED}


# Rules made of numbers: they depend on all that they are shown.
def nosy(r: Request, i: Instance, theta: np.ndarray) -> float:
    score = theta[0] * i.place + theta[1] * i.role + theta[2] * i.age + theta[3] * i.waiting + theta[4] * i.prefilling
    score += theta[5] * i.queue_time + theta[6] * i.prefill_time + theta[7] * i.decoding + theta[8] * i.context
    score += theta[9] * i.decode_step + theta[10] * i.output_left + theta[11] * i.heavy + theta[12] * i.pending
    score += theta[13] * i.pending_tokens + theta[14] * i.held + theta[15] * i.free / i.capacity
    score += theta[16] * i.transfer_time + theta[17] * i.prompt_time + theta[18] * i.output_time
    score += theta[19] * i.token_time * i.instances + theta[20] * i.draw_1 + theta[21] * i.draw_2
    score += theta[22] * ((r.turn + i.place) % i.instances) + theta[23] * i.place * (r.now + r.waited)
    return score + theta[24] * i.place * (r.prompt - r.predicted_output + 1e-6 * (r.ttft_slo + r.tpot_slo) + r.priority)


def nosy_role(i: Instance, c: Cluster, theta: np.ndarray) -> float:
    score = theta[25] * i.place + theta[26] * i.role + theta[27] * (c.prefill - c.decode) + theta[28] * c.switching
    score += (
        theta[29] * (i.queue_time - i.age) + theta[30] * i.output_left / i.capacity + theta[31] * (c.now % 3.0 - 1.0)
    )
    score += theta[32] * (c.arrival_rate - 1.0) + theta[33] * (c.mean_prompt - c.mean_output) / 10.0
    score += theta[34] * (c.queue_time - c.pending_tokens / 10.0) + theta[35] * (c.late_first - c.late_output)
    return score + theta[36] * (c.free / i.capacity - i.prompt_time + i.output_time) / c.instances + 0.1 * i.draw_1


def draw_deployment(rng: np.random.Generator, count: int, blocks: int, horizon: float) -> tuple:
    requests = draw_requests(rng, count, rate=rng.choice([1.0, 8.0, 60.0]))
    end = horizon + requests.arrival_s[-1]
    roles = rng.permutation([PREFILL, DECODE, MIXED, DECODE])[: rng.integers(2, 5)]
    if not {PREFILL, MIXED} & set(roles) or not {DECODE, MIXED} & set(roles):
        roles = np.array([PREFILL, DECODE])
    groups, moves = [], []
    for role in roles:
        cost, budget = ((SLOW, 32), (FAST, 16))[rng.integers(2)]
        limits = small(blocks=blocks + int(rng.integers(0, 10)), horizon_s=end, max_prefill=budget)
        groups.append(Group(cost, limits, int(rng.integers(1, 3)), int(role)))
        moves.append(Move(*(rng.choice([0.0, 1e-3, 0.02], 3) * (1.0, 1.0, 0.5))))
    router = Router(float(rng.choice([0.05, 0.5, 0.0078125])), float(rng.choice([0.0, 0.005])), 1e-3)
    if rng.random() < 0.3:
        router = router._replace(deciding_s=0.0)
    control = Control(float(rng.choice([0.25, 1.0])), float(rng.choice([0.0, 0.1, 0.5])))
    others = {"router": router, "control": control, "group_blocks": int(rng.integers(1, 4))}
    return requests, groups, moves, Plan(2.0, 20.0, 20.0), others


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    blocks=st.integers(20, 60),
    horizon=st.sampled_from([1e3, 0.5]),
)
def test_engine_and_naive_twin_agree_to_the_last_digit(seed: int, count: int, blocks: int, horizon: float) -> None:
    rng = np.random.default_rng(seed)
    requests, groups, moves, plan, others = draw_deployment(rng, count, blocks, horizon)
    theta = rng.normal(size=37) * (rng.random(37) < 0.4)
    data = make_deployment(requests, groups, moves, plan, **others)
    found = deploy(data, (nosy, nosy, nosy_role), theta)
    twin_rules = [lambda a, b, rule=rule: rule(a, b, theta) for rule in (nosy, nosy, nosy_role)]
    first, finish, gap, moved, decisions = NaiveDeployment(requests, groups, moves, plan, twin_rules, **others).run()
    assert found.log.tolist() == [entry(KINDS[what], i, number) for _, what, i, number in decisions]
    assert found.decided_s.tolist() == [at for at, *_ in decisions]
    assert found.first_token_s.tolist() == first
    assert found.finish_s.tolist() == finish
    assert found.worst_gap_s.tolist() == gap
    assert found.moved_s.tolist() == moved
    verify(data, found)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), blocks=st.integers(20, 60))
def test_where_all_instances_do_both_phases_the_cluster_engine_says_the_same(
    seed: int, count: int, blocks: int
) -> None:
    rng = np.random.default_rng(seed)
    requests = draw_requests(rng, count, rate=rng.choice([1.0, 8.0, 60.0]))
    limits = small(blocks=blocks, horizon_s=float(requests.arrival_s[-1]) + rng.choice([0.5, 1e3]))
    groups = [Group(SLOW, limits, int(rng.integers(1, 5)), MIXED)]
    found = deploy(make_deployment(requests, groups, [Move(0.0, 0.0)], Plan(1.0, 20.0, 20.0)), (in_turn, in_turn, both))
    other = serve_cluster(make_cluster(requests, groups), in_turn_cluster)
    assert found.first_token_s.tolist() == other.first_token_s.tolist()
    assert found.finish_s.tolist() == other.finish_s.tolist()
    assert found.worst_gap_s.tolist() == other.worst_gap_s.tolist()


def in_turn(request: Request, instance: Instance) -> float:
    return (instance.place - request.turn) % instance.instances


def both(instance: Instance, cluster: Cluster) -> float:
    return 0.0


def in_turn_cluster(request, instance) -> float:
    return (instance.number - request.number) % instance.instances
