"""The LLM proposer over real HTTP: what becomes of a reply."""

from __future__ import annotations

import pytest
from loopback import completion, hang_up, say, status
from tiny_problem import CHILD, PARENT, SAID, SEARCH, candidate, ok, propose

from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.llm import LLMFatal
from evolve.proposers.proposer import Draft, EditRefused

pytestmark = pytest.mark.usefixtures("planted_key")


@pytest.mark.parametrize(
    "reply",
    [
        SAID,
        SAID.replace("```python", "```"),
        f"{CHILD}",
        f"Long jobs.\n\n{CHILD}\nDone.",
        f"It helps.\n{SEARCH}",
        f"```\n{SEARCH}```",
    ],
    ids=["fenced", "no language", "bare", "prose", "diff", "fenced diff"],
)
@pytest.mark.parametrize("operator", ["rewrite", "diff"])
def test_a_reply_becomes_a_draft_with_its_spend(reply, operator):
    draft, server = propose(say(reply, usage=(800, 60)), operator=operator)
    assert isinstance(draft, Draft)
    assert draft.source == CHILD
    assert draft.spend == {
        "model": "scripted",
        "reply": reply,
        "input_tokens": 800,
        "output_tokens": 60,
        "usd": pytest.approx(800e-6 + 600e-6),
        "seconds": draft.spend["seconds"],
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    }
    roles = [message["role"] for message in server.requests[0].body["messages"]]
    assert roles == ["system", "user"]


def test_the_words_before_the_code_are_the_thought():
    draft, _ = propose(say(SAID))
    assert draft.thought == "Long jobs that are due late can wait. So multiply."


def test_busy_servers_cost_nothing_but_time():
    budget = Budget()
    draft, server = propose(status(429, retry_after=0.1), status(500), say(SAID), budget=budget)
    assert draft.source == CHILD
    assert budget.spent()["llm_calls"] == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (say("I cannot help with that."), "no code in the reply"),
        (say(None, refusal="I cannot help with that."), "the model refused: I cannot help with that"),
        (
            say(None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
            "tool call",
        ),
        (say(""), "the reply is empty"),
        (say(None, finish="length"), "reasoning took all output tokens"),
        (completion({"choices": []}), "the reply has no choices"),
        (say(f"```python\n{CHILD}", finish="length"), "the reply was cut before its code ended"),
        (say(f"```python\n{PARENT}```"), "the edit changes nothing"),
        (say(SEARCH.replace("job.duration\n=", "job.length\n=")), "SEARCH block 1 matches nothing"),
        (say("```python\ndef rank(job):\n    return 1.0\n```"), "does not define the function priority"),
        (say("x" * 1_000_000), "1,000,000 characters"),
    ],
    ids=[
        "prose",
        "refusal",
        "tool call",
        "empty",
        "reasoning",
        "no choices",
        "cut",
        "no-op",
        "no match",
        "no hook",
        "1 MB",
    ],
)
def test_a_reply_without_a_new_program_is_a_refusal_that_was_paid(answer, reason):
    refusal, _ = propose(answer)
    assert isinstance(refusal, EditRefused)
    assert reason in str(refusal)
    assert refusal.spend["input_tokens"] == 100
    assert refusal.spend["usd"] == pytest.approx(100e-6 + 200e-6)


def test_a_call_without_an_answer_is_a_refusal_with_what_it_may_have_cost():
    refusal, _ = propose(say(SAID), hang_up(), times=2)
    assert isinstance(refusal, EditRefused)
    assert "the connection broke" in str(refusal)
    assert refusal.spend["output_tokens"] == 8192
    refusal, _ = propose(say(SAID), status(500), times=2)
    assert isinstance(refusal, EditRefused)
    assert refusal.spend == {}


def test_a_refused_key_and_an_empty_budget_reach_the_loop():
    error, _ = propose(status(401))
    assert isinstance(error, LLMFatal)
    error, server = propose(say(SAID), budget=Budget(BudgetLimits(llm_calls=0)))
    assert isinstance(error, BudgetExhausted)
    assert not server.requests


def test_protected_text_of_the_parent_is_kept():
    region = "LIMIT = 3.0\n# EVOLVE-BLOCK-START\n" + PARENT + "# EVOLVE-BLOCK-END\n"
    parents = [candidate(2, ok(1.0, 1.0, 1.0), region)]
    draft, server = propose(say(SEARCH), operator="diff", parents=parents)
    assert draft.source == region.replace("job.duration", "job.duration * job.due")
    assert "must stay unchanged" in server.requests[0].prompt
    refusal, _ = propose(say(f"```python\n{CHILD}```"), parents=parents)
    assert "keep the 1 pair(s)" in str(refusal)
