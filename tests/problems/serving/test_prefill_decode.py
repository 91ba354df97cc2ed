from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import small
from deployments import PLAIN, deploy
from servers import draw_requests, linear_cost

from problems._hardware.step_cost import step_cost, step_seconds
from problems.problem import BadInstance, Infeasible, NonFiniteScore
from problems.serving._cluster.data import DECODE, MIXED, PREFILL, Group, Router
from problems.serving._cluster.links import Move, move_of, move_seconds
from problems.serving._disaggregation.data import (
    CONTROL,
    Control,
    Deployment,
    Plan,
    make_deployment,
    on_hosts,
)
from problems.serving._disaggregation.log import HANDED, SENT, TURNED, entry
from problems.serving._disaggregation.metrics import lower_bounds, measure
from problems.serving._disaggregation.replay import verify
from problems.serving._disaggregation.split import feedback, greedy, halves, serve_split
from problems.serving._disaggregation.suites import SCENARIOS, Traffic, draw, suite
from problems.serving._disaggregation.views import Cluster, Instance, Request
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving.prefill_decode import PROBLEM

AT_ONCE = Router(period_s=0.5, delay_s=0.0, deciding_s=0.0)
HALF_A_SECOND = Move(token_s=0.5, group_s=0.0)  # per token
PROMPTS = linear_cost(token=1.0)
PLAN = Plan(1.0, 4.0, 4.0)


def last_place(request: Request, instance: Instance) -> float:
    return -instance.place


def third_turns(instance: Instance, cluster: Cluster) -> float:
    return 1.0 if cluster.now >= 1.0 and instance.place == 2.0 else instance.role


def all_prefill(instance: Instance, cluster: Cluster) -> float:
    return 1.0


def not_a_number(instance: Instance, cluster: Cluster) -> float:
    return (cluster.now - cluster.now) / (cluster.now - cluster.now)


def little() -> Deployment:
    """An instance that prefills a token in 1 s, and one whose steps take 5 s; each has 3 blocks of 4 tokens.

    0-4   prompt of request 0, which then moves until 6, and is decoded in steps that end at 11, 16 and 21; it
          takes a second block at the first of them.
    4-12  prompt of request 1, 8 tokens. For its two blocks there is room at 21 only; it moves until 25, and is
          decoded until 30. Until 25 it takes two of three blocks where it was prefilled,
    25-33 so request 2, which came at 5 with 8 tokens, waits until then. It puts out a single token, and moves nowhere.
    """
    requests = make_requests([0.0, 0.5, 5.0], [4, 8, 8], [4, 2, 1], [4, 2, 1])
    limits = small(blocks=3, max_output=4, decision_s=0.0, candidate_s=0.0)
    groups = [Group(PROMPTS, limits, 1, PREFILL), Group(linear_cost(step=5.0), limits, 1, DECODE)]
    return make_deployment(requests, groups, [HALF_A_SECOND] * 2, PLAN, router=AT_ONCE)


def test_a_prompt_waits_for_room_where_it_is_decoded_and_holds_up_the_next_one() -> None:
    data = little()
    found = deploy(data)
    assert found.first_token_s.tolist() == [4.0, 12.0, 33.0]
    assert found.moved_s.tolist() == [6.0, 25.0, np.inf]
    assert found.finish_s.tolist() == [21.0, 30.0, 33.0]
    assert found.worst_gap_s.tolist() == [7.0, 18.0, 0.0]
    assert found.log.tolist() == [
        entry(SENT, 0, 0),
        entry(SENT, 0, 1),
        entry(HANDED, 1, 0),
        entry(SENT, 0, 2),
        entry(HANDED, 1, 1),
    ]
    assert found.decided_s.tolist() == [0.0, 0.5, 4.0, 5.0, 12.0]
    verify(data, found)


def three(control: Control = CONTROL) -> Deployment:
    """One instance that prefills, and two that decode."""
    requests = make_requests([1.2, 1.6], [4, 4], [2, 2], [2, 2])
    limits = small(decision_s=0.0, candidate_s=0.0)
    groups = [Group(PROMPTS, limits, 1, PREFILL), Group(PROMPTS, limits, 2, DECODE)]
    return make_deployment(requests, groups, [HALF_A_SECOND] * 2, PLAN, router=AT_ONCE, control=control)


