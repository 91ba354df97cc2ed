"""Nothing is paid for twice: copies in other words are refused, repairs of what did not compile are not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from evaluators.outcome import CompileError, Crashed, Ok, Outcome, Rejected
from evolve.findings import Findings
from evolve.making import Making
from evolve.program import Candidate, Program
from problems import registry

SPT = "def priority(job, machine):\n    return job.duration\n"
RENAMED = "def priority(job, machine):\n    p = job.duration  # time\n    return p\n"
SAME = "def priority(job, machine):\n    value = job.duration\n    unread = value\n    return value\n"
BROKEN = "def priority(job, machine):\n    unread = max(2)\n    return job.duration\n"
REFUSED = "import os\ndef priority(job, machine):\n    return job.duration\n"
OK = Ok({"ratio_of_sums": 1.0, "gap": 1.0, "decision_time": 1.0}, {}, {}, {})


@pytest.fixture
def found() -> Findings:
    return Findings(registry.load("machine/total_tardiness"), SimpleNamespace(tell=lambda candidate: None))


def outcome(found: Findings, source: str) -> str:
    repeated = found.repeated(Program(99, source, "llm"))
    return repeated.outcome.reason if repeated else ""


def hear(found: Findings, number: int, source: str, what: Outcome) -> None:
    found.hear(Candidate(Program(number, source, "llm"), what))


@pytest.mark.parametrize("first", [OK, Crashed("run", "index out of bounds")])
def test_a_copy_in_other_words_names_the_first(found, first):
    hear(found, 3, RENAMED, first)
    hear(found, 4, SAME, Rejected("admit", "the same program as 3"))
    assert outcome(found, RENAMED) == outcome(found, SAME) == "the same program as 3"
    assert outcome(found, SPT.replace("duration", "due")) == ""


def test_what_dead_code_kept_from_compiling_may_be_repaired(found):
    hear(found, 3, BROKEN, CompileError("compile", "there is no max(2)"))
    assert outcome(found, BROKEN) == "the same program as 3"
    assert outcome(found, SPT) == ""
    hear(found, 5, SPT, OK)
    assert outcome(found, BROKEN) == "the same program as 5"


def test_what_admission_refused_is_told_its_reason_again(found):
    hear(found, 3, REFUSED, Rejected("admit", "line 1: only `import math`"))
    assert outcome(found, REFUSED) == ""


class Evaluator:
    """Slower for programs that compile, so that the broken one is known first."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def evaluate(self, source: str, split: str, race: None = None) -> Outcome:
        self.asked.append(source)
        broken = source == BROKEN
        await asyncio.sleep(0.0 if broken else 0.01)
        return CompileError("compile", "there is no max(2)") if broken else OK


def together(found: Findings, *sources: str) -> tuple[list[Outcome], list[str]]:
    """Outcomes of programs that are under way together, told in order, and what was evaluated."""
    evaluator = Evaluator()
    making = Making(None, found, evaluator, None)

    async def run() -> list[Candidate]:
        programs = [Program(number, source, "llm") for number, source in enumerate(sources)]
        return await asyncio.gather(*map(making.evaluate, programs))

    told = []
    for candidate in asyncio.run(run()):
        known = found.repeated(candidate.program) or candidate
        found.hear(known)
        told.append(known.outcome)
    return told, evaluator.asked


def test_copies_under_way_together_share_one_evaluation(found):
    told, asked = together(found, RENAMED, SAME, SAME)
    assert told == [OK, *[Rejected("admit", "the same program as 0")] * 2]
    assert asked == [RENAMED]


@pytest.mark.parametrize("order", [(BROKEN, SPT), (SPT, BROKEN)])
def test_outcomes_do_not_depend_on_which_of_two_equal_programs_was_evaluated_first(order):
    findings = Findings(registry.load("machine/total_tardiness"), SimpleNamespace(tell=lambda c: None))
    told, _ = together(findings, *order)
    if order[0] == BROKEN:
        assert [o.kind for o in told] == ["compile_error", "ok"]
    else:
        assert told == [OK, Rejected("admit", "the same program as 0")]
