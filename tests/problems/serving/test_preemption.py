from __future__ import annotations

import pytest
from simulate import simulate

from problems.serving.preemption import PROBLEM

# Promises kept (%), 99th percentile of urgent TTFT (s), best-effort latency (ms/token) on a fixed instance of an A100.
VALUES = (
    ("vllm", 45.750000, 8.370856, 85.563650),
    ("fcfs_whole", 45.000000, 9.048238, 87.660822),
    ("priority", 82.000000, 0.622461, 111.102572),
    ("flowprefill", 86.250000, 23.225705, 90.349745),
    ("qllm", 53.000000, 1.802540, 182.831801),
    ("alise", 58.000000, 18.973278, 84.271185),
    ("fastswitch", 80.250000, 1.015678, 109.406838),
)


@pytest.mark.parametrize(("rule", "kept", "ttft", "latency"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(rule: str, kept: float, ttft: float, latency: float) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a100-8b-95")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    solution = simulate(PROBLEM, [baseline.hooks[hook.name] for hook in PROBLEM.hooks], instance.data)
    PROBLEM.verify(instance.data, solution)
    found = PROBLEM.measure(instance.data, solution)
    assert found["slo_attainment"] == pytest.approx(kept)
    assert found["urgent_p99_ttft"] == pytest.approx(ttft, rel=1e-5)
    assert found["best_effort_latency"] == pytest.approx(latency, rel=1e-5)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
