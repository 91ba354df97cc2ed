"""A cap in dollars holds across kills, Ctrl-C and full stops: calls under way are booked at their worst case."""

import json
import os
import signal
import time

import pytest
from loopback import Loopback, Request, say
from scripted import evolve, finish, improve, search

from evolve.store import Store

PRICE = (1.0, 10.0)  # dollars per million tokens
REPLY_TOKENS = 1000
CAP = 0.25
FLAGS = ("--price", "openai/scripted=1,10", "--concurrency", "4", "--evaluations", "60")


def charge(request: Request) -> tuple[int, int]:
    """Tokens that the provider bills for a question: all that it may."""
    return len(request.prompt.encode()) // 3, request.body["max_tokens"]


def dear(delay_s: float) -> Loopback:
    """A model that takes its time and is paid from the moment a question comes in, whoever hangs up."""
    return Loopback(lambda handler: say(improve(handler.asked), usage=charge(handler.asked), delay_s=delay_s)(handler))


def charged(server: Loopback) -> float:
    return sum(price * tokens for r in server.requests for price, tokens in zip(PRICE, charge(r), strict=True)) / 1e6


@pytest.fixture
def flags(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(f"max_reply_tokens = {REPLY_TOKENS}\n")
    return [*FLAGS, "--config", settings]


def wait_for_calls(server: Loopback, process, count: int = 3, limit_s: float = 90.0) -> bool:
    """Whether so many calls are under way; false if the process ended before."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        if server.open >= count:
            return True
        time.sleep(0.01)
    return False


def test_whatever_is_killed_the_provider_never_charges_more_than_the_cap(tmp_path, flags):
    folder, kills = tmp_path / "run", 0
    with dear(delay_s=0.8) as server:
        process = search(folder, server, *flags, "--max-usd", CAP)
        while kills < 6 and wait_for_calls(server, process):
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            process = evolve("resume", folder, OPENAI_API_KEY="sk-1234567")
        code, _, err = finish(process)
        total = charged(server)
    assert code == 0, err
    assert kills >= 3
    assert total <= CAP
    with Store(folder) as store:
        assert store.meta("status").startswith("budget exhausted")
        assert total <= store.spend()["openai/scripted"]["usd"] <= CAP
        assert store.in_flight()["calls"] == 0
        before = store.archive_hash()
    # what was lost, asked again and cut off by the cap is in the record too
    code, _, err = finish(evolve("replay", folder, "--out", tmp_path / "again"))
    assert code == 0, err
    with Store(tmp_path / "again") as store:
        assert store.archive_hash() == before


def test_calls_under_way_at_an_interrupt_are_journalled_with_what_they_may_have_cost(tmp_path, flags, call):
    folder = tmp_path / "run"
    with dear(delay_s=6.0) as server:
        process = search(folder, server, *flags)
        assert wait_for_calls(server, process)
        code, out, _ = call("show", folder, "--json")
        flying = json.loads(out)["in_flight"]
        process.send_signal(signal.SIGINT)
        assert finish(process)[0] == 130
        asked, total = len(server.requests), charged(server)
    assert code == 0
    assert flying["calls"] >= 3
    assert flying["output_tokens"] == flying["calls"] * REPLY_TOKENS
    with Store(folder) as store:
        assert store.in_flight()["calls"] == 0
        assert store.spend()["openai/scripted"]["calls"] == asked
        assert store.spend("operator").keys() <= {"rewrite", "diff"}
        assert store.spend()["openai/scripted"]["usd"] >= total