def test_an_instance_that_changes_its_role_is_back_after_the_switch() -> None:
    data = three(Control(tick_s=1.0, switch_s=0.5))
    found = deploy(data, (last_place, last_place, third_turns))
    # At 1.2 the third one is changing until 1.5; at 1.6 it prefills.
    assert found.log.tolist()[:3] == [entry(TURNED, 2, 4 + PREFILL), entry(SENT, 0, 0), entry(SENT, 2, 1)]
    assert found.first_token_s.tolist() == [5.2, 5.6]
    verify(data, found)


def test_somebody_always_decodes() -> None:
    data = three()
    found = deploy(data, (last_place, last_place, all_prefill))
    # The last one is not let go; the second one is, at once, since nothing has come yet.
    assert found.log.tolist()[:3] == [entry(TURNED, 1, PREFILL), entry(SENT, 1, 0), entry(SENT, 1, 1)]
    assert np.isfinite(found.finish_s).all()


def test_a_request_alone_takes_its_prompt_its_transfer_and_its_output_at_the_roofline() -> None:
    host = Host("A100-80", "Llama-3.1-8B")
    requests = make_requests([0.25], [1500], [40], [40])
    data = on_hosts(requests, [(host, 1, PREFILL), (host, 1, DECODE)], 100.0, PLAN, group_blocks=4)
    found, cost = deploy(data), step_cost("A100-80", "Llama-3.1-8B")
    first = 0.25 + 50e-6 + 5e-6 + 1e-7 + step_seconds(cost, 1500, 0.5 * 1500**2, 0, 0.0)
    # 94 blocks in 24 groups, two copies per layer each; 16 kB per token and layer over 25 GB/s.
    moving = 10e-6 + 24 * 64 * 7e-6 + 1500 * 131_072 / 25e9
    assert move_seconds(data, 0, 1, 1500) == pytest.approx(moving, rel=1e-12)
    decoding = sum(step_seconds(cost, 0, 0.0, 1, float(1500 + k)) for k in range(39))
    assert found.first_token_s[0] == pytest.approx(first, rel=1e-12)
    assert found.moved_s[0] == pytest.approx(first + 50e-6 + moving, rel=1e-12)
    assert found.finish_s[0] == pytest.approx(first + 50e-6 + moving + decoding, rel=1e-12)
    bounds, measured = lower_bounds(data), measure(data, found)
    assert bounds["mean_ttft"] == pytest.approx(measured["mean_ttft"], rel=1e-4)
    assert bounds["mean_latency"] + moving == pytest.approx(measured["mean_latency"], rel=1e-3)


def test_links_carry_one_transfer_at_a_time() -> None:
    """Two prompts are done together; the second cache leaves when the first is there, though it goes elsewhere."""
    requests = make_requests([0.0, 0.0], [4, 4], [2, 2], [2, 2])
    limits = small(decision_s=0.0, candidate_s=0.0)
    groups = [Group(PROMPTS, limits, 1, PREFILL), Group(PROMPTS, limits, 2, DECODE)]
    data = make_deployment(requests, groups, [HALF_A_SECOND] * 2, PLAN, router=AT_ONCE)
    found = deploy(data)
    assert found.first_token_s.tolist() == [8.0, 8.0]
    assert found.moved_s.tolist() == [10.0, 12.0]
    verify(data, found)


def test_where_nothing_runs_out_each_request_puts_out_all_its_tokens() -> None:
    requests = draw_requests(np.random.default_rng(4), 50, rate=10.0)
    cost = linear_cost(step=0.01, token=0.001)
    groups = [Group(cost, small(blocks=2000), 2, role) for role in (PREFILL, DECODE, MIXED)]
    data = make_deployment(requests, groups, [Move(1e-4, 1e-4)] * 3, PLAN)
    found = deploy(data)
    assert np.isfinite(found.finish_s).all()
    handed = {int(e >> 10) for e in found.log if e & 3 == HANDED}
    assert handed == set(np.flatnonzero(np.isfinite(found.moved_s)).tolist())
    assert (found.moved_s[list(handed)] > found.first_token_s[list(handed)]).all()
    assert not any(requests.output_tokens[r] == 1 for r in handed)


def test_nan_is_refused() -> None:
    with pytest.raises(NonFiniteScore):
        deploy(little(), (PLAIN[0], PLAIN[1], not_a_number))


