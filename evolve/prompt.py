"""Prompts: a proposal as the messages that a model gets.

A prompt is a function of problem, baselines and proposal alone, so that a run can be replayed; a proposal
holds what the run tells of itself. The system message holds what does not change within a run and
comes first, which lets providers cache it; the templates are in ``evolve/prompts``, one for each
operator, and those of a run's own folder come before them.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from evaluators.admission import language, python_policy
from evaluators.outcome import Failure, Ok
from evolve.errors import UserError
from evolve.operators import OPERATORS, REPAIR
from evolve.program import Candidate
from evolve.strategies.strategy import Proposal
from problems.problem import Objective, Problem, quantities

TEMPLATES = Path(__file__).parent / "prompts"
# What a prompt may take beside the system message and the parent: others beyond it are left out.
_OTHERS_CHARS = 24_000
_WORST = 6  # instances that a trace names


class BadTemplate(UserError):
    """A template of the user's own cannot be rendered; the message says which and why."""


def operators() -> tuple[str, ...]:
    """Those that a strategy may be offered and have a template, in the order of their table."""
    return tuple(name for name in OPERATORS if name != REPAIR and (TEMPLATES / f"{name}.md").exists())


def check_templates(folder: Path) -> None:
    """Refuse a folder of templates that would not be used.

    Raises
    ------
    UserError
        If it is no folder, or a file in it has not the name of one of ours.
    """
    if not folder.is_dir():
        raise UserError(f"--prompts {folder}: no such folder")
    known = sorted(path.name for path in TEMPLATES.glob("*.md"))
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            raise UserError(f"{path}: no template of that name; those that can be replaced are {', '.join(known)}")


def render(
    problem: Problem, proposal: Proposal, *, baselines: Sequence[Candidate] = (), templates: Path | None = None
) -> list[dict[str, str]]:
    """The messages that a proposal becomes.

    Parameters
    ----------
    problem : Problem
        What is to be solved.
    proposal : Proposal
        The operator names the template. The first parent is edited; further parents and
        inspirations are shown to borrow from, or as failures where their outcome is one.
    baselines : sequence of Candidate
        Evaluated baselines that measurements are compared with.
    templates : Path, optional
        Folder whose templates come before our own of the same name.

    Returns
    -------
    A system and a user message, each with ``role`` and ``content``.

    Raises
    ------
    BadTemplate
        If a template of the user's own cannot be rendered.
    """
    parent, *others = proposal.parents
    others = _fitting([*others, *proposal.inspirations])
    facts = {
        "problem": problem,
        "language": language,
        "modules": python_policy.MODULES,
        "example": _example(problem),
        "titles": {baseline.name: baseline.title for baseline in problem.baselines},
        "baselines": [candidate for candidate in baselines if isinstance(candidate.outcome, Ok)],
        "parent": parent,
        "others": [candidate for candidate in others if isinstance(candidate.outcome, Ok)],
        "failures": [candidate for candidate in others if isinstance(candidate.outcome, Failure)],
        "notes": proposal.notes,
        "protected": "# EVOLVE-BLOCK-START" in parent.program.source,
    }
    names = {"system": "system.md", "user": f"{proposal.operator}.md"}
    try:
        texts = {role: _templates(templates).get_template(name).render(facts) for role, name in names.items()}
    except jinja2.TemplateError as error:
        raise BadTemplate(f"{templates or TEMPLATES}: a template cannot be rendered: {error}") from None
    return [{"role": role, "content": text.strip() + "\n"} for role, text in texts.items()]


def _fitting(others: Sequence[Candidate]) -> list[Candidate]:
    """The first ones, as far as their sources fit together into what a prompt may take."""
    kept, left = [], _OTHERS_CHARS
    for candidate in others:
        left -= len(candidate.program.source)
        if left < 0:
            break
        kept.append(candidate)
    return kept


@functools.cache
def _templates(own: Path | None) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader([*([own] if own else []), TEMPLATES])
    # StrictUndefined: a name that a template gets wrong is an error, not an empty place in a prompt.
    templates = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    templates.filters.update(quantities=quantities, fenced=_fenced, summary=_summary, measured=_measured, worst=_worst)
    return templates


