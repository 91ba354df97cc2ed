"""Traces of one LLM server, of a solution written down by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from servers import limits, linear_cost

from problems.serving._server.engine import Timeline
from problems.serving._server.log import ADMIT, CUT, EVICT, RANK, RESUME, SWAP, WAIT, about, more, step_entry
from problems.serving._server.machine import Serving, make_instance
from problems.serving._server.requests import make_requests
from problems.serving._server.trace import explain, narrate

LOG = (
    about(ADMIT, 0),
    step_entry(10, 0, 1),
    step_entry(0, 1, 3),
    WAIT,
    about(EVICT, 0),
    more(SWAP, 1),
    more(RANK, 1),
    more(CUT, 2),
    more(RESUME, 0),
)


def told(log: tuple[int, ...] = LOG, **others: Any) -> tuple[Serving, Timeline]:
    """Requests arrive at 0 and 1 s, have their first token at 2 and 5 s, and end at 4 and 9 s."""
    requests = make_requests([0.0, 1.0], [10, 20], [3, 5], [3.0, 6.0], **others)
    data = make_instance(requests, linear_cost(token=1.0), limits())
    return data, Timeline(np.array([2.0, 5.0]), np.array([4.0, 9.0]), np.array([1.0, 1.0]), np.array(log, np.int64))


def test_waits_promises_queue_and_what_was_preempted_are_told() -> None:
    # waits 2 and 4 s, decodes 2 and 4 s; 1 s a token is promised and kept by the second alone: 4 steps in 4 s
    text = explain(*told(ttft_slo_s=3.0, tpot_slo_s=[0.5, 1.0]))
    for part in (
        "of the mean latency 3 s is waiting for the first token, 3 s decoding; promises broken for the first token by "
        "50 % of requests, for the pace by 50 %. Queue peak 2 at 1 s;",
        "1 preemptions of 1 requests, 1 swapped out, 1 steps cut, 0 unfinished. ",
        "Longest wait for a first token: 4 s, prompt 20, priority 0, arrived 1 s.",
    ):
        assert part in text
    assert len(text) <= 480


def test_where_there_are_clients_it_says_who_waits_longest() -> None:
    text = explain(*told((about(ADMIT, 0),), tenant=[0, 3]))
    assert "client 4 waits longest, 4 s on average, client 1 least, 2 s. Queue peak" in text
    assert "0 preemptions of 0 requests, 0 unfinished" in text


def test_each_decision_is_told_in_words() -> None:
    first = "request 1 (prompt 10, predicted output 3, arrived 0.0 s)"
    second = "request 2 (prompt 20, predicted output 6, arrived 1.0 s)"
    assert narrate(*told()) == [
        f"admits {first}",
        "computes 10 prompt tokens",
        "decodes for 3 steps",
        "waits",
        f"preempts {first}",
        f"swaps out {second}",
        f"puts behind the other prompts {second}",
        "cuts the step after segment 2",
        "goes on with the step that was cut",
    ]