def _with(log: list[int]) -> dict[str, Any]:
    return {"log": np.array(log), "decided_s": np.zeros(len(log))}


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ([entry(SENT, 0, 0)], "the log ends before entry 1"),
        ([entry(SENT, 0, 1)], "entry 0 is about another decision"),
        ([entry(HANDED, 0, 0)], "entry 0 is about another decision"),
        ([entry(TURNED, 1, 4 + PREFILL), entry(SENT, 0, 0), entry(TURNED, 1, 4 + PREFILL)], "entry 2 is about another"),
        ([entry(SENT, 7, 0)], "entry 0 is about an instance that there is not"),
        ([entry(TURNED, 7, PREFILL)], "entry 0 is about an instance that there is not"),
        ([entry(SENT, 1, 0)], "entry 0 chooses an instance that does not take this request"),
        ([entry(TURNED, 2, MIXED), entry(TURNED, 1, MIXED)], "entry 1 names no role, or an instance out of order"),
        ([entry(TURNED, 2, 3)], "entry 0 names no role"),
        ([entry(TURNED, 2, DECODE)], "entry 0 turns an instance to the role that it has"),
        ([entry(TURNED, 0, DECODE)], "entry 0 leaves no instance that prefills"),
    ],
)
def test_logs_that_break_a_rule_are_refused(log: list[int], message: str) -> None:
    data = three()
    with pytest.raises(Infeasible, match=message):
        verify(data, deploy(data)._replace(**_with(log)))


def test_an_instance_that_is_changing_cannot_be_turned() -> None:
    data = three(Control(tick_s=0.25, switch_s=10.0))
    log = [entry(TURNED, 1, 4 + PREFILL), entry(TURNED, 1, 8 + PREFILL)]
    with pytest.raises(Infeasible, match="entry 1 turns an instance that is changing its role"):
        verify(data, deploy(data)._replace(**_with(log)))


def test_times_and_further_entries_are_refused() -> None:
    data = little()
    found = deploy(data)
    more = np.append(found.log, entry(SENT, 0, 3))
    with pytest.raises(Infeasible, match=r"entry 5 of the log is .* but no such decision is due"):
        verify(data, found._replace(log=more, decided_s=np.append(found.decided_s, 40.0)))
    for name in ("first_token_s", "finish_s", "worst_gap_s", "moved_s", "decided_s"):
        wrong = getattr(found, name).copy()
        wrong[1] += 0.5
        with pytest.raises(Infeasible, match=f"{name} at 1 is"):
            verify(data, found._replace(**{name: wrong}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roles": (PREFILL, PREFILL)}, "some instance must decode"),
        ({"roles": (DECODE, DECODE)}, "some server must take new requests"),
        ({"moves": [HALF_A_SECOND]}, "one move per group"),
        ({"moves": [Move(-1.0, 0.0), HALF_A_SECOND]}, "seconds of move must be finite"),
        ({"control": Control(0.0)}, "tick_s of control must be positive"),
        ({"control": Control(1e-6)}, "tick_s of control is too short"),
        ({"control": Control(1.0, -1.0)}, "seconds of control must be finite"),
        ({"router": Router(0.05, 0.05)}, "delay_s of reports must be below"),
        ({"plan": Plan(0.0, 1.0, 1.0)}, "plan must be finite and positive"),
        ({"group_blocks": 0}, "group_blocks must be positive"),
    ],
)
def test_impossible_deployments_are_refused(change: dict[str, Any], message: str) -> None:
    requests = make_requests([0.0], [4], [2], [2])
    roles = change.pop("roles", (PREFILL, DECODE))
    moves, plan = change.pop("moves", [HALF_A_SECOND] * 2), change.pop("plan", PLAN)
    with pytest.raises(ValueError, match=message):
        make_deployment(requests, [Group(PROMPTS, small(), 1, role) for role in roles], moves, plan, **change)


def test_instances_of_two_models_share_no_cache() -> None:
    hosts = [(Host("A100-80", model), 1, MIXED) for model in ("Llama-3.1-8B", "Qwen2.5-7B")]
    with pytest.raises(ValueError, match="must run one model"):
        on_hosts(make_requests([0.0], [4], [2], [2]), hosts, 10.0, PLAN)


def test_contiguous_blocks_move_in_fewer_copies() -> None:
    move = move_of(Host("A100-80", "Llama-3.1-8B"))
    assert move.group_s == pytest.approx(64 * 7e-6)
    assert move_of(Host("A100-80", "Llama-3.1-8B", tp=2)).token_s == pytest.approx(move.token_s / 2)


HEADER = "arrival_s,prompt_tokens,output_tokens\n"


