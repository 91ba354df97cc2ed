from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clusters import small
from migrations import never, nobody, serve_migrating
from servers import linear_cost
from test_cluster import SLOW

from problems.problem import BadInstance, Infeasible, NonFiniteScore
from problems.serving._cluster.data import DECODE, Group, Router
from problems.serving._cluster.links import Move
from problems.serving._cluster.views import Instance, Request
from problems.serving._migration.claims import CLAIMS
from problems.serving._migration.data import Migrating, make_migrating, on_hosts
from problems.serving._migration.log import JOINED, LOST, QUEUED, REFUSED, migration
from problems.serving._migration.metrics import measure
from problems.serving._migration.trace import explain, narrate
from problems.serving._migration.verify import verify
from problems.serving._migration.views import Job, Server
from problems.serving._server.machine import Host
from problems.serving._server.requests import make_requests
from problems.serving.live_migration import PROBLEM

AT_ONCE = Router(period_s=0.5, delay_s=0.0, deciding_s=0.0)


def first_server(request: Request, instance: Instance) -> float:
    return instance.number


def from_first(source: Server, target: Server) -> float:
    return 1.0 if source.number == 0.0 and source.decoding + source.waiting > 1.0 else 0.0


def whoever_decodes(job: Job, source: Server, target: Server) -> float:
    return 1.0 - job.waiting


def whoever_waits(job: Job, source: Server, target: Server) -> float:
    return job.waiting


def not_a_number(job: Job, source: Server, target: Server) -> float:
    return (job.age - job.age) / (job.prompt - job.prompt)


def two(token_s: float = 0.125, **limits: float) -> Migrating:
    """Two requests, both sent to the first of two servers; a step takes 1 s, whatever it does, a block has 4 tokens.

    0-1 the prompts are computed, then each puts out a token a second until 10 s.
    """
    requests = make_requests([0.0, 0.0], [4, 4], [10, 10], [10, 10])
    group = Group(linear_cost(step=1.0), small(decision_s=0.0, candidate_s=0.0, **limits), 2)
    return make_migrating(requests, [group], [Move(token_s, 0.0)], AT_ONCE, tick_s=2.25)


def test_a_request_decodes_on_while_it_is_copied_and_pauses_for_the_rest() -> None:
    found = serve_migrating(two(), first_server, from_first, whoever_decodes)
    # At 2.25 s request 0 has 5 tokens in the cache, which take 0.625 s; it leaves at 3 s, and has one more: 0.125 s.
    assert found.fate.tolist() == [JOINED]
    assert found.moves.tolist() == [migration(1, 0, 1)]
    assert found.decided_s.tolist() == [2.25]
    assert found.pause_s.tolist() == [0.125]
    # Its next step begins at 3.125 s.
    assert found.finish_s.tolist() == [10.125, 10.0]
    assert found.worst_gap_s.tolist() == [1.125, 1.0]
    assert found.preemptions.tolist() == [0, 0]
    verify(two(), found)
    assert measure(two(), found)["mean_pause"] == 0.125


def test_a_request_that_waits_moves_at_the_end_of_the_step() -> None:
    # One place in the batch: request 1 waits, moves at 3 s, and has its prompt computed at once.
    data = two(max_running=1)
    found = serve_migrating(data, first_server, from_first, whoever_waits)
    assert found.fate.tolist() == [QUEUED]
    assert found.first_token_s.tolist() == [1.0, 4.0]
    assert found.finish_s.tolist() == [10.0, 13.0]
    alone = serve_migrating(data, first_server, never, nobody)
    assert alone.first_token_s.tolist() == [1.0, 11.0]
    verify(data, found)


def test_a_target_without_a_place_refuses_and_who_ends_meanwhile_is_lost() -> None:
    slow = two(token_s=12.5)
    lost = serve_migrating(slow, first_server, from_first, whoever_decodes)
    assert set(lost.fate.tolist()) == {LOST}
    assert lost.finish_s.tolist() == [10.0, 10.0]
    verify(slow, lost)

    def apart(request: Request, instance: Instance) -> float:
        return (request.number + instance.number) % 2.0

    full = two(max_running=1)
    refused = serve_migrating(full, apart, lambda s, t: 1.0 if s.decoding > 0.0 else 0.0, whoever_decodes)
    # At 2.25, 4.5, 6.75 and 9 s; at the last tick the one that was to move is done before it could.
    assert refused.fate.tolist() == [REFUSED, REFUSED, REFUSED, LOST]
    assert refused.finish_s.tolist() == [10.0, 10.0]
    verify(full, refused)


