"""Traces: what a program did on the training instances that show its weakness, in words for a prompt.

Whoever reads that a gap is 14 % can only guess; whoever reads that one machine stood idle for a third
of the time, and which decision first parted from a better program's, can mend something. A trace shows
two instances: the one on which the program falls furthest behind the best baseline there, explained for
both, and the one on which it lost most against its own parent, with the decision on which they part. Its text
is bounded, and a function of programs and instances alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from evaluators.evaluator import Evaluator
from evaluators.outcome import Failure, Ok
from evolve.ledger import Notes
from evolve.program import Candidate
from problems.problem import Instance, Problem

# Operators whose prompts hold a trace: it costs an evaluation of each program that is shown.
TRACED = ("reflect",)
_EXPLAINED = 480  # characters of one explanation
_DECISION = 120


class _Case(NamedTuple):
    """An instance on which one program falls behind another."""

    at: int  # its place in train
    rival: Candidate
    name: str  # of the rival


async def with_trace(
    notes: Notes, evaluator: Evaluator, candidate: Candidate, parent: Candidate | None, baselines: Sequence[Candidate]
) -> Notes:
    """Notes that also tell what a candidate did where it did badly (see ``trace``), and each instance's group."""
    told = await trace(evaluator, candidate, parent, baselines)
    return replace(notes, trace=told, groups=tuple(instance.group for instance in evaluator.instances("train")))


async def trace(
    evaluator: Evaluator, candidate: Candidate, parent: Candidate | None, baselines: Sequence[Candidate]
) -> str:
    """Say what a candidate did where it did badly; "" where its problem has nothing to say, or it is nowhere behind.

    Parameters
    ----------
    evaluator : Evaluator
        Solves train once more, sealed as ever, for each program that is shown.
    candidate : Candidate
        The program whose outcome is Ok.
    parent : Candidate, optional
        What it was made of.
    baselines : sequence of Candidate
        Rivals.
    """
    problem = evaluator.problem
    if (problem.explain is None and problem.narrate is None) or not isinstance(candidate.outcome, Ok):
        return ""
    cases = [_furthest_behind(problem, candidate, [(b, b.program.operator) for b in baselines])]
    if parent is not None:
        cases.append(_furthest_behind(problem, candidate, [(parent, "its parent")]))
    found = [case for case in cases if case is not None]
    programs = {c.program.id: c.program.source for c in (candidate, *(case.rival for case in found))}
    solved = await asyncio.gather(*(evaluator.solve(source, "train") for source in programs.values()))
    solutions = dict(zip(programs, solved, strict=True))
    parts = []
    for number, case in enumerate(found):
        own, other = solutions[candidate.program.id], solutions[case.rival.program.id]
        if not isinstance(own, Failure) and not isinstance(other, Failure):
            instance = evaluator.instances("train")[case.at]
            pair = own[case.at], other[case.at]
            parts.append(_told(problem, candidate, case, instance, pair, explained=number == 0))
    return "\n\n".join(parts)


def _furthest_behind(problem: Problem, candidate: Candidate, rivals: Sequence[tuple[Candidate, str]]) -> _Case | None:
    """Where the primary objective is furthest behind the best of the rivals; ties go to the first instance."""
    name, loss = problem.primary.name, problem.primary.loss
    assert isinstance(candidate.outcome, Ok)
    own = candidate.outcome.values[name]
    rows = [(c.outcome.values[name], c, n) for c, n in rivals if isinstance(c.outcome, Ok)]
    rows = [row for row in rows if len(row[0]) == len(own) and row[1].program.id != candidate.program.id]
    worst, found = 0.0, None
    for k, value in enumerate(own):
        known = [(loss(row[k]), i) for i, (row, _, _) in enumerate(rows) if math.isfinite(row[k])]
        if known and math.isfinite(value):
            best, i = min(known)
            if loss(value) - best > worst:
                worst, found = loss(value) - best, _Case(k, rows[i][1], rows[i][2])
    return found


def _told(
    problem: Problem, candidate: Candidate, case: _Case, instance: Instance, pair: tuple[Any, Any], *, explained: bool
) -> str:
    """One instance in words: values, what the program did, and where it first decided otherwise."""
    name, unit = problem.primary.name, problem.primary.unit
    assert isinstance(candidate.outcome, Ok)
    assert isinstance(case.rival.outcome, Ok)
    values = [outcome.values[name][case.at] for outcome in (candidate.outcome, case.rival.outcome)]
    where = f"Instance {case.at + 1} ({instance.group})" if instance.group else f"Instance {case.at + 1}"
    lines = [f"{where}: {values[0]:.4g} {unit}, {case.name} {values[1]:.4g} {unit}."]
    if problem.explain is not None and explained:
        own, other = (_cut(problem.explain(instance.data, solution), _EXPLAINED) for solution in pair)
        lines += [f"The program: {own}", f"{case.name}: {other}"]
    if problem.narrate is not None:
        mine, theirs = (problem.narrate(instance.data, solution) for solution in pair)
        lines.append(_first_difference(mine, theirs, case))
    return "\n".join(f"- {line}" if k else line for k, line in enumerate(lines))


def _first_difference(own: Sequence[str], other: Sequence[str], case: _Case) -> str:
    """The first decision on which two programs part; what follows from it is the difference of their values."""
    count = max(len(own), len(other))
    for k in range(count):
        mine, theirs = (_cut(row[k], _DECISION) if k < len(row) else "nothing more" for row in (own, other))
        if mine != theirs:
            return f"They part with decision {k + 1} of {count}: the program {mine}; {case.name} {theirs}."
    return "Both decide alike."


def _cut(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
