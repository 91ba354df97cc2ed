from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from call_programs import draw_programs
from servers import limits, linear_cost

from problems.problem import BadInstance
from problems.serving._programs.data import edges_of, link, make_calls, make_instance
from problems.serving._programs.metrics import calls_alone
from problems.serving._programs.reader import read
from problems.serving._programs.suites import SCENARIOS, Traffic, draw

GOOD = {"program": [0, 0, 1], "prompt_tokens": [4, 9, 4], "output_tokens": [2, 2, 2]}


@pytest.mark.parametrize(
    ("after", "changes", "message"),
    [
        ([(1, 0)], {}, "waits for calls before it"),
        ([(0, 3)], {}, "waits for calls before it"),
        ([(0, 2)], {}, "own program, got call 0 for call 2"),
        ([(0, 1), (0, 1)], {}, "only once"),
        ([], {"continues": [-1, 0, -1]}, "that call 1 waits for, got 0"),
        ([(0, 1)], {"prompt_tokens": [4, 0, 4]}, "prompt_tokens must be positive and finite, got 0 at call 1"),
        ([(0, 1)], {"output_tokens": [4, -1, 4]}, "output_tokens must be positive and finite, got -1 at call 1"),
        ([(0, 1)], {"output_tokens": [4, 1.5, 4]}, "whole numbers, got 1.5 at call 1"),
        ([(0, 1)], {"tool_s": [0, -1.0, 0]}, "tool_s must be finite and not negative, got -1.0 at call 1"),
        ([(0, 1)], {"tool": 8}, "between 0 and 7, got 8 at call 0"),
        ([(0, 1)], {"repeated_tokens": [0, 10, 0]}, "between 0 and prompt_tokens = 9, got 10 at call 1"),
        ([(0, 1)], {"prompt_tokens": [4, 9]}, "one entry for each of the calls"),
    ],
)
def test_impossible_calls_are_refused(after: list, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_calls(after, **(GOOD | changes))


def test_impossible_instances_are_refused() -> None:
    calls, cost = make_calls([(0, 1)], **GOOD), linear_cost(step=1.0)
    make_instance([0.0, 1.0], calls, cost, limits())
    for arrival_s, given, message in (
        ([1.0, 0.0], {}, "ascending, got 0.0 at program 1"),
        ([0.0, np.nan], {}, "finite and not negative, got nan at program 1"),
        ([0.0, 1.0, 2.0], {}, "number 3 programs"),
        ([0.0, 1.0], {"horizon_s": 1.0}, "horizon_s must be after the last arrival"),
        ([0.0, 1.0], {"blocks": 10}, "must fit the KV cache of 40 tokens"),
        ([0.0, 1.0], {"swap_block_s": 0.1}, "swap_block_s must be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            make_instance(arrival_s, calls, cost, limits(**given))


def test_edges_survive_a_round_trip() -> None:
    _, calls = draw_programs(np.random.default_rng(3), 20)
    again = link(calls, edges_of(calls))
    assert all(np.array_equal(a, b) for a, b in zip(again, calls, strict=True))


def test_predictions_default_to_the_truth() -> None:
    calls = make_calls([(0, 1)], **GOOD)
    assert calls.predicted_calls.tolist() == [2.0, 1.0, 1.0]
    assert calls.predicted_tokens.tolist() == [4.0, 2.0, 2.0]


def test_tools_are_56_to_74_per_cent_of_a_coding_agents_latency_on_an_idle_server() -> None:
    data = draw(SCENARIOS["a100-coding"], 1.0, Traffic(size=300), np.random.default_rng(1))
    tools = data.requests.tool_s.sum()
    assert 0.56 <= tools / (tools + calls_alone(data).sum()) <= 0.74


def test_text_to_sql_has_the_published_number_of_calls() -> None:
    data = draw(SCENARIOS["a100-32b-sql"], 1.0, Traffic(size=300), np.random.default_rng(1))
    calls = np.bincount(data.requests.program)
    assert 18 <= np.median(calls) <= 25
    assert np.quantile(calls, 0.02) >= 11


LINES = """\
# device=A100-80 model=Llama-3.1-8B share=0.5
program,arrival_s,prompt_tokens,output_tokens,after,continues,repeated_tokens,tool,tool_s
a,0,100,20,,,0,0,0
a,0,150,20,0,0,119,3,2.5
b,1.5,80,10,,,0,0,0
"""


def test_a_file_of_programs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(LINES)
    (instance,) = read(path)
    calls = instance.data.requests
    assert instance.data.arrival_s.tolist() == [0.0, 1.5]
    assert calls.program.tolist() == [0, 0, 1]
    assert calls.continues.tolist() == [-1, 0, -1]
    assert edges_of(calls).tolist() == [[0, 1]]
    assert calls.tool_s.tolist() == [0.0, 2.5, 0.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("repeated_tokens", "repeats", "line 2: unknown column 'repeats'"),
        ("a,0,150,20,0,0", "a,0,150,20,1,0", "line 4: after must name earlier calls of the program, from 0 to 0"),
        ("a,0,150,20,0,0", "a,0,150,20,0,x", "line 4: continues must name earlier calls"),
        ("a,0,150", "a,3,150", "line 4: arrival_s must be the same in all lines of program a"),
        ("a,0,150", "a,0,-150", "prompt_tokens must be positive"),
        ("b,1.5", "b,0.x", "line 5: arrival_s must be a number"),
        ("b,1.5,80,10,", "b,1.5,80,10", "line 5: 8 values for 9 columns"),
        ("share=0.5", "shade=0.5", "line 1: a host is given by"),
        ("b,1.5,80,10,,,0,0,0", "b,1.5,80,10,,,0,0,0\na,1.5,80,10,,,0,0,0", "line 6: the lines of program a must"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    assert old in LINES
    path.write_text(LINES.replace(old, new, 1))
    with pytest.raises(BadInstance, match=message):
        read(path)