def test_logs_that_break_a_rule_are_refused() -> None:
    data = two()
    found = serve_migrating(data, first_server, from_first, whoever_decodes)
    for moves, message in (
        ([migration(1, 0, 0)], "which is where request 0 is"),
        ([migration(1, 0, 9)], "names server 9"),
        ([migration(1, 7, 1)], "neither decodes nor waits"),
        ([migration(5, 0, 1)], "comes after the end or before"),
        ([-1], "must not be negative"),
    ):
        with pytest.raises(Infeasible, match=message):
            verify(data, found._replace(moves=np.array(moves)))
    twice = found._replace(
        moves=np.array([migration(1, 0, 1), migration(1, 1, 1)]),
        decided_s=np.array([2.25, 2.25]),
        fate=np.array([JOINED, LOST]),
        pause_s=np.array([0.125, 0.0]),
    )
    with pytest.raises(Infeasible, match="takes part in another migration"):
        verify(data, twice)
    with pytest.raises(Infeasible, match="pause_s at 0 is 0"):
        verify(data, found._replace(pause_s=np.array([0.0])))
    with pytest.raises(Infeasible, match="but there are 2"):
        verify(data, found._replace(log=np.array([0 << 8, (1 << 8) | 2])))


def test_nan_is_refused() -> None:
    with pytest.raises(NonFiniteScore, match="pick"):
        serve_migrating(two(), first_server, from_first, not_a_number)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": DECODE}, "got role 2 in group 1"),
        ({"tick_s": 0.0}, "tick_s must be positive"),
        ({"tick_s": 1e-9}, "too short for the horizon"),
        ({"moves": []}, "one move per group"),
        ({"moves": [Move(-1.0, 0.0)] * 2}, "must be finite and not negative"),
        ({"group_blocks": 0}, "group_blocks must be positive"),
    ],
)
def test_impossible_instances_are_refused(change: dict, message: str) -> None:
    requests = make_requests([0.0], [4], [2], [2])
    groups = [Group(SLOW, small(horizon_s=100.0), 1), Group(SLOW, small(horizon_s=100.0), 1, change.pop("role", 0))]
    moves = change.pop("moves", [Move(0.0, 0.0)] * 2)
    with pytest.raises(ValueError, match=message):
        make_migrating(requests, groups, moves, **change)


def test_all_servers_run_one_model() -> None:
    requests = make_requests([0.0], [4], [2], [2])
    with pytest.raises(ValueError, match="must run one model"):
        on_hosts(requests, ((Host("A10", "Llama-3.1-8B"), 1), (Host("A10", "Qwen2.5-7B"), 1)), 10.0)


def test_a_file_names_its_servers(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("# servers=2 device=A10 model=Llama-3.1-8B\narrival_s,prompt_tokens,output_tokens\n0,100,5\n")
    (instance,) = PROBLEM.read(path)
    assert instance.data.cluster.kind.tolist() == [0, 0]
    assert instance.data.move_s[0, 0] > 0
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n")
    with pytest.raises(BadInstance, match="needs a line for the servers"):
        PROBLEM.read(path)


def test_a_trace_tells_what_became_of_migrations() -> None:
    data = two()
    found = serve_migrating(data, first_server, from_first, whoever_decodes)
    assert explain(data, found) == (
        "1 migrations: 1 of decoding requests, paused 125.0 ms in the mean, 0 of waiting ones, 0 came too late, 0 were "
        "refused for lack of room, 0 were computed anew. Server 2 of 2 was named most often. 0 preemptions. Longest "
        "wait for a first token: 1 s, prompt 4, arrived 0 s; longest gap between two tokens: 1.12 s, 0 preemptions."
    )
    assert narrate(data, found)[-1] == "at 2.25 s moves request 1 to server 2, where it decodes on"


def test_claims_have_their_verdicts() -> None:
    def solve(rule, data):
        return serve_migrating(data, *(rule.hooks[name] for name in ("route", "pair", "pick")))

    expected = ["direction only", "reproduced", "direction only"]
    found = [claim.verdict(claim.experiment(solve)) for claim in CLAIMS if claim.experiment is not None]
    assert found == expected


# Latency per token (ms), 99th percentile of TTFT (s), promises kept (%), preemptions on a valid instance.
VALUES = (
    ("llumnix", 159.230231, 52.714870, 71.5, 0.269),
    ("llumnix_dispatch", 189.055940, 78.013649, 70.3, 0.259),
    ("llumnix_priorities", 169.988930, 61.106254, 72.3, 0.266),
    ("defragment", 190.888353, 62.360562, 70.2, 0.246),
    ("work_stealing", 155.393804, 52.055592, 73.6, 0.306),
    ("dual_map", 186.997144, 49.797998, 66.6, 0.337),
    ("least_ttft", 250.349469, 198.677869, 70.9, 0.258),
    ("least_work", 209.411630, 72.501845, 70.5, 0.263),
    ("round_robin", 405.977184, 143.410852, 72.4, 0.208),
    ("round_robin_stealing", 130.947859, 48.970520, 77.7, 0.330),
)


@pytest.mark.parametrize(("rule", "latency", "tail", "kept", "preemptions"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(
    rule: str, latency: float, tail: float, kept: float, preemptions: float
) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a10-tails-95")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    solution = serve_migrating(instance.data, *(baseline.hooks[name] for name in ("route", "pair", "pick")))
    found = measure(instance.data, solution)
    assert found["normalised_latency"] == pytest.approx(latency, rel=1e-6)
    assert found["p99_ttft"] == pytest.approx(tail, rel=1e-6)
    assert found["slo_attainment"] == pytest.approx(kept)
    assert found["preemptions"] == pytest.approx(preemptions)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
