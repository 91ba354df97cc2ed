"""One run with a server that misbehaves in every way: what the journal says of each, and that no key is kept."""

from __future__ import annotations

import json
import re

import pytest
from loopback import Loopback, completion, hang_up, raw, say, status, trickle
from tiny import job_shops

import evolve
from evolve import answers
from evolve.store import Store

KEY = "sk-planted-0123456789"
RULE = "Idea {0}.\n```python\ndef priority(op, shop):\n    return op.duration + {0}.5 * op.work_left\n```"
TOOL_CALL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]

# What the server does, and what the journal says of it; the reply was paid for unless marked.
FAULTS = {
    "truncated JSON": (raw(b'{"choices": [{"mess'), "the answer is no complete JSON"),
    "wrong content type": (raw(b"<html>hello</html>", "text/html"), "no chat completion came back"),
    "no choices": (completion({"choices": []}), "the reply has no choices"),
    "refusal": (say(None, refusal=f"I cannot, {KEY}."), r"the model refused: I cannot, \[redacted\]"),
    "tool call": (say(None, tool_calls=TOOL_CALL), "the reply is a tool call without text"),
    "1 MB": (say("y" * 1_000_000), "1,000,000 characters"),
    "reset": (hang_up(), "the connection broke"),
    "half a body": (hang_up(b'{"choices": '), "the connection broke"),
    "slow-loris": (trickle(), "no complete answer in time"),
    "gateway": (status(504, KEY), r"no answer in time \(status 504\): \[redacted\]"),
    "flagged": (status(400, f"flagged {KEY}"), r"request refused \(status 400\): flagged \[redacted\]"),
}
UNPAID = ("flagged",)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder, requests of the server, and what was printed."""
    folder = tmp_path_factory.mktemp("faults")
    key_file = folder / "keys"
    key_file.write_text(f"OPENAI_API_KEY={KEY}\n")
    key_file.chmod(0o600)
    good = [say(RULE.format(k)) for k in range(40)]
    busy = [status(429, KEY, retry_after=1), status(500, KEY)]
    script = [*good[:10], *busy, *(answer for answer, _ in FAULTS.values()), *good[10:]]
    with pytest.MonkeyPatch.context() as patch, Loopback(*script) as server:
        patch.setenv("OPENAI_API_KEY", "replaced")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(answers, "_FIRST_PAUSE_S", 0.05)
        out = evolve.run(
            "shop/job_shop",
            model=("openai/scripted",),
            api_base=server.url,
            key_file=key_file,
            evaluations=24,
            llm_timeout_s=3.0,
            out=folder / "run",
            **job_shops(folder),
        )
    return out, server.requests


@pytest.fixture(scope="module")
def reasons(run) -> dict[int, str]:
    """Why attempts failed, by program."""
    with Store(run[0]) as store:
        return {number: getattr(outcome, "reason", "") for number, outcome in store.outcomes("train").items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_outcome_in_the_journal(reasons, fault):
    said = FAULTS[fault][1]
    alike = sum(other == said for _, other in FAULTS.values())
    assert sum(bool(re.search(said, reason)) for reason in reasons.values()) == alike


def test_a_run_goes_on_after_every_fault(run):
    with Store(run[0]) as store:
        assert store.meta("status") == "finished"
        assert store.counts()["ok"] >= 24


def test_every_request_but_those_refused_is_paid_once(run):
    out, requests = run
    with Store(out) as store:
        spend = store.spend()["openai/scripted"]
        recorded = len([p for p in store.programs() if p.origin == "llm"])
    # 429 and 500 were asked again; calls under way at the end are cancelled
    assert spend["calls"] == recorded - len(UNPAID)
    assert recorded <= len(requests) - 2


def test_the_key_of_the_file_is_used_and_kept_nowhere(run):
    out, requests = run
    assert {request.key for request in requests} == {KEY}
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_show_adds_up_by_model_and_by_operator(run, call):
    code, out, _ = call("show", run[0], "--json")
    found = json.loads(out)
    assert code == 0
    (total,) = found["spend"].values()
    assert set(found["spend_by_operator"]) == {"rewrite", "diff"}
    for name in ("calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert sum(part[name] for part in found["spend_by_operator"].values()) == total[name]
    text = call("show", run[0])[1]
    for said in ("spend:    openai/scripted:", "spend:    rewrite:", "spend:    diff:", " cached)", " reasoning)"):
        assert said in text