def test_a_file_names_its_instances(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(
        "# instances=2 role=prefill device=H100 model=Llama-3.1-8B group_blocks=16\n"
        "# role=decode device=A100-80 model=Llama-3.1-8B\n" + HEADER + "0,100,5\n1,200,7\n"
    )
    (instance,) = PROBLEM.read(path)
    assert instance.data.cluster.role.tolist() == [PREFILL, PREFILL, DECODE]
    assert instance.data.group_blocks.tolist() == [16]
    assert instance.data.plan.tolist() == [2.0, 150.0, 6.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "0,100,5\n", "needs a line for the instances"),
        ("# instances=x device=A100-80\n" + HEADER + "0,100,5\n", "line 1: instances must be a whole number"),
        ("# role=both_of_them device=A100-80\n" + HEADER + "0,100,5\n", "role must be one of prefill, decode, both"),
        ("# role=prefill device=A100-80\n" + HEADER + "0,100,5\n", "some instance must decode"),
        ("# device=A1000\n" + HEADER + "0,100,5\n", "A1000"),
        ("# device=A100-80\narrival_s,prompt_tokens,output_tokens,session\n0,1,1,1\n", "unknown column 'session'"),
    ],
)
def test_broken_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(BadInstance, match=message):
        PROBLEM.read(path)


def test_code_and_chat_take_turns() -> None:
    requests = draw(SCENARIOS["mixed-phases"], 0.8, Traffic(), 1)
    code = np.floor(requests.arrival_s / 10.0) % 2 == 0
    assert requests.output_tokens[code].mean() < 40 < 150 < requests.output_tokens[~code].mean()


def test_a_divided_gpu_that_serves_one_request_is_a_whole_one() -> None:
    host, cost = Host("A100-80", "Llama-3.1-8B"), step_cost("A100-80", "Llama-3.1-8B")
    requests = make_requests([0.5], [1500], [40], [40], ttft_slo_s=1.0, tpot_slo_s=0.05)
    first = 0.5 + step_seconds(cost, 1500, 0.5 * 1500**2, 0, 0.0)
    last = first + sum(step_seconds(cost, 0, 0.0, 1, float(1500 + k)) for k in range(39))
    for rule in (halves, feedback(), greedy(0.05)):
        found = serve_split(requests, host, rule, 0.05)
        assert found.first_token_s[0] == pytest.approx(first)
        assert found.finish_s[0] == pytest.approx(last)


def test_predictions_and_bursts_shift_what_they_name() -> None:
    for name, other in (("shift-predictor", False), ("shift-burst", True)):
        base, shifted = suite("train")[0].data, suite(name)[0].data
        gaps = [np.diff(d.cluster.requests.arrival_s) for d in (base, shifted)]
        errors = [
            np.log(d.cluster.requests.predicted_output / d.cluster.requests.output_tokens) for d in (base, shifted)
        ]
        assert (errors[1].std() > 1.5 * errors[0].std()) != other
        assert (gaps[1].std() / gaps[1].mean() > 1.5 * gaps[0].std() / gaps[0].mean()) == other


# Promise ratio, promises kept (%), mean TTFT (s), 99th percentile of TPOT (s) and changes of roles on a valid instance.
VALUES = (
    ("round_robin", 6.711147, 51.6, 8.990196, 0.034541, 0),
    ("colocated", 0.514770, 89.3, 0.306485, 0.169662, 8),
    ("distserve", 0.726422, 65.6, 0.166462, 0.082754, 3),
    ("splitwise", 0.537204, 94.2, 0.149585, 0.113401, 3),
    ("tetriinfer", 0.612023, 80.1, 0.769786, 0.036479, 1),
    ("pd_serve", 0.653408, 74.6, 0.210632, 0.082119, 6),
    ("slo_feedback", 0.592725, 81.9, 0.484478, 0.071266, 5),
)


@pytest.mark.parametrize(("rule", "ratio", "kept", "ttft", "tpot", "turns"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(
    rule: str, ratio: float, kept: float, ttft: float, tpot: float, turns: int
) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-mixed-phases-80")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    solution = deploy(instance.data, [baseline.hooks[name] for name in PROBLEM.functions])
    found = measure(instance.data, solution)
    assert found["promise_ratio"] == pytest.approx(ratio, rel=1e-5)
    assert found["slo_attainment"] == pytest.approx(kept)
    assert found["mean_ttft"] == pytest.approx(ttft, rel=1e-5)
    assert found["p99_tpot"] == pytest.approx(tpot, rel=1e-4)
    assert np.count_nonzero(solution.log & 3 == TURNED) == turns


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
