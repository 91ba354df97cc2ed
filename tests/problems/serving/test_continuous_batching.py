from __future__ import annotations

import pytest
from servers import serve

from problems.serving.continuous_batching import PROBLEM

# Normalised latency (ms/token), 99th percentile of TTFT (s), promises kept (%) on the fourth valid instance of an A10.
VALUES = (
    ("orca", 320.133489, 62.333948, 14.0),
    ("vllm_v0", 90.031060, 13.469349, 74.2),
    ("sarathi", 76.050616, 10.263142, 79.0),
    ("sarathi_slo", 76.066909, 10.841367, 78.8),
    ("vllm_v1", 80.423814, 11.360776, 78.2),
    ("conservative", 316.045895, 61.551856, 14.4),
    ("past_future", 79.653038, 11.018159, 78.0),
    ("s3", 86.008928, 19.022768, 80.8),
    ("sjf", 75.486726, 16.843938, 82.6),
    ("learning_to_rank", 75.809076, 11.201221, 83.0),
    ("jitserve", 75.179546, 18.741357, 89.6),
    ("smallest_volume", 72.659430, 16.985014, 88.2),
    ("volume_past_future", 71.443336, 17.009334, 86.4),
    ("volume_one_prompt", 70.309399, 15.968734, 86.8),
    ("laps", 78.413712, 10.758649, 79.2),
)


@pytest.mark.parametrize(("rule", "latency", "ttft", "kept"), VALUES)
def test_each_rule_has_its_value_on_a_fixed_instance(rule: str, latency: float, ttft: float, kept: float) -> None:
    (instance,) = (i for i in PROBLEM.splits["valid"]() if i.name == "valid-a10-chat-95")
    baseline = PROBLEM.baseline(rule)
    assert baseline is not None
    found = PROBLEM.measure(instance.data, serve(instance.data, [baseline.hooks[hook.name] for hook in PROBLEM.hooks]))
    assert found["normalised_latency"] == pytest.approx(latency, rel=1e-6)
    assert found["p99_ttft"] == pytest.approx(ttft, rel=1e-6)
    assert found["slo_attainment"] == pytest.approx(kept)


def test_every_rule_is_pinned() -> None:
    assert [value[0] for value in VALUES] == [rule.name for rule in PROBLEM.rules]
