"""Decoders of the activity engine against plain-Python twins, and on the J30 projects."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems._engines import activity
from problems._engines.activity_network import make_network
from problems._engines.activity_timeline import open_timeline
from problems._jit import kernel

J30 = Path(__file__).resolve().parents[3] / "../shared/data/classic/rcpsp_j30.json"


@kernel
def _best(state, priority):
    best = state.candidate[0]
    for i in range(1, state.tally[activity.CANDIDATES]):
        a = state.candidate[i]
        if priority[a] < priority[best] or (priority[a] == priority[best] and a < best):
            best = a
    return best


@kernel
def by_events(network, priority, delay):
    state = activity.begin(network)
    while (activity.startable(network, state) if delay == 0.0 else activity.conflict_set(network, state, delay)) > 0:
        activity.schedule(network, state, _best(state, priority))
    return state.start


@kernel
def by_list(network, priority):
    state, timeline = activity.begin(network), open_timeline(network)
    while activity.eligible(network, state) > 0:
        activity.insert(network, state, timeline, _best(state, priority))
    return state.start


def project(duration, demands, capacity, successors, release=None):
    """Arguments of make_network, kept as plain data for the twins."""
    return {
        "duration": duration,
        "demands": demands,
        "capacity": capacity,
        "successors": successors,
        "release": release or [0] * len(duration),
    }


def twin_by_events(duration, demands, capacity, successors, release, priority, delay):
    """Every unit of a resource has a time from which it is free; nothing is kept between decisions."""
    units = [[0.0] * c for c in capacity]
    start: dict[int, float] = {}

    def earliest(a):
        before = [start[b] + duration[b] for b in range(len(duration)) if a in successors[b]]
        return max([release[a], *before, *(sorted(units[r])[d - 1] for r, d in demands[a])])

    while len(start) < len(duration):
        eligible = [
            a
            for a in range(len(duration))
            if a not in start and all(b in start for b in range(len(duration)) if a in successors[b])
        ]
        now = min(map(earliest, eligible))
        competing = [a for a in eligible if earliest(a) == now]
        if delay > 0:
            quickest = min(eligible, key=lambda a: (earliest(a) + duration[a], a))
            completes = earliest(quickest) + duration[quickest]
            used = {r for r, _ in demands[quickest]}
            rivals = [a for a in eligible if used & {r for r, _ in demands[a]} and earliest(a) < completes]
            rivals = list({quickest, *rivals})
            first = min(map(earliest, rivals))
            competing = [a for a in rivals if earliest(a) <= first + delay * (completes - first)]
        chosen = min(competing, key=lambda a: (priority[a], a))
        start[chosen] = earliest(chosen)
        for r, d in demands[chosen]:
            free = sorted(u for u in units[r] if u <= start[chosen])
            busy = [u for u in units[r] if u > start[chosen]]
            units[r] = free[: len(free) - d] + [start[chosen] + duration[chosen]] * d + busy
    return [start[a] for a in range(len(duration))]


def usage(duration, demands, start, resource, time):
    return sum(
        d for a, begin in start.items() for r, d in demands[a] if r == resource and begin <= time < begin + duration[a]
    )


def twin_by_list(duration, demands, capacity, successors, release, priority):
    """Try every time at which something ends."""
    start: dict[int, float] = {}
    while len(start) < len(duration):
        eligible = [
            a
            for a in range(len(duration))
            if a not in start and all(b in start for b in range(len(duration)) if a in successors[b])
        ]
        a = min(eligible, key=lambda a: (priority[a], a))
        ready = max([release[a], *(start[b] + duration[b] for b in start if a in successors[b])])
        for t in sorted({ready, *(start[b] + duration[b] for b in start if start[b] + duration[b] > ready)}):
            moments = {t, *(start[b] for b in start if t < start[b] < t + duration[a])}
            if all(usage(duration, demands, start, r, m) + d <= capacity[r] for r, d in demands[a] for m in moments):
                start[a] = t
                break
    return [start[a] for a in range(len(duration))]


@st.composite
def projects(draw):
    n = draw(st.integers(1, 9))
    capacity = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    duration = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    amounts = [[(r, draw(st.integers(0, c))) for r, c in enumerate(capacity)] if duration[a] else [] for a in range(n)]
    demands = [[(r, d) for r, d in pairs if d] for pairs in amounts]
    order = draw(st.permutations(range(n)))  # so that index order is not precedence order
    arcs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=8))
    successors = [sorted({order[j] for i, j in arcs if i < j and order[i] == a}) for a in range(n)]
    release = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return project(duration, demands, capacity, successors, release)


def check(p, start):
    """Precedence, release and capacity, from first principles."""
    starts = dict(enumerate(start))
    for a, begin in starts.items():
        assert begin >= p["release"][a]
        assert all(starts[b] >= begin + p["duration"][a] for b in p["successors"][a])
        for r, c in enumerate(p["capacity"]):
            assert usage(p["duration"], p["demands"], starts, r, begin) <= c


@given(projects(), st.lists(st.integers(0, 3), min_size=9, max_size=9), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=300, deadline=None)
def test_event_decoder_agrees_with_its_twin(p, priority, delay):
    start = by_events(make_network(**p), np.array(priority, dtype=float), delay)
    check(p, start)
    assert start.tolist() == twin_by_events(**p, priority=priority, delay=delay)


@given(projects(), st.lists(st.integers(0, 3), min_size=9, max_size=9))
@settings(max_examples=300, deadline=None)
def test_list_decoder_agrees_with_its_twin(p, priority):
    start = by_list(make_network(**p), np.array(priority, dtype=float))
    check(p, start)
    assert start.tolist() == twin_by_list(**p, priority=priority)


def test_only_a_delay_lets_a_machine_wait_for_the_better_activity():
    # One machine. A (8 long) is there at 0, B (2 long, preferred) at 1.
    network = make_network([8, 2], [[(0, 1)], [(0, 1)]], [1], [[], []], [0, 1])
    priority = np.array([1.0, 0.0])
    assert by_events(network, priority, 0.0).tolist() == [0, 8]
    assert by_events(network, priority, 1.0).tolist() == [3, 1]
    assert by_list(network, priority).tolist() == [3, 1]


def test_list_decoder_fills_the_gap_that_the_event_decoder_leaves():
    # One machine. B takes 4-6; C (3 long) fits before it, but only the list decoder looks back.
    network = make_network([2, 3], [[(0, 1)], [(0, 1)]], [1], [[], []], [4, 0])
    assert by_list(network, np.array([0.0, 1.0])).tolist() == [4, 0]
    assert by_list(network, np.array([1.0, 0.0])).tolist() == [4, 0]


def test_two_units_run_two_activities_at_once():
    # Three activities of one unit and one of both, on two units.
    network = make_network([3, 2, 2, 1], [[(0, 1)], [(0, 1)], [(0, 1)], [(0, 2)]], [2], [[]] * 4)
    assert by_events(network, np.arange(4.0), 0.0).tolist() == [0, 0, 2, 4]


def test_ties_go_to_the_lowest_index():
    network = make_network([1, 1, 1], [[(0, 1)]] * 3, [1], [[]] * 3)
    assert by_events(network, np.zeros(3), 0.0).tolist() == [0, 1, 2]
    assert by_events(network, np.zeros(3), 1.0).tolist() == [0, 1, 2]
    assert by_list(network, np.zeros(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": [1, -1]}, "duration must be finite and >= 0, got -1.0 at activity 1"),
        ({"duration": [float("nan"), 1]}, "duration must be finite and >= 0, got nan at activity 0"),
        ({"release": [0, float("inf")]}, "release must be finite and >= 0, got inf at activity 1"),
        ({"duration": [1, 1, 1]}, "one of each per activity, got 3 durations, 2 releases"),
        ({"duration": [], "demands": [], "successors": [], "release": []}, "must have activities, got none"),
        ({"demands": [[], [(0, 3)]]}, "demand must be in 1..2 .* got 3 at activity 1"),
        ({"demands": [[(1, 1)], []]}, "resource must be in 0..0, got 1 at activity 0"),
        ({"demands": [[(0, 1), (0, 1)], []]}, "activity 0 demands a resource twice"),
        ({"duration": [0, 1]}, "length zero can hold no units, got .* at activity 0"),
        ({"successors": [[2], []]}, "successor must be in 0..1, got 2 at activity 0"),
        ({"successors": [[1], [0]]}, "precedence has a cycle through activity 0"),
    ],
)
def test_a_broken_network_is_refused(change, message):
    sound = project([1, 1], [[(0, 1)], [(0, 1)]], [2], [[1], []])
    with pytest.raises(ValueError, match=message):
        make_network(**sound | change)


def latest_finish(duration, successors):
    """Backward pass from the critical path's end; activities are topologically numbered."""
    earliest = [0] * len(duration)
    for a, after in enumerate(successors):
        for b in after:
            earliest[b] = max(earliest[b], earliest[a] + duration[a])
    end = max(e + d for e, d in zip(earliest, duration, strict=True))
    latest = [end] * len(duration)
    for a in reversed(range(len(duration))):
        latest[a] = min([end, *(latest[b] - duration[b] for b in successors[a])])
    return latest


@pytest.mark.skipif(not J30.exists(), reason="the PSPLIB J30 slice is not at ../shared/data")
def test_j30_projects_give_the_published_gaps_of_spt_and_lft():
    gaps: dict[str, list[float]] = {"SPT list": [], "SPT events": [], "LFT list": [], "LFT events": []}
    for item in json.loads(J30.read_text())["instances"].values():
        demands = [[(r, d) for r, d in enumerate(row) if d] for row in item["r"]]
        network = make_network(item["p"], demands, item["cap"], item["succ"])
        rules = {"SPT": item["p"], "LFT": latest_finish(item["p"], item["succ"])}
        for rule, values in rules.items():
            priority = np.array(values, dtype=float)
            for name, start in (("list", by_list(network, priority)), ("events", by_events(network, priority, 0.0))):
                makespan = (start + network.duration).max()
                gaps[f"{rule} {name}"].append(100 * (makespan / item["best_known"] - 1))
    means = {name: float(np.mean(values)) for name, values in gaps.items()}
    assert means == pytest.approx({"SPT list": 17.1, "SPT events": 9.8, "LFT list": 5.6, "LFT events": 4.4}, abs=0.06)
