from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clusters import serve_cluster, small
from servers import draw_requests, linear_cost

from problems.problem import BadInstance, Infeasible, NonFiniteScore
from problems.serving._cluster.data import DECODE, Cluster, Group, Router, make_cluster
from problems.serving._cluster.paths import block_paths
from problems.serving._cluster.replay import verify
from problems.serving._cluster.views import Instance, Request
from problems.serving._routing.claims import CLAIMS
from problems.serving._routing.metrics import measure, repeated_tokens
from problems.serving._routing.trace import explain, narrate
from problems.serving._server.requests import make_requests
from problems.serving.request_routing import PROBLEM

AT_ONCE = Router(period_s=0.5, delay_s=0.0, deciding_s=0.0)


def first_server(request: Request, instance: Instance) -> float:
    return instance.number


def last_server(request: Request, instance: Instance) -> float:
    return -instance.number


def where_it_is_cached(request: Request, instance: Instance) -> float:
    return instance.number - 10.0 * instance.cached_tokens


def least_ttft(request: Request, instance: Instance) -> float:
    return instance.queue_time + instance.prefill_time


def not_a_number(request: Request, instance: Instance) -> float:
    return (instance.number - instance.number) / (request.number - request.number)


def conversation() -> Cluster:
    """Two turns on two servers; a token takes 1 s, a block has 4.

    0-4 prompt of request 0, which puts out a token; 4-5 the other one. In the cache are then 5 tokens, one block. At 6
    comes the second turn, 9 tokens: where the first was, 5 of them are computed until 11; elsewhere 9 until 15.
    """
    requests = make_requests([0.0, 6.0], [4, 9], [2, 1], [2, 1], session=0, session_tokens=[0, 5])
    limits = small(decision_s=0.0, candidate_s=0.0)
    return make_cluster(requests, [Group(linear_cost(token=1.0), limits, 2)], AT_ONCE, cache_tokens=4)


def test_a_trace_tells_hits_work_queues_and_decisions() -> None:
    data = conversation()
    near, far = serve_cluster(data, where_it_is_cached), serve_cluster(data, last_server)
    # 13 prompt tokens, of which a block of 4 was seen before; near: 4 and 5 computed on server 1; far: all on server 2
    assert explain(data, near) == (
        "69 % of prompt tokens computed, 69 % were new. Of all prefill work server 1 of 2 has 100 %, server 2 0 %. "
        "Fullest queue: 1 requests without a first token at server 1, 0 s. Promise for the first token broken for 0 % "
        "of requests. Longest wait: 5 s at server 1, prompt 9, 5 of it computed, arrived 6 s."
    )
    assert narrate(data, near)[1] == (
        "sends request 2 (prompt 9, arrived 6.00 s) to server 1 of 2, which computes 5 of it"
    )
    assert "server 2 of 2 has 100 %, server 1 0 %" in explain(data, far)
    assert "to server 2 of 2, which computes 5 of it" in narrate(data, far)[1]


def test_the_second_turn_is_faster_where_the_first_one_was() -> None:
    data = conversation()
    found = serve_cluster(data, where_it_is_cached)
    assert found.first_token_s.tolist() == [4.0, 11.0]
    assert found.finish_s.tolist() == [5.0, 11.0]
    assert found.computed_tokens.tolist() == [4, 5]
    assert found.log.tolist() == [0 << 8, 1 << 8]
    assert measure(data, found)["mean_ttft"] == (4.0 + 5.0) / 2
    apart = found._replace(log=np.array([0 << 8, (1 << 8) | 1]))
    with pytest.raises(Infeasible, match=r"first_token_s of request 1 is 11.0, but the log leads to 15.0"):
        verify(data, apart)


def test_blocks_are_shared_by_system_prompt_and_conversation() -> None:
    requests = make_requests(
        [0.0, 1.0, 2.0, 3.0],
        [12, 10, 20, 9],
        [3, 1, 1, 1],
        [1, 1, 1, 1],
        prefix=[0, 0, 0, -1],
        prefix_tokens=[8, 8, 8, 0],
        session=[5, 6, 5, -1],
        session_tokens=[8, 8, 14, 0],
    )
    starts, blocks = block_paths(requests, 4)
    paths = [blocks[a:b].tolist() for a, b in pairwise(starts)]
    # Blocks 0 and 1 are the system prompt's; request 2 repeats 14 tokens of request 0, three full blocks.
    assert paths == [[0, 1, 2], [0, 1], [0, 1, 2, 3, 4], [5, 6]]