def _fenced(candidate: Candidate) -> str:
    """The source in a fence longer than any run of backticks in it."""
    source = candidate.program.source
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", source))])
    return f"{fence}python\n{source.rstrip()}\n{fence}"


def _summary(candidate: Candidate, problem: Problem) -> str:
    """The outcome in one line."""
    outcome = candidate.outcome
    if isinstance(outcome, Failure):
        return f"{outcome.kind.replace('_', ' ')} at {outcome.stage}: {outcome.reason}"
    values = ((objective, outcome.objectives.get(objective.name, math.nan)) for objective in problem.objectives)
    return ", ".join(f"{o.title} {value:.4g} {o.unit}" for o, value in values if math.isfinite(value))


def _measured(candidate: Candidate, problem: Problem, baselines: Sequence[Candidate]) -> str:
    """Each objective over all instances and by group, next to the best baseline there."""
    if not isinstance(candidate.outcome, Ok):
        return _summary(candidate, problem)
    lines = []
    for objective in problem.objectives:
        # Times differ between groups by what a decision looks at, not by what a rule could mend.
        groups = [] if objective.kind == "decision_time" else list(candidate.outcome.groups)
        for group in ["", *groups]:
            value = _value(candidate, objective, group)
            if math.isfinite(value):
                where = f"group {group}" if group else f"{objective.title}, all"
                bar = _best_baseline(objective, group, baselines)
                lines.append(f"{'  ' if group else ''}- {where}: {value:.4g} {objective.unit}{bar}")
    return "\n".join(lines)


def _worst(candidate: Candidate, problem: Problem, baselines: Sequence[Candidate], groups: Sequence[str] = ()) -> str:
    """The training instances on which it falls furthest behind the best baseline, worst first, with their groups."""
    objective = problem.primary
    rows = [_losses(c, objective) for c in [candidate, *baselines]]
    count = len(rows[0])
    if not count or len(rows) < 2 or any(len(row) != count for row in rows):
        return ""
    lines = []
    behind = []
    for k in range(count):
        bar, name = min((row[k], c.program.operator) for row, c in zip(rows[1:], baselines, strict=True))
        behind.append((rows[0][k] - bar, k, bar, name))
    for lag, k, bar, name in sorted((row for row in behind if math.isfinite(row[0])), reverse=True)[:_WORST]:
        if lag > 0:
            own, other = (objective.loss(value) for value in (rows[0][k], bar))
            group = f" ({groups[k]})" if len(groups) == count and groups[k] else ""
            lines.append(f"- instance {k + 1} of {count}{group}: {own:.4g} {objective.unit} ({name} {other:.4g})")
    return "\n".join(lines)


def _losses(candidate: Candidate, objective: Objective) -> list[float]:
    """Loss on each training instance."""
    outcome = candidate.outcome
    values = outcome.values.get(objective.name, []) if isinstance(outcome, Ok) else []
    return [objective.loss(value) for value in values]


def _best_baseline(objective: Objective, group: str, baselines: Sequence[Candidate]) -> str:
    """Name and value of the best (ties: the first), or nothing where none has one."""
    values = [(_value(baseline, objective, group), baseline.program.operator) for baseline in baselines]
    finite = [(value, name) for value, name in values if math.isfinite(value)]
    if not finite:
        return ""
    value, name = min(finite, key=lambda pair: objective.loss(pair[0]))
    return f" ({name} {value:.4g})"


def _value(candidate: Candidate, objective: Objective, group: str) -> float:
    outcome = candidate.outcome
    assert isinstance(outcome, Ok)
    values = outcome.groups.get(group, {}) if group else outcome.objectives
    return values.get(objective.name, math.nan)


def _example(problem: Problem) -> str:
    """A program that is admitted, made from the problem's own hooks."""
    parts = ["WEIGHT = param(0.5, low=0.0, high=10.0)"]
    for hook in problem.hooks:
        read = [f"{name}.{field.name}" for name, fields in hook.arguments.items() for field in quantities(fields)]
        body = f"return {read[0]} + WEIGHT * {read[-1]}" if read else "return WEIGHT"
        parts.append(f"def {hook.name}({', '.join(hook.arguments)}):\n    {body}")
    return "\n\n\n".join(parts)
