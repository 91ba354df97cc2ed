"""Job shop: hand-solved shops, a plain-Python twin, the verifier, and published figures."""

import hashlib
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import simulate

from problems.problem import Infeasible, NonFiniteScore
from problems.shop.job_shop import PROBLEM, Operation, Schedule, Shop, make_instance

DATA = Path(__file__).resolve().parents[3] / "../shared/data/classic"

# Each job's row: machines, then times. J0: M0 for 3, M1 for 2. J1: M1 for 2, M0 for 4.
TWO_JOBS = make_instance([[0, 1], [1, 0]], [[3, 2], [2, 4]])


def rule(name):
    return [PROBLEM.baseline(name).hooks["priority"]]


def solve(name, data, decoder="non-delay"):
    return simulate(PROBLEM, rule(name), data, decoder).start


# ---------------------------------------------------------------- solved by hand


def test_spt_makespan_of_two_jobs_is_seven():
    # M0: J0 0-3, J1 3-7.   M1: J1 0-2, J0 3-5.
    start = solve("spt", TWO_JOBS)
    assert start.tolist() == [[0, 3], [0, 3]]
    assert PROBLEM.measure(TWO_JOBS, Schedule(start)) == {"makespan": 7.0}
    assert PROBLEM.lower_bounds(TWO_JOBS) == {"makespan": 7.0}


def test_decoders_differ_on_whether_a_machine_waits():
    # J0 needs M0 for 8 at time 0; J1 comes from M1 at time 1 and needs M0 for 2 only.
    data = make_instance([[0, 1], [1, 0]], [[8, 1], [1, 2]])
    assert solve("spt", data, "non-delay").tolist() == [[0, 8], [0, 8]]
    assert solve("spt", data, "giffler-thompson").tolist() == [[3, 11], [0, 1]]
    # Ranked first, J0's first operation comes third: J1 has taken M0 for 1-3, and 8 do not fit before.
    assert solve("spt", data, "insertion").tolist() == [[3, 11], [0, 1]]


def test_insertion_uses_a_gap_that_dispatching_has_passed():
    # LPT places J1 on M1 (0-9), then on M0 (9-10), then J0 on M0: 2 fit into the gap before.
    data = make_instance([[0, 1], [1, 0]], [[2, 1], [9, 1]])
    last = lambda op, shop: -op.work_done - op.duration  # noqa: E731
    assert simulate(PROBLEM, [last], data, "insertion").start.tolist() == [[0, 9], [0, 9]]


def test_ties_go_to_the_lowest_job():
    data = make_instance([[0], [0], [0]], [[2], [2], [2]])
    for decoder in PROBLEM.simulators:
        assert solve("spt", data, decoder).ravel().tolist() == [0, 2, 4]


# ---------------------------------------------------------------- a slow twin


def twin_noise(data, decision, a):
    digest = hashlib.sha256(data.machine.tobytes() + data.duration.tobytes()).digest()
    mask = 2**64 - 1
    z = int.from_bytes(digest[:8], "little") + decision * 0x9E3779B97F4A7C15 + a * 0xD1B54A32D192ED03 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return ((z ^ z >> 31) >> 11) * 2.0**-53


