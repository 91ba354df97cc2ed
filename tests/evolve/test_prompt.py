"""Prompts: what they say, what never changes within a run, what they leave out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_problem import BASELINES, CHILD, PARENT, PARENTS, PROBLEM, candidate, ok

from evaluators.kinds import admit
from evaluators.outcome import Ok, Rejected, TimedOut
from evolve.ledger import Notes
from evolve.operators import OPERATORS, REPAIR
from evolve.program import Candidate, Program
from evolve.prompt import BadTemplate, operators, render
from evolve.strategies.strategy import Proposal
from problems import registry

EVERY = (*operators(), REPAIR)
NOTHING = Notes()
FULL = Notes(tried=("Sort. " + "x" * 290,) * 16, insights=("Wait. " + "y" * 290,) * 5, trace="z" * 2000)


def system(**options) -> str:
    return render(PROBLEM, Proposal("rewrite", PARENTS), **options)[0]["content"]


def user(operator: str = "rewrite", inspirations: Sequence[Candidate] = (), notes: Notes = NOTHING, **options) -> str:
    proposal = Proposal(operator, PARENTS, tuple(inspirations), notes=notes)
    return render(PROBLEM, proposal, baselines=BASELINES, **options)[1]["content"]


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


def test_a_prompt_that_tells_everything_is_this_to_the_letter():
    notes = Notes(
        insights=("Sort by load. Result: better by 1.5 points.", "Wait. Result: worse by 2.5 points."),
        trace="Instance 1 (small): 11 %, spt 10 %.\n- The program: job 2 ends last.",
        groups=("small", "large"),
    )
    failed = candidate(4, TimedOut("run", "longer than 10 s"), "def priority(job, machine):\n    return 4.0\n")
    text = user("reflect", [BASELINES[1], candidate(3, ok(15.0, 1.0, 1.0), CHILD), failed], notes)
    assert text == (Path(__file__).parent / "golden" / "reflect.md").read_text()


def test_a_parent_that_is_a_published_rule_is_named_as_such():
    text = render(PROBLEM, Proposal("rewrite", BASELINES[:1]), baselines=BASELINES)[1]["content"]
    assert "It is the published rule spt." in text
    assert "Its idea" not in text


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
    for operator in EVERY:
        parents = (parent,) * OPERATORS[operator].parents
        messages = render(problem, Proposal(operator, parents), baselines=[parent])
        assert sum(len(message["content"]) for message in messages) < 30_000
    example = messages[0]["content"].split("An example of the form")[1].split("```python\n")[1].split("```")[0]
    admit(example, problem)


def test_every_operator_but_those_without_a_model_has_a_template():
    assert set(operators()) == set(OPERATORS) - {"mutate", "expand", "tune", REPAIR}


@pytest.mark.parametrize("operator", EVERY)
def test_every_operator_says_its_task_and_asks_for_an_idea_and_code(operator):
    text = render(PROBLEM, Proposal(operator, PARENTS * 2), baselines=BASELINES)[1]["content"]
    assert text.count("# Your task\n") == 1
    assert "First say the idea in one or two sentences." in text
    assert "```python" in text


def test_a_trace_names_the_instances_on_which_the_parent_falls_behind():
    text = user("reflect")
    # 11 against 10 on the first; 23 against 29 on the second is ahead
    assert "- instance 1 of 2: 11 % (spt 10)" in text.splitlines()
    assert "instance 2 of 2" not in text


def test_many_long_inspirations_are_cut_to_a_bounded_size():
    long = [candidate(10 + k, ok(1.0, 1.0, 1.0), CHILD + f"# {k} " + "x" * 5000) for k in range(50)]
    assert len(user(inspirations=long)) < 35_000
    assert "# 0 x" in user(inspirations=long)


@pytest.mark.parametrize("operator", EVERY)
def test_notes_add_a_bounded_piece_and_nothing_where_there_are_none(operator):
    bare, full = user(operator), user(operator, notes=FULL)
    assert len(full) - len(bare) <= 8000
    for text in (bare, full):
        assert "\n\n\n" not in text
        assert text.count("# Your task\n") == 1
    assert "tried" not in bare.split("# Your task")[0]
    assert "Insights" not in bare


def test_the_ledger_goes_to_what_is_to_be_new_and_insights_to_what_is_to_be_better():
    for operator in EVERY:
        text = user(operator, notes=FULL)
        assert ("# Ideas that were tried" in text) == (operator in ("e1", "redesign")), operator
        better = operator in ("rewrite", "diff", "e2", "m1", "crossover", "reflect")
        assert ("# Insights so far" in text) == better, operator
        assert (FULL.trace in text) == (operator == "reflect"), operator


def test_notes_do_not_change_the_system_message():
    proposal = Proposal("redesign", PARENTS)
    noted = dataclasses.replace(proposal, notes=FULL)
    assert render(PROBLEM, proposal, baselines=BASELINES)[0] == render(PROBLEM, noted, baselines=BASELINES)[0]


def test_a_repair_shows_the_program_why_it_was_refused_and_its_idea():
    flawed = candidate(4, Rejected("admit", "line 2: lists are not admitted"), CHILD)
    text = render(PROBLEM, Proposal(REPAIR, (flawed,)), baselines=BASELINES)[1]["content"]
    assert f"```python\n{CHILD}```" in text
    assert "It was not run: rejected at admit: line 2: lists are not admitted. Its idea: Thought 4." in text
    assert len(text) < 1500


def test_a_folder_of_ones_own_templates_comes_first(tmp_path):
    (tmp_path / "whole.md").write_text("Answer in verse, then code: ```python")
    assert "Answer in verse" in user("m1", templates=tmp_path)
    assert "Answer in verse" not in user("m1")


def test_a_template_that_cannot_be_rendered_is_named(tmp_path):
    (tmp_path / "m1.md").write_text("{{ parents }}")
    with pytest.raises(BadTemplate, match=r"cannot be rendered: 'parents' is undefined"):
        user("m1", templates=tmp_path)
