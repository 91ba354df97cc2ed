from __future__ import annotations

import pytest
from simulate import simulate

from problems.serving.fair_sharing import PROBLEM

# Service gap (ktoken), 99th percentile of TTFT (s), latency (ms/token) on a fixed instance of an A10.
VALUES = (
    ("fcfs", 230.599000, 211.902256, 926.833028),
    ("lpm", 126.242000, 212.799389, 939.122285),
    ("round_robin", 47.903000, 216.750459, 701.927784),
    ("vtc", 19.332000, 212.717506, 579.325242),
    ("dlpm", 13.877000, 246.103357, 376.126650),
    ("no_lift", 14.510000, 204.924941, 490.157210),
)


@pytest.mark.parametrize(("rule", "gap", "ttft", "latency"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(rule: str, gap: float, ttft: float, latency: float) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a10-8b-125")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    solution = simulate(PROBLEM, [baseline.hooks[hook.name] for hook in PROBLEM.hooks], instance.data)
    PROBLEM.verify(instance.data, solution)
    found = PROBLEM.measure(instance.data, solution)
    assert found["service_gap"] == pytest.approx(gap, rel=1e-5)
    assert found["p99_ttft"] == pytest.approx(ttft, rel=1e-5)
    assert found["normalised_latency"] == pytest.approx(latency, rel=1e-5)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