class Twin:
    """Recompute everything from the starts chosen so far."""

    def __init__(self, data, decoder, priority):
        self.data, self.decoder, self.priority = data, decoder, priority
        self.m, self.p = data.machine.tolist(), data.duration.tolist()
        self.start: dict[tuple[int, int], int] = {}

    def finish(self, o):
        return self.start[o] + self.p[o[0]][o[1]]

    def on(self, machine):
        return [o for o in self.start if self.m[o[0]][o[1]] == machine]

    def open(self):
        """Operations not scheduled, by job in order."""
        rows = [[(j, k) for k in range(len(row)) if (j, k) not in self.start] for j, row in enumerate(self.m)]
        return [row for row in rows if row]

    def ready(self, o):
        return self.finish((o[0], o[1] - 1)) if o[1] else 0

    def earliest(self, o):
        return max([self.ready(o), *(self.finish(x) for x in self.on(self.m[o[0]][o[1]]))])

    def gap(self, o):
        length = self.p[o[0]][o[1]]
        others = self.on(self.m[o[0]][o[1]])
        times = sorted({self.ready(o), *(self.finish(x) for x in others if self.finish(x) > self.ready(o))})
        return next(t for t in times if all(self.finish(x) <= t or t + length <= self.start[x] for x in others))

    def candidates(self):
        """(now, operations that compete)."""
        heads = [row[0] for row in self.open()]
        if self.decoder == "insertion":
            return min(map(self.ready, heads)), heads
        now = min(map(self.earliest, heads))
        if self.decoder == "non-delay":
            return now, [o for o in heads if self.earliest(o) == now]
        completes, o = min((self.earliest(o) + self.p[o[0]][o[1]], o) for o in heads)
        machine = self.m[o[0]][o[1]]
        return now, [o for o in heads if self.m[o[0]][o[1]] == machine and self.earliest(o) < completes]

    def operation(self, o, now):
        (j, k), length = o, len(self.m[0])
        duration, machine, last = self.p[j][k], self.m[j][k], k + 1 == length
        waiting = [row[0] for row in self.open() if self.ready(row[0]) <= now]
        queue = lambda x: sum(self.p[j][k] for j, k in waiting if self.m[j][k] == x)  # noqa: E731
        left = lambda x: sum(self.p[j][k] for row in self.open() for j, k in row if self.m[j][k] == x)  # noqa: E731
        after = -1 if last else self.m[j][k + 1]
        return Operation(
            duration=duration,
            work_done=sum(self.p[j][:k]),
            work_left=sum(self.p[j][k:]),
            tail=sum(self.p[j][k + 1 :]),
            operations_left=length - k,
            waiting=now - self.ready(o),
            machine_work_left=left(machine),
            machine_queue=queue(machine) + (0 if o in waiting else duration),
            next_duration=0 if last else self.p[j][k + 1],
            next_machine_queue=0 if last else queue(after),
            next_machine_free_in=0 if last else max([0, *(self.finish(x) - now for x in self.on(after))]),
            next_machine_work_left=0 if last else left(after),
            noise=twin_noise(self.data, len(self.start), j * length + k),
        )

    def run(self):
        jobs, machines = self.data.machine.shape
        while self.open():
            now, competing = self.candidates()
            share = len(self.start) / (jobs * machines)
            shop = Shop(now, float(self.data.duration.mean()), jobs, machines, share)
            chosen = min(competing, key=lambda o: (self.priority(self.operation(o, now), shop), o))
            self.start[chosen] = self.gap(chosen) if self.decoder == "insertion" else self.earliest(chosen)
        return [[self.start[j, k] for k in range(machines)] for j in range(jobs)]


def constant(op, shop, theta):
    return theta[0]


def weigh(op, shop, theta):
    """Every quantity, so that none can be wrong unnoticed."""
    total = 0.0
    for i in range(len(op)):
        total += theta[i] * op[i]
    for i in range(len(shop)):
        total += theta[len(op) + i] * shop[i] * op.duration
    return total


@st.composite
def shops(draw):
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    machine = [draw(st.permutations(range(m))) for _ in range(n)]
    duration = draw(st.lists(st.lists(st.integers(1, 9), min_size=m, max_size=m), min_size=n, max_size=n))
    return make_instance(machine, duration)


weights = st.lists(st.integers(-3, 3), min_size=18, max_size=18)


@pytest.mark.parametrize("decoder", PROBLEM.simulators)
@given(data=shops(), theta=weights)
@settings(max_examples=150, deadline=None)
def test_simulator_agrees_with_its_twin_and_conserves_all_operations(decoder, data, theta):
    solution = simulate(PROBLEM, [weigh], data, decoder, theta=theta)
    PROBLEM.verify(data, solution)  # every operation once, in order, no machine twice at a time
    assert PROBLEM.measure(data, solution)["makespan"] >= PROBLEM.lower_bounds(data)["makespan"]
    assert solution.start.tolist() == Twin(data, decoder, lambda op, shop: weigh(op, shop, theta)).run()