def test_reports_are_old() -> None:
    """Two requests come between two reports; the rule sees what it has sent, though no server has said so."""
    requests = make_requests([0.001, 0.002, 0.003, 0.004], [8] * 4, [1] * 4, [1] * 4)
    data = make_cluster(requests, [Group(linear_cost(token=1.0), small(), 4)], Router())
    assert (serve_cluster(data, least_ttft).log & 255).tolist() == [0, 1, 2, 3]


def test_a_rule_that_sends_all_to_one_server_pays_for_it() -> None:
    requests = draw_requests(np.random.default_rng(3), 60, rate=30.0)
    groups = [Group(linear_cost(step=0.01, token=0.003), small(horizon_s=requests.arrival_s[-1] + 0.5), 4)]
    data = make_cluster(requests, groups)
    spread, piled = (measure(data, serve_cluster(data, rule)) for rule in (least_ttft, first_server))
    assert piled["mean_ttft"] > 1.2 * spread["mean_ttft"]
    assert piled["unfinished"] > 0
    # What is not finished has waited until the end.
    lost = serve_cluster(data, first_server)
    unfinished = ~np.isfinite(lost.finish_s)
    end_s = max(data.time_s[0], lost.finish_s[~unfinished].max())
    waited = np.where(unfinished, end_s, lost.first_token_s) - requests.arrival_s
    assert piled["mean_ttft"] == pytest.approx(waited.mean())


def test_without_preemption_each_prompt_token_is_computed_or_cached() -> None:
    requests = draw_requests(np.random.default_rng(4), 50, rate=10.0)
    requests = make_requests(**(requests._asdict() | {"prefix": 0, "prefix_tokens": 0}))
    plenty = small(blocks=2000)
    for cache_tokens in (0, 4):
        data = make_cluster(requests, [Group(linear_cost(step=0.01), plenty, 2)], cache_tokens=cache_tokens)
        found = serve_cluster(data, least_ttft)
        assert np.isfinite(found.finish_s).all()
        if cache_tokens == 0:
            assert found.computed_tokens.tolist() == requests.prompt_tokens.tolist()
        assert (found.computed_tokens >= requests.prompt_tokens - repeated_tokens(data)).all()


def test_nan_is_refused() -> None:
    with pytest.raises(NonFiniteScore):
        serve_cluster(conversation(), not_a_number)


def test_new_requests_do_not_go_to_servers_that_only_decode() -> None:
    requests = make_requests([0.0], [4], [2], [2])
    groups = [Group(linear_cost(token=1.0), small(), 1), Group(linear_cost(token=1.0), small(), 1, DECODE)]
    data = make_cluster(requests, groups)
    found = serve_cluster(data, last_server)
    assert found.log.tolist() == [0]
    with pytest.raises(Infeasible, match="only decodes"):
        verify(data, found._replace(log=np.array([1])))
    with pytest.raises(Infeasible, match="goes to server 7, but there are 2"):
        verify(data, found._replace(log=np.array([7])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": []}, "1 to 256 servers"),
        ({"servers": 0}, "servers must be positive"),
        ({"servers": 300}, "1 to 256 servers"),
        ({"role": 7}, "role must be"),
        ({"role": DECODE}, "only servers that decode"),
        ({"cache_tokens": 6}, "multiple of block_tokens"),
        ({"cache_tokens": -4}, "multiple of block_tokens"),
        ({"router": Router(period_s=0.0)}, "period_s"),
        ({"router": Router(delay_s=-1.0)}, "delay_s"),
        ({"limits": {"swap_block_s": 0.1}}, "swap_block_s must be negative"),
        ({"limits": {"blocks": 2}}, "must fit the KV cache"),
    ],
)
def test_impossible_clusters_are_refused(change: dict, message: str) -> None:
    requests = make_requests([0.0], [4], [2], [2])
    group = Group(linear_cost(token=1.0), small(**change.get("limits", {})), change.get("servers", 2))
    groups = change.get("groups", [group._replace(role=change.get("role", 0))])
    with pytest.raises(ValueError, match=message):
        make_cluster(requests, groups, change.get("router", Router()), cache_tokens=change.get("cache_tokens", 0))


