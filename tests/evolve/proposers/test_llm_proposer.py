"""The LLM proposer over real HTTP, against a loopback server with scripted answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pytest
from loopback import Answer, Loopback, completion, hang_up, say, status

from evaluators.kinds import admit
from evaluators.outcome import Ok, Outcome, TimedOut
from evolve import answers
from evolve.budget import Budget, BudgetExhausted, BudgetLimits
from evolve.llm import LLM, LLMConfig, LLMFatal
from evolve.program import Candidate, Program
from evolve.proposers.llm import OPERATORS, LLMProposer, render
from evolve.proposers.proposer import Draft, EditRefused
from evolve.strategies.strategy import Proposal
from problems import registry
from problems.problem import Baseline, Hook, Objective, Problem


class Job(NamedTuple):
    """A job that waits."""

    duration: Annotated[float, "time", "processing time, > 0"]
    due: Annotated[float, "time", "due date"]


class Machine(NamedTuple):
    """The machine."""

    now: Annotated[float, "time", "completion of the last job"]


def spt(job: Job, machine: Machine) -> float:
    return job.duration


def edd(job: Job, machine: Machine) -> float:
    return job.due


PROBLEM = Problem(
    module="problems.tiny.one_machine",
    title="One tiny machine",
    statement="Order the jobs. **Minimise lateness.**",
    hooks=(Hook("priority", {"job": Job, "machine": Machine}, "The lowest is placed next."),),
    objectives=(
        Objective("gap", "Mean gap", "%", "gap", "lateness"),
        Objective("profit", "Profit", "$", "mean", "profit", direction="max"),
        Objective("decision_time", "Time per job", "ns", "decision_time"),
    ),
    splits={},
    probes=lambda: [],
    simulators={},
    solution=Job,
    decisions=lambda data: 1,
    verify=lambda data, solution: None,
    measure=lambda data, solution: {},
    raw_units={},
    lower_bounds=lambda data: {},
    baselines=(
        Baseline("spt", "Shortest first", "folklore", hooks={"priority": spt}),
        Baseline("edd", "Earliest due date", "folklore", hooks={"priority": edd}),
    ),
    read=lambda path: [],
    format="none",
)
PARENT = "def priority(job, machine):\n    return job.duration\n"
CHILD = "def priority(job, machine):\n    return job.duration * job.due\n"
SAID = f"Long jobs that are due late can wait. So multiply.\n\n```python\n{CHILD}```\n"
SEARCH = "<<<<<<< SEARCH\n    return job.duration\n=======\n    return job.duration * job.due\n>>>>>>> REPLACE\n"


def ok(gap: float, small: float, large: float, profit: float = 1.0) -> Ok:
    groups = {g: {"gap": v, "profit": profit, "decision_time": 7.0} for g, v in (("small", small), ("large", large))}
    return Ok({"gap": gap, "profit": profit, "decision_time": 12.5}, groups, {}, {})


def candidate(
    number: int, outcome: Outcome, source: str = PARENT, origin: str = "llm", operator: str = "rewrite"
) -> Candidate:
    return Candidate(Program(number, source, origin, operator, thought=f"Thought {number}."), outcome)


BASELINES = (
    candidate(0, ok(20.0, 10.0, 30.0, 5.0), PROBLEM.baselines[0].source, "baseline", "spt"),
    candidate(1, ok(22.0, 14.0, 29.0, 6.0), PROBLEM.baselines[1].source, "baseline", "edd"),
)
PARENTS = (candidate(2, ok(17.2345, 11.0, 23.0)),)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(answers, "_FIRST_PAUSE_S", 0.02)


def propose(
    *answers: Answer,
    operator: str = "rewrite",
    parents: Sequence[Candidate] = PARENTS,
    budget: Budget | None = None,
    times: int = 1,
) -> tuple[Draft | BaseException, Loopback]:
    """The last of several proposals, and the server with its requests."""

    async def main() -> Draft | BaseException:
        async with LLM(LLMConfig("scripted", server.url, retries=2), budget, prices={"scripted": (1.0, 10.0)}) as llm:
            proposer = LLMProposer(PROBLEM, [llm])
            for _ in range(times):
                try:
                    last: Draft | BaseException = await proposer.propose(
                        Proposal(operator, tuple(parents)), np.random.default_rng(0)
                    )
                except (EditRefused, LLMFatal, BudgetExhausted) as error:
                    last = error
        return last

    with Loopback(*answers) as server:
        return asyncio.run(main()), server


# replies


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


def test_models_are_drawn_by_weight():
    async def main(weights) -> None:
        with Loopback(say(SAID)) as first, Loopback(say(SAID)) as second:
            llms = [LLM(LLMConfig("scripted", server.url)) for server in (first, second)]
            proposer = LLMProposer(PROBLEM, llms, weights=weights)
            for seed in range(8):
                await proposer.propose(Proposal("rewrite", PARENTS), np.random.default_rng(seed))
            await proposer.close()
            counts.append((len(first.requests), len(second.requests)))

    counts: list[tuple[int, int]] = []
    asyncio.run(main([0.0, 2.0]))
    asyncio.run(main(None))
    assert counts[0] == (0, 8)
    assert min(counts[1]) > 0


def test_a_proposal_that_names_a_model_goes_there_and_one_that_was_answered_stays_answered():
    async def main() -> None:
        with Loopback(say(SAID)) as first, Loopback(say(SAID)) as second:
            llms = [LLM(LLMConfig(name, s.url)) for name, s in (("first", first), ("second", second))]
            proposer = LLMProposer(PROBLEM, llms, weights=[1.0, 0.0])
            proposal = Proposal("rewrite", PARENTS, model="second", number=7)
            draft = await proposer.propose(proposal, np.random.default_rng(0))
            assert (len(first.requests), len(second.requests)) == (0, 1)
            # as after a resume in which nobody named the model: its reply is there, so it is not paid for again
            again = await proposer.propose(dataclasses.replace(proposal, model=""), np.random.default_rng(0))
            assert again.source == draft.source
            assert (len(first.requests), len(second.requests)) == (0, 1)
            await proposer.close()

    asyncio.run(main())


def propose_in_turn(first: Loopback, second: Loopback, weights, times: int) -> list[Draft | BaseException]:
    """Proposals one after another, of two models that are asked once each before they are given up."""

    async def main() -> list[Draft | BaseException]:
        llms = [LLM(LLMConfig(name, s.url, retries=0)) for name, s in (("first", first), ("second", second))]
        proposer = LLMProposer(PROBLEM, llms, weights=weights)
        found: list[Draft | BaseException] = []
        assert proposer.notice == ""
        for seed in range(times):
            try:
                found.append(await proposer.propose(Proposal("rewrite", PARENTS), np.random.default_rng(seed)))
            except (EditRefused, LLMFatal) as error:
                found.append(error)
                assert proposer.notice.startswith("out: ")
        await proposer.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("answer", [status(401, "bad key"), status(500, "broken")], ids=["refused key", "outage"])
def test_a_model_that_cannot_work_is_taken_out_while_another_works(answer):
    with Loopback(answer) as first, Loopback(say(SAID)) as second:
        found = propose_in_turn(first, second, [1.0, 1.0], 12)
    refused = [error for error in found if isinstance(error, EditRefused)]
    assert len(refused) == 1
    assert str(refused[0]).startswith("model taken out: first: ")
    assert (len(first.requests), len(second.requests)) == (1, 11)


def test_a_model_that_was_down_is_tried_again_after_a_rest_that_grows():
    async def main() -> None:
        now = asyncio.get_running_loop().time

        async def ask(llm: LLM) -> bool:
            try:
                await llm.complete([{"role": "user", "content": "x"}])
            except LLMFatal:
                return False
            return True

        async with LLM(LLMConfig("m", server.url, retries=0)) as llm:
            rests = []
            while not await ask(llm):
                assert llm.out
                rests.append(llm._breaker._out_until - now())
                llm._breaker._out_until = now()  # as if it had passed
                assert not llm.out
            assert rests == pytest.approx([60, 120, 240], abs=1)
            assert llm._breaker._rest_s == 60

    with Loopback(status(500), status(503), status(429), say(SAID)) as server:
        asyncio.run(main())
    assert len(server.requests) == 4


def test_only_when_no_model_is_left_the_run_ends():
    with Loopback(status(401, "bad key")) as first, Loopback(status(404, "who?")) as second:
        found = propose_in_turn(first, second, None, 12)
    kinds = [type(error) for error in found]
    assert kinds.index(LLMFatal) == len([k for k in kinds if k is EditRefused]) == 1
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert all(said in str(found[-1]) for said in ("first: the key was refused", "second: unknown model"))


def test_a_model_of_weight_zero_is_a_reserve():
    with Loopback(say(SAID), status(401)) as first, Loopback(say(SAID)) as second:
        found = propose_in_turn(first, second, [1.0, 0.0], 6)
    assert [type(item) for item in found] == [Draft, EditRefused, Draft, Draft, Draft, Draft]
    assert (len(first.requests), len(second.requests)) == (2, 4)


@pytest.mark.parametrize(
    "options", [{"weights": [1.0, 2.0]}, {"weights": [-1.0]}, {"weights": [0.0]}, {"operators": ["mutate"]}]
)
def test_bad_weights_and_operators_are_refused(options):
    with pytest.raises(ValueError, match=r"must be|out of"):
        LLMProposer(PROBLEM, [LLM(LLMConfig("m"))], **options)


# prompts


def system(**options) -> str:
    return render(PROBLEM, Proposal("rewrite", PARENTS), **options)[0]["content"]


def user(operator: str = "rewrite", inspirations: Sequence[Candidate] = (), **options) -> str:
    return render(PROBLEM, Proposal(operator, PARENTS, tuple(inspirations)), baselines=BASELINES, **options)[1][
        "content"
    ]


def test_the_system_message_holds_statement_hooks_fields_and_objectives():
    text = system(baselines=BASELINES)
    for part in (
        "# Problem: One tiny machine",
        "Order the jobs. **Minimise lateness.**",
        "`priority(job, machine) -> float` The lowest is placed next.",
        "- `job.duration` [time] processing time, > 0",
        "- `machine.now` [time] completion of the last job",
        "- Mean gap (%), lower is better. It decides which program is best.",
        "- Profit ($), higher is better.",
        "- spt: Shortest first: Mean gap 20 %, Profit 5 $, Time per job 12.5 ns",
    ):
        assert part in text


def test_the_system_message_is_the_same_whatever_is_proposed():
    # providers cache a stable prefix
    other = Proposal("diff", (candidate(9, ok(1.0, 1.0, 1.0), CHILD), *PARENTS), BASELINES)
    assert (
        render(PROBLEM, other, baselines=BASELINES)[0]
        == render(PROBLEM, Proposal("rewrite", PARENTS), baselines=BASELINES)[0]
    )


def test_a_parent_is_shown_next_to_the_best_baseline_of_each_group():
    text = user()
    assert f"```python\n{PARENT}```" in text
    # spt is best overall and on small instances, edd on large ones and in profit, which is to be high
    for line in (
        "- Mean gap, all: 17.23 % (spt 20)",
        "  - group small: 11 % (spt 10)",
        "  - group large: 23 % (edd 29)",
        "- Profit, all: 1 $ (edd 6)",
        "- Time per job, all: 12.5 ns (spt 12.5)",
    ):
        assert line in text.splitlines()


def test_inspirations_and_failures_are_shown_apart():
    failed = candidate(4, TimedOut("run", "longer than 10 s"), "def priority(job, machine):\n    return 4.0\n")
    text = user(inspirations=[candidate(3, ok(15.0, 1.0, 1.0), CHILD), failed])
    borrow, avoid = text.index("# Other programs"), text.index("# Programs that failed")
    assert borrow < text.index(CHILD) < avoid < text.index("return 4.0")
    assert "Idea: Thought 3." in text
    assert "timed out at run: longer than 10 s" in text
    assert "# Other programs" not in user()
    assert "# Programs that failed" not in user()


def test_each_operator_asks_for_its_own_form():
    assert "the whole program in one block" in user("rewrite")
    assert "<<<<<<< SEARCH" in user("diff")
    assert "EVOLVE-BLOCK" not in user("diff") + user("rewrite")


def test_a_prompt_without_measured_baselines_compares_with_nothing():
    text = "".join(message["content"] for message in render(PROBLEM, Proposal("rewrite", PARENTS)))
    assert "Published rules" not in text
    assert "- Mean gap, all: 17.23 %\n" in text


def test_source_with_fences_in_it_gets_a_longer_fence():
    source = 'def priority(job, machine):\n    """```x```"""\n    return 1.0\n'
    text = render(PROBLEM, Proposal("rewrite", (candidate(5, ok(1.0, 1.0, 1.0), source),)))[1]["content"]
    assert f"````python\n{source}````" in text


@pytest.mark.parametrize("name", registry.names())
def test_every_problem_renders_and_its_example_is_admitted(name):
    problem = registry.load(name)
    rule = problem.rules[0]
    parent = Candidate(Program(0, rule.source, "baseline", rule.name), Ok({}, {}, {}, {}))
    for operator in OPERATORS:
        messages = render(problem, Proposal(operator, (parent,)), baselines=[parent])
        assert sum(len(message["content"]) for message in messages) < 30_000
    example = messages[0]["content"].split("An example of the form")[1].split("```python\n")[1].split("```")[0]
    admit(example, problem)


def test_templates_are_shipped_with_the_package():
    assert {path.name for path in (Path(answers.__file__).parent / "prompts").glob("*.md")} >= {
        "system.md",
        "rewrite.md",
        "diff.md",
    }
