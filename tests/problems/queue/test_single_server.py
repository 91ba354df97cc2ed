"""One server with predicted sizes: by hand, by ticks, and by the formulas of queueing theory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import simulate

from problems.problem import BadInstance, Infeasible
from problems.queue import single_server as queue
from problems.queue._jobs import DISTRIBUTIONS, TICKS, draw, make_instance, sizes
from problems.queue.single_server import PROBLEM, Service

# J0 is long and predicted short; J1 and J2 come while it runs. A review is due after 5 ticks.
THREE = make_instance([0, 4, 10], [40, 8, 12], [10, 20, 5])


def segments(solution: Service) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in solution), strict=True))


def test_fcfs_by_hand():
    assert segments(simulate(PROBLEM, [queue.fcfs], THREE)) == [(0, 0, 40), (1, 40, 48), (2, 48, 60)]


def test_pspjf_by_hand():
    # J0 is predicted 10, J1 20: J0 goes on. At 10 J2, predicted 5, takes over.
    assert segments(simulate(PROBLEM, [queue.pspjf], THREE)) == [(0, 0, 10), (2, 10, 22), (0, 22, 52), (1, 52, 60)]


def test_without_preemption_the_shortest_prediction_waits_for_the_job_in_service():
    assert segments(simulate(PROBLEM, [queue.pspjf], THREE, "non_preemptive")) == [(0, 0, 40), (2, 40, 52), (1, 52, 60)]


def test_srpt_with_true_sizes_by_hand():
    assert segments(queue.srpt(THREE)) == [(0, 0, 4), (1, 4, 12), (2, 12, 24), (0, 24, 60)]
    assert queue.measure(THREE, queue.srpt(THREE))["total_flow"] == 60 + 8 + 14


def test_las_reviews_after_a_quarter_of_the_mean_size():
    two = make_instance([0, 1], [20, 20], [9, 9])
    assert two.review == 5
    # J1 has attained less until 6, when both have attained... J0 1, J1 5; then they take turns of 5.
    assert segments(simulate(PROBLEM, [queue.las], two))[:4] == [(0, 0, 1), (1, 1, 6), (0, 6, 11), (1, 11, 16)]


def twin(data, priority, preempts: bool) -> list[tuple[int, int]]:
    """Job served in each tick, tick by tick: another way to say the same."""
    left, attained, served = data.size.tolist(), [0] * len(data.size), []
    now, running, decided_at = 0, None, -1
    while any(left):
        present = [j for j in range(len(left)) if left[j] and data.arrival[j] <= now]
        if not present:
            served.append(-1)
            now, running = now + 1, None
            continue
        due = len(present) > 1 and now - decided_at >= data.review[0]
        arrives = now in data.arrival
        if running is None or not left[running] or (preempts and (arrives or due)):
            before = running if running is not None and left[running] else -1
            server = queue.Server(float(len(present)), sum(int(data.predicted[j]) for j in present) / len(present), now)
            scores = [
                priority(
                    queue.Job(float(data.predicted[j]), float(attained[j]), float(now - data.arrival[j]), j == before),
                    server,
                )
                for j in present
            ]
            running, decided_at = present[int(np.argmin(scores))], now
        left[running] -= 1
        attained[running] += 1
        served.append(running)
        now += 1
    return served


def by_tick(solution: Service) -> list[int]:
    served = [-1] * int(solution.end[-1])
    for j, start, end in segments(solution):
        served[start:end] = [j] * (end - start)
    return served


def sticky(job, server):
    return job.predicted - 3.0 * job.attained - 5.0 * job.running + job.wait / server.mean_predicted - server.jobs


jobs = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=12)


@pytest.mark.parametrize("rule", [*(b.hooks["priority"] for b in PROBLEM.rules), sticky], ids=lambda f: f.__name__)
@settings(max_examples=25, deadline=None)
@given(rows=jobs)
def test_a_simulation_by_ticks_serves_the_same(rule, rows):
    gaps, size, predicted = zip(*rows, strict=True)
    data = make_instance(np.cumsum(gaps), size, predicted)
    for decoder in PROBLEM.simulators:
        solution = simulate(PROBLEM, [rule], data, decoder)
        queue.verify(data, solution)
        assert by_tick(solution) == twin(data, rule, decoder == "preemptive")


@settings(max_examples=100, deadline=None)
@given(rows=jobs, seed=st.integers(0, 1000))
def test_permuting_what_is_hidden_changes_no_decision_up_to_the_cut(rows, seed):
    gaps, size, predicted = zip(*rows, strict=True)
    data = make_instance(np.cumsum(gaps), size, predicted)
    for decoder in PROBLEM.simulators:
        solution = simulate(PROBLEM, [sticky], data, decoder)
        future = queue.permute(data, solution, np.random.default_rng(seed))
        other = simulate(PROBLEM, [sticky], future.data, decoder)
        pairs = zip(queue.decided(solution, future.until), queue.decided(other, future.until), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_no_schedule_beats_srpt_on_small_instances():
    rng = np.random.default_rng(1)
    for _ in range(200):
        data = make_instance(np.cumsum(rng.integers(0, 20, 6)), rng.integers(1, 30, 6), rng.integers(1, 30, 6))
        best = queue.lower_bounds(data)["total_flow"]
        flows = [
            queue.measure(data, simulate(PROBLEM, [b.hooks["priority"]], data))["total_flow"] for b in PROBLEM.rules
        ]
        true = data._replace(predicted=data.size)
        assert min(flows) >= best
        assert queue.measure(true, simulate(PROBLEM, [queue.sprpt], true))["total_flow"] == best


def long_run(distribution: str, load: float, n: int = 300_000):
    return draw(distribution, n, load, 1.0, np.random.default_rng((7, round(100 * load))))


def mean_flow(data, rule, decoder: str) -> float:
    solution = simulate(PROBLEM, [rule], data, decoder)
    return queue.measure(data, solution)["total_flow"] / len(data.size) / TICKS


@pytest.mark.parametrize(("distribution", "second"), [("exponential", 2.0), ("weibull", 6.0)])
def test_fcfs_has_the_mean_of_pollaczek_and_khinchine(distribution, second):
    # E[F] = 1 + load E[S^2] / (2 (1 - load))
    data = long_run(distribution, 0.5)
    assert mean_flow(data, queue.fcfs, "non_preemptive") == pytest.approx(1 + 0.5 * second / (2 * 0.5), rel=0.04)


def test_blind_rules_have_the_same_mean_for_exponential_sizes():
    # Memoryless remaining sizes: the number of jobs does not depend on who is served.
    data = long_run("exponential", 0.7)
    assert mean_flow(data, queue.fcfs, "preemptive") == pytest.approx(1 / 0.3, rel=0.04)
    assert mean_flow(data, queue.las, "preemptive") == pytest.approx(1 / 0.3, rel=0.04)


def test_sjf_with_true_sizes_has_the_mean_of_cobham():
    # E[F] = 1 + load E[S^2] / 2 * E[(1 - load(S))^-2] for the least size first without preemption
    load, x = 0.7, np.linspace(0.0005, 40.0, 400_000)
    density = np.exp(-x)
    below = load * (1 - (1 + x) * np.exp(-x))
    expected = 1 + load * 2.0 / 2 * float(np.sum(density / (1 - below) ** 2) * (x[1] - x[0]))
    data = long_run("exponential", load)
    data = data._replace(predicted=data.size)
    assert mean_flow(data, queue.pspjf, "non_preemptive") == pytest.approx(expected, rel=0.04)


def test_predicted_remaining_size_fails_on_heavy_tails_and_predicted_size_does_not():
    found = {}
    for rule in PROBLEM.rules:
        flows = [
            queue.measure(i.data, simulate(PROBLEM, [rule.hooks["priority"]], i.data))["total_flow"]
            for i in PROBLEM.splits["train"]()
            if i.group == "pareto 0.9"
        ]
        found[rule.name] = sum(flows)
    assert found["pspjf"] < found["sprpt"] < found["fcfs"]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_sizes_have_mean_one(distribution):
    drawn = sizes(distribution, 4_000_000, np.random.default_rng(3))
    assert drawn.mean() == pytest.approx(1.0, rel=0.02)
    assert drawn.min() >= 0


def broken(**changes) -> Service:
    solution = simulate(PROBLEM, [queue.pspjf], THREE)
    return solution._replace(**{name: np.array(values, np.int64) for name, values in changes.items()})


@pytest.mark.parametrize(
    ("solution", "rule"),
    [
        (broken(job=[0, 2, 0]), "must have shape"),
        (broken(job=[0, 2, 0, 3]), r"job\[3\] must be a job in 0..2, got 3"),
        (broken(start=[0, 9, 22, 52]), "segment 1 serves job 2"),
        (broken(end=[10, 22, 22, 60]), "segment 2 serves job 0"),
        (broken(job=[1, 2, 0, 0]), "segment 0 serves job 1"),
        (broken(end=[10, 21, 52, 60]), "job 2 has size 12, but is served for 11"),
        (broken(start=[0, 10, 22, 53], end=[10, 22, 52, 61]), "the server idles before 53"),
        (broken()._replace(job=np.zeros(4)), "one-dimensional int64"),
    ],
)
def test_verify_refuses(solution, rule):
    with pytest.raises(Infeasible, match=rule):
        queue.verify(THREE, solution)


def test_idling_until_the_next_arrival_is_no_fault():
    data = make_instance([3, 100], [5, 5], [5, 5])
    queue.verify(data, simulate(PROBLEM, [queue.fcfs], data))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1,2\n", "line 1: three whole numbers"),
        ("0,5,5\nx,1,1\n", "line 2: three whole numbers"),
        ("5,1,1\n4,1,1\n", "arrivals must ascend from 0, got 4 at job 1"),
        ("0,0,1\n", "size must be positive, got 0 at job 0"),
        ("0,1,9999999999999999999\n", "too large"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(tmp_path: Path, text: str, rule: str):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(BadInstance, match=rule):
        queue.read(tmp_path / "own.csv")


def test_a_file_with_a_header_is_read(tmp_path: Path):
    (tmp_path / "own.csv").write_text("arrival, size, predicted\n0,40,10\n4,8,20\n10,12,5\n")
    (instance,) = queue.read(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(instance.data, THREE, strict=True))
    assert instance.references["total_flow"].value == 82


def test_pinned_values_of_the_baselines_on_one_instance():
    instance = PROBLEM.splits["valid"]()[0]
    flows = {
        b.name: queue.measure(instance.data, simulate(PROBLEM, [b.hooks["priority"]], instance.data))["total_flow"]
        for b in PROBLEM.rules
    }
    assert flows == PINNED
    assert math.isclose(instance.references["total_flow"].value, PINNED_OPTIMUM)


PINNED = {"fcfs": 3078966.0, "pspjf": 2343274.0, "sprpt": 2331123.0, "las": 3293814.0, "hrrn": 2390004.0}
PINNED_OPTIMUM = 1898616.0
