"""Paths and hints of generated prompts, against what the sessions say and against the Mooncake slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.serving._eviction.data import NEVER_S
from problems.serving._eviction.suites import SCENARIOS, chat, draw_instance, mixed, suite
from problems.serving._eviction.suites import Traffic as SuiteTraffic
from problems.serving._eviction.workloads import Calls, Predictor, Teams, calls_of, prompts_of, team_calls
from problems.serving._workloads.workloads import make_workload
from problems.serving.prefix_eviction import PROBLEM


def calls(rows: list[tuple]) -> Calls:
    """Rows of arrival, prompt tokens, session, prefix, its tokens, thread, its tokens."""
    table = np.array(rows, dtype=float)
    whole = [table[:, k].astype(np.int64) for k in range(1, 7)]
    kind = np.zeros(len(rows), np.int64)
    return Calls(table[:, 0], whole[0], whole[1], kind, whole[2], whole[3], whole[4], whole[5])


def exact(count: int) -> Predictor:
    return Predictor(np.zeros(count), np.zeros(count))


def test_paths_share_system_prompts_and_histories() -> None:
    # blocks of 10 tokens; two sessions with a system prompt of 25 tokens, the first one asks again
    rows = [(0.0, 41, 0, 7, 25, 0, 25), (1.0, 35, 1, 7, 25, 1, 25), (5.0, 61, 0, 7, 25, 0, 45)]
    prompts = prompts_of(calls(rows), 10, exact(3), np.random.default_rng(0))
    paths = np.split(prompts.path, prompts.path_start[1:-1])
    # two full blocks of the system prompt are shared, the half block is not
    assert [path.tolist() for path in paths] == [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2, 3, 5, 6]]
    assert prompts.parent.tolist() == [-1, 0, 1, 2, 1, 3, 5]
    # the first session comes back after 5 s, and then no more, as the second one
    assert prompts.hint_node.tolist() == [3, 4, 6]
    assert prompts.hint_s.tolist() == [5.0, NEVER_S, NEVER_S]


def test_workflows_announce_the_agents_that_are_still_to_come() -> None:
    # a run of agents A and B, twice; their instructions are 20 tokens each
    rows = [
        (0.0, 31, 0, 0, 20, 0, 20),
        (4.0, 31, 0, 1, 20, 1, 20),
        (8.0, 51, 0, 0, 20, 0, 31),
        (9.0, 51, 0, 1, 20, 1, 31),
    ]
    prompts = prompts_of(calls(rows), 10, exact(4), np.random.default_rng(0))
    nodes = np.split(prompts.hint_node, prompts.hint_start[1:-1])
    seconds = np.split(prompts.hint_s, prompts.hint_start[1:-1])
    announced = [dict(zip(n.tolist(), s.tolist(), strict=True)) for n, s in zip(nodes, seconds, strict=True)]
    a, b, other = prompts.path[2], prompts.path[5], prompts.path[4]
    # after the first call: A again in 8 s, the instructions of B in 4 s
    assert announced[0] == {a: 8.0, other: 4.0}
    assert announced[1] == {b: 5.0, a: 4.0}
    assert set(announced[3].values()) == {NEVER_S}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 120))
def test_every_seed_gives_valid_instances(seed: int, count: int) -> None:
    for scenario in SCENARIOS.values():
        # make_instance checks paths, prompts and hints
        data = draw_instance(scenario, 50, SuiteTraffic(size=count + 3), seed)
        assert len(data.arrival_s) <= count + 3


def test_a_seed_fixes_an_instance() -> None:
    for scenario in SCENARIOS.values():
        first, second, other = (draw_instance(scenario, 50, SuiteTraffic(size=60), seed) for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert not np.array_equal(first.arrival_s, other.arrival_s)


def test_worse_predictors_change_hints_alone() -> None:
    scenario = SCENARIOS["mixed-7b-tp2"]
    fair, poor = (draw_instance(scenario, 50, SuiteTraffic(size=300, predictor=f), 5) for f in (1.0, 2.0))
    for name in fair._fields:
        assert np.array_equal(getattr(fair, name), getattr(poor, name)) == (name != "hint_s")


def test_hints_are_as_wrong_as_stated() -> None:
    stream = calls_of(make_workload("mooncake-conversation", 6000, 3), 0)
    n = len(stream.arrival_s)
    predictor = Predictor(np.full(n, 0.6), np.full(n, 0.1))
    true, said = (prompts_of(stream, 512, p, np.random.default_rng(1)).hint_s for p in (exact(n), predictor))
    back = true < NEVER_S
    assert np.mean(said[back] >= NEVER_S) == pytest.approx(0.1, abs=0.02)
    assert np.mean(said[~back] < NEVER_S) == pytest.approx(0.1, abs=0.02)
    right = back & (said < NEVER_S)
    assert np.std(np.log(said[right] / true[right])) == pytest.approx(0.6, rel=0.05)


def test_teams_keep_their_rate_and_take_turns() -> None:
    found = [team_calls(Teams(), 2000, 4.0, cv=1.0, rng=np.random.default_rng(seed)) for seed in range(5)]
    rates = [2000 / stream.arrival_s[-1] for stream in found]
    assert np.mean(rates) == pytest.approx(4.0, rel=0.1)
    stream = found[0]
    for run in np.unique(stream.session)[20:40]:
        agents = stream.prefix[stream.session == run] % Teams().agents
        # in order within a round: an agent that is not after the one before begins another round
        assert np.count_nonzero(np.diff(agents) <= 0) + 1 <= Teams().rounds[1]


def test_a_mixture_keeps_its_streams_apart() -> None:
    stream = mixed(500, 2.0, 1.0, 3)
    for column in (stream.session, stream.thread, stream.prefix):
        owners = {(int(name), int(kind)) for name, kind in zip(column, stream.kind, strict=True) if name >= 0}
        assert len(owners) == len({name for name, _ in owners})
    assert set(stream.kind.tolist()) == {0, 1, 2}


@pytest.mark.skipif(
    not (Path(__file__).parents[4] / "shared/data/llm").exists(), reason="../shared/data/llm is not here"
)
def test_conversations_are_hit_as_often_as_those_of_the_trace() -> None:
    """An infinite cache of 512-token blocks hits 35 % of the slice's blocks; the constants of the fit."""
    found = []
    for seed in range(3):
        stream = chat(7500, 3.26, 1.0, seed)
        prompts = prompts_of(stream, 512, exact(len(stream.arrival_s)), np.random.default_rng(0))
        found.append(1 - len(prompts.parent) / len(prompts.path))
    assert np.mean(found) == pytest.approx(0.3496, rel=0.15)


def test_suites_are_what_they_say() -> None:
    train, half = suite("train"), suite("shift-capacity")
    assert len(train) == len(half) == 20
    assert {i.group for i in train} == set(SCENARIOS)
    assert half[0].data.limit[1] == train[0].data.limit[1] // 2
    for instance in train:
        bounds = PROBLEM.lower_bounds(instance.data)
        assert 0 < bounds["uncached"] < 90
        # far below saturation with a cache that holds all
        assert bounds["mean_ttft"] < 5