def test_groups_must_agree_on_the_horizon() -> None:
    requests = make_requests([0.0], [4], [2], [2])
    groups = [Group(linear_cost(token=1.0), small(horizon_s=at), 1) for at in (10.0, 20.0)]
    with pytest.raises(ValueError, match="the same on all servers"):
        make_cluster(requests, groups)


HEADER = "arrival_s,prompt_tokens,output_tokens,session,session_tokens\n"


def test_a_file_names_its_servers(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(
        "# servers=2 device=A100-80 model=Llama-3.1-8B cache_tokens=32\n# device=H100 model=Llama-3.1-8B\n"
        + HEADER
        + "0,100,5,0,0\n1,200,5,0,104\n"
    )
    (instance,) = PROBLEM.read(path)
    assert instance.data.kind.tolist() == [0, 0, 1]
    assert instance.data.cache_tokens.tolist() == [32]
    assert repeated_tokens(instance.data).tolist() == [0, 96]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "0,100,5,0,0\n", "needs a line for the servers"),
        ("# servers=x device=A100-80\n" + HEADER + "0,100,5,0,0\n", "line 1: servers must be a whole number"),
        ("# servers=2 device=A1000\n" + HEADER + "0,100,5,0,0\n", "A1000"),
        ("# servers=2\n" + HEADER + "0,100,5,0,500\n", "session_tokens must be between 0 and prompt_tokens"),
        ("# servers=2\narrival_s,prompt_tokens,output_tokens,color\n0,1,1,1\n", "unknown column 'color'"),
    ],
)
def test_broken_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(BadInstance, match=message):
        PROBLEM.read(path)


def test_least_ttft_is_better_than_dual_map_and_that_than_a_hash() -> None:
    """The order in which published reports put them on Mooncake's conversations."""
    mean = {}
    for name in ("round_robin", "prefix_hash", "dual_map", "least_ttft"):
        baseline = PROBLEM.baseline(name)
        assert baseline is not None
        found = []
        for instance in PROBLEM.splits["valid"]():
            if instance.group == "a100-long":
                found.append(measure(instance.data, serve_cluster(instance.data, baseline.hooks["route"]))["mean_ttft"])
        mean[name] = np.mean(found)
    assert mean["least_ttft"] < mean["dual_map"] < mean["prefix_hash"] < mean["round_robin"]


def test_claims_hold_in_direction() -> None:
    def solve(rule, data):
        return serve_cluster(data, rule.hooks["route"])

    papers = [claim.paper for claim in CLAIMS if claim.experiment is not None]
    expected = dict.fromkeys(papers, "direction only") | {"BatchLLM (2024)": "reproduced"}
    for claim in CLAIMS:
        if claim.experiment is not None:
            assert claim.verdict(claim.experiment(solve)) == expected[claim.paper], claim.paper


# Mean and 99th percentile of TTFT (s), promises kept (%), prompt tokens computed (%) on a valid instance.
VALUES = (
    ("round_robin", 5.628047, 28.361157, 66.3, 94.080661),
    ("random", 6.424449, 29.395674, 58.1, 92.473287),
    ("least_requests", 3.006319, 16.257457, 78.3, 92.695562),
    ("least_work", 1.539749, 10.144764, 80.7, 92.551825),
    ("power_of_two", 4.073078, 15.509728, 68.9, 92.874144),
    ("prefix_hash", 4.402778, 25.034368, 70.7, 76.025830),
    ("best_prefix", 510.879280, 719.569741, 0.4, 46.413133),
    ("least_ttft", 1.254842, 9.662398, 91.4, 81.140002),
    ("least_ttft_with_room", 1.254842, 9.662398, 91.4, 81.140002),
    ("dual_map", 1.759476, 10.860523, 88.4, 76.771277),
    ("llumnix", 1.864339, 9.947139, 85.2, 87.677844),
    ("hexgen", 1.391668, 10.192973, 76.4, 83.274274),
)


@pytest.mark.parametrize(("rule", "mean", "tail", "kept", "computed"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(
    rule: str, mean: float, tail: float, kept: float, computed: float
) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a100-long-80")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    found = measure(instance.data, serve_cluster(instance.data, baseline.hooks["route"]))
    assert found["mean_ttft"] == pytest.approx(mean, rel=1e-6)
    assert found["p99_ttft"] == pytest.approx(tail, rel=1e-6)
    assert found["slo_attainment"] == pytest.approx(kept)
    assert found["computed"] == pytest.approx(computed, rel=1e-6)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