@given(data=shops(), theta=weights, factor=st.integers(2, 50))
@settings(max_examples=50, deadline=None)
def test_a_change_of_unit_changes_nothing_for_a_linear_rule(data, theta, factor):
    # Noise, counts and shares have other units: leave them out.
    theta = [0 if i in (4, 12, 15, 16, 17) else w for i, w in enumerate(theta)]
    theta[13:] = [0] * 5
    larger = make_instance(data.machine, data.duration * factor)
    for decoder in PROBLEM.simulators:
        start = simulate(PROBLEM, [weigh], data, decoder, theta=theta).start
        assert (simulate(PROBLEM, [weigh], larger, decoder, theta=theta).start == start * factor).all()


def test_random_is_the_same_each_time_and_another_on_another_instance():
    first, second = (i.data for i in PROBLEM.probes()[2:4])
    assert (solve("random", first) == solve("random", first)).all()
    draws = [twin_noise(first, d, a) for d in range(40) for a in range(40)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.03)
    assert len(set(draws)) == 1600
    assert twin_noise(first, 0, 0) != twin_noise(second, 0, 0)


@pytest.mark.parametrize("decoder", PROBLEM.simulators)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_priority_that_is_not_finite_stops_the_simulation(decoder, value):
    with pytest.raises(NonFiniteScore, match="priority returned NaN or an infinity"):
        simulate(PROBLEM, [constant], TWO_JOBS, decoder, theta=[value])


# ---------------------------------------------------------------- instances and solutions are checked


@pytest.mark.parametrize(
    ("machine", "duration", "message"),
    [
        ([[0, 1]], [[1, 0]], "duration must be positive, got 0 at job 0, operation 1"),
        ([[0, 1], [1, 1]], [[1, 2], [1, 1]], r"machines 0..1 once, got \[1, 1\] at job 1"),
        ([[0, 2]], [[1, 1]], r"machines 0..1 once, got \[0, 2\] at job 0"),
        ([[0, 1]], [[1]], r"two \(n, m\) tables, got \(1, 2\) and \(1, 1\)"),
        ([[0, 1]], [[2**52, 2**52]], r"sum to less than 2\*\*53"),
        ([], [], "two .* tables"),
    ],
)
def test_a_broken_instance_is_refused(machine, duration, message):
    with pytest.raises(ValueError, match=message):
        make_instance(machine, duration)


def test_instances_are_frozen():
    with pytest.raises(ValueError, match="read-only"):
        TWO_JOBS.duration[0, 0] = 1


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.array([[0.0, 3.0], [0.0, 3.0]]), "int64 array of shape .2, 2., got float64"),
        (np.array([[0, 3]]), "int64 array of shape .2, 2., got int64 of shape .1, 2."),
        (np.array([[0, 3], [-1, 3]]), "a start must be in 0.*got -1 at job 1, operation 0"),
        (np.array([[0, 3], [0, 2**62]]), "a start must be in 0"),
        (np.array([[0, 2], [0, 3]]), "operation 1 of job 0 starts at 2, before operation 0 finishes at 3"),
        (
            np.array([[0, 3], [0, 2]]),
            "on machine 0, operation 1 of job 1 starts at 2, before operation 0 of job 0 finishes at 3",
        ),
    ],
)
def test_each_rule_of_verify_rejects(start, message):
    PROBLEM.verify(TWO_JOBS, Schedule(np.array([[0, 3], [0, 3]])))
    with pytest.raises(Infeasible, match=message):
        PROBLEM.verify(TWO_JOBS, Schedule(start))


# ---------------------------------------------------------------- published figures


@cache
def gaps(name, decoder="non-delay"):
    """(8, 10) gaps in % to the best known makespans, a row per size."""
    found = []
    for instance in PROBLEM.splits["test"]():
        makespan = PROBLEM.measure(instance.data, simulate(PROBLEM, rule(name), instance.data, decoder))["makespan"]
        assert makespan >= PROBLEM.lower_bounds(instance.data)["makespan"]
        assert makespan >= instance.references["makespan"].value
        found.append(100 * (makespan / instance.references["makespan"].value - 1))
    return np.array(found).reshape(8, 10)


