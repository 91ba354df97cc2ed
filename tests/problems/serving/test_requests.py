from __future__ import annotations

import numpy as np
import pytest

from problems.serving._server.requests import NONE, make_requests

GOOD = {
    "arrival_s": [0.0, 1.0],
    "prompt_tokens": [10, 20],
    "output_tokens": [3, 4],
    "predicted_output": [3.5, 4.0],
}


def test_requests_are_frozen_and_default_to_no_promises() -> None:
    requests = make_requests(**GOOD, priority=[1, 0])
    assert requests.prompt_tokens.dtype == np.int64
    assert requests.predicted_output.dtype == np.float64
    assert requests.session.tolist() == [NONE, NONE]
    assert np.isinf(requests.ttft_slo_s).all()
    assert requests.priority.tolist() == [1, 0]
    assert not any(array.flags.writeable for array in requests)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("arrival_s", [1.0, 0.0], "ascending, got 0.0 at request 1"),
        ("arrival_s", [0.0, np.nan], "finite and not negative, got nan at request 1"),
        ("arrival_s", [-1.0, 0.0], "not negative, got -1.0 at request 0"),
        ("arrival_s", [], r"got shape \(0,\)"),
        ("prompt_tokens", [10, 0], "prompt_tokens must be positive, got 0 at request 1"),
        ("output_tokens", [-3, 1], "output_tokens must be positive, got -3 at request 0"),
        ("output_tokens", [1.5, 1], "whole numbers, got 1.5 at request 0"),
        ("output_tokens", [1], r"got shape \(1,\) for 2"),
        ("output_tokens", ["a", "b"], "must hold numbers"),
        ("predicted_output", [np.inf, 1], "predicted_output must be finite"),
        ("prompt_tokens", [2**41, 1], "must sum to less than"),
        ("prefix_tokens", [0, 21], "between 0 and prompt_tokens = 20, got 21 at request 1"),
        ("session", [-2, 0], "session must be at least -1, got -2 at request 0"),
        ("tpot_slo_s", [0.0, 1.0], "tpot_slo_s must be positive"),
        ("colour", [0, 1], "no field 'colour'"),
    ],
)
def test_bad_requests_are_refused_by_rule_and_place(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_requests(**(GOOD | {field: value}))
