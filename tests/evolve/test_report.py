"""What a report may claim: "improved" needs an interval beyond zero on valid, and test has the last word."""

import pytest

from evolve.report import verdict
from problems import registry

PROBLEM = registry.load("shop/job_shop")


def result(low: float, high: float) -> dict:
    interval = {"difference": (low + high) / 2, "low": low, "high": high}
    return {"programs": [{"id": 7, "against_baseline": {"gap": interval}}]}


def test_an_interval_below_zero_on_valid_and_test_is_an_improvement():
    words, improved = verdict(PROBLEM, {"valid": result(-2, -1), "test": result(-1.5, -0.5)}, 7, "spt")
    assert improved
    assert words == [
        "Improved on valid over the best baseline spt by -1.50 points [-2.00, -1.00].",
        "Better on test too: -1.00 points [-1.50, -0.50].",
    ]


def test_worse_on_test_beyond_its_interval_is_called_overfit():
    words, improved = verdict(PROBLEM, {"valid": result(-2, -1), "test": result(0.2, 0.9)}, 7, "spt")
    assert improved
    assert words[1].startswith("OVERFIT: worse on test beyond its interval: +0.55 points")


def test_an_interval_across_zero_on_test_is_no_difference():
    words, _ = verdict(PROBLEM, {"valid": result(-2, -1), "test": result(-0.2, 0.9)}, 7, "spt")
    assert words[1].startswith("No difference shown on test")


@pytest.mark.parametrize("interval", [(-1.0, 0.0), (-1.0, 1.0), (0.5, 1.0)])
def test_an_interval_that_reaches_zero_on_valid_is_no_improvement(interval):
    words, improved = verdict(PROBLEM, {"valid": result(*interval), "test": result(-2, -1)}, 7, "spt")
    assert not improved
    assert words[0].startswith("Not improved")
    assert len(words) == 1


def test_a_champion_that_is_the_baseline_itself_is_said_to_be():
    splits = {"valid": {"programs": [{"id": 7}]}, "test": {"programs": [{"id": 7}]}}
    words, improved = verdict(PROBLEM, splits, 7, "spt")
    assert not improved
    assert "the champion is the baseline" in words[0]