@pytest.mark.parametrize(
    ("name", "mean", "by_size"),
    [
        ("spt", 27.5, [25.9, 32.8, 27.8, 35.3, 34.5, 24.1, 25.5, 14.4]),
        ("mopnr", 19.7, [20.5, 23.6, 21.7, 22.8, 25.0, 17.4, 17.7, 9.2]),
        ("mwkr", 19.6, [19.2, 23.4, 21.8, 23.9, 25.2, 16.9, 17.9, 8.3]),
        ("fdd_mwkr", 18.0, [17.7, 21.3, 19.9, 21.7, 24.1, 15.3, 16.3, 7.6]),
        ("lrm", 17.1, [19.5, 20.0, 17.7, 20.3, 23.8, 14.3, 15.2, 6.5]),
        ("p_over_work_left", 14.5, [16.6, 17.3, 18.3, 16.3, 19.0, 12.2, 12.5, 3.7]),
    ],
)
def test_rules_in_the_non_delay_decoder_give_the_known_gaps_on_taillard(name, mean, by_size):
    found = gaps(name)
    assert found.mean() == pytest.approx(mean, abs=0.1)
    assert found.mean(axis=1) == pytest.approx(by_size, abs=0.1)


@pytest.mark.parametrize(
    ("name", "decoder", "mean"),
    [
        ("spt", "giffler-thompson", 67.3),
        ("mwkr", "giffler-thompson", 26.1),
        ("fdd_mwkr", "giffler-thompson", 24.8),
        ("p_over_work_left", "giffler-thompson", 37.0),
        ("spt", "insertion", 58.3),
        ("mopnr", "insertion", 26.0),
        ("fdd_mwkr", "insertion", 24.2),
    ],
)
def test_rules_in_the_other_decoders_give_the_known_gaps_on_taillard(name, decoder, mean):
    assert gaps(name, decoder).mean() == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize(
    ("name", "mean"),
    [("fifo", 25.42), ("lpt", 43.07), ("winq", 31.56), ("pt_winq", 24.86), ("random", 30.36)],
)
def test_the_other_rules_keep_their_gaps_on_taillard(name, mean):
    assert gaps(name).mean() == pytest.approx(mean, abs=0.01)


def test_best_of_128_passes_is_never_worse_than_the_rule_and_near_ten_percent_on_taillard():
    baseline = PROBLEM.baseline("best_of_128")
    found = []
    for instance in PROBLEM.splits["test"]():
        solution = baseline.solve(instance.data)
        PROBLEM.verify(instance.data, solution)
        makespan = PROBLEM.measure(instance.data, solution)["makespan"]
        found.append(100 * (makespan / instance.references["makespan"].value - 1))
    assert (np.array(found) <= gaps("p_over_work_left").ravel()).all()
    assert np.mean(found) == pytest.approx(9.73, abs=0.01)


@pytest.mark.skipif(not DATA.exists(), reason="the classic slices are not at ../shared/data")
def test_the_bound_of_the_fisher_thompson_shops_is_the_published_one():
    # Carlier and Pinson (1989) print 52, 808 and 1164 as the one-machine bounds.
    instances = json.loads((DATA / "jssp_ft.json").read_text())["instances"]
    bounds = {k: PROBLEM.lower_bounds(make_instance(v["machine"], v["time"]))["makespan"] for k, v in instances.items()}
    assert bounds == {"ft06": 52, "ft10": 808, "ft20": 1164}


@pytest.mark.skipif(not DATA.exists(), reason="the classic slices are not at ../shared/data")
def test_p_over_work_left_gives_the_known_gap_on_lawrence():
    found = []
    for item in json.loads((DATA / "jssp_la.json").read_text())["instances"].values():
        data = make_instance(item["machine"], item["time"])
        assert PROBLEM.lower_bounds(data)["makespan"] <= item["lower_bound"]
        makespan = (solve("p_over_work_left", data) + data.duration).max()
        found.append(100 * (makespan / item["best_known"] - 1))
    assert np.mean(found) == pytest.approx(8.9, abs=0.1)


# ---------------------------------------------------------------- splits


def test_splits_hold_different_instances_with_references():
    seen = set()
    for split in PROBLEM.splits.values():
        for instance in split():
            seen.add(instance.data.seed[0])  # a digest of the content
            reference = instance.references["makespan"]
            assert reference.kind in ("optimum", "best known", "lower bound")
            assert reference.value >= PROBLEM.lower_bounds(instance.data)["makespan"]
            assert instance.group == "{}x{}".format(*instance.data.machine.shape)
    assert len(seen) == sum(len(split()) for split in PROBLEM.splits.values()) == 336 + 400 + 80 + 16 + 40
