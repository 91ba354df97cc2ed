"""Export: one readable module with the rule, its words, provenance, figures and a record to verify."""

from __future__ import annotations

import ast
import textwrap
from datetime import date

from evaluators.outcome import Ok
from evolve.codec import dumps
from evolve.errors import UserError
from evolve.heuristic import NOTE, RECORD
from evolve.program import Program
from evolve.store import Store
from problems import registry
from problems.problem import Problem, quantities


def export(store: Store, identifier: int | None, licence: str) -> str:
    """One readable module: the rule, its words, provenance, figures and a record to verify."""
    identifier = store.meta("champion", 0) if identifier is None else identifier
    program, problem = store.program(identifier), registry.load(store.config.problem)
    read = store.outcomes_of(identifier)
    outcomes = {
        split: outcome
        for split in problem.splits
        if isinstance(outcome := read.get(split), Ok) and split not in store.config.own_instances
    }
    if problem.form == "hooks":
        body = _without_docstring(_settled_parameters(program.source)).strip()
    else:
        body = program.source.strip()
    if not body or not outcomes:
        raise UserError(f"{store.folder}: program {identifier} has no valid outcome; choose one from: evolve front")
    exact = {
        split: {o.name: outcome.objectives[o.name] for o in problem.objectives if o.kind != "decision_time"}
        for split, outcome in outcomes.items()
    }
    record = {"problem": problem.name, "decoder": store.config.decoder, "objectives": exact}
    if problem.form != "hooks":
        # as it stands: docstring, imports and protected text belong to a whole program
        notes = [
            *_provenance(store, identifier),
            *_figures(store, problem, identifier, outcomes),
            f"Licence: {licence}",
        ]
        return f"{body}\n\n\n" + "".join(f"{NOTE}{note}\n" for note in notes) + f"{RECORD}{dumps(record)}\n"
    lines = [
        f"A rule for {problem.title}, discovered with evolve.",
        "",
        *_in_words(problem, program, body),
        "",
        "Where it comes from",
        "-------------------",
        *_provenance(store, identifier),
        "",
        f"Measured on {problem.name}, decoder {store.config.decoder}",
        "-----------",
        *_figures(store, problem, identifier, outcomes),
        "",
        f"Licence: {licence}",
    ]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""\n\n\n{body}\n\n\n{RECORD}{dumps(record)}\n'


def _settled_parameters(source: str) -> str:
    """Replace each ``param(value, ...)`` by its value, a float: the file stands on its own."""
    lines = source.splitlines()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "param"
    ]
    for node in sorted(calls, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        assert node.end_lineno == node.lineno, "admission keeps a param() on one line"
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = (
            line[: node.col_offset] + repr(float(ast.literal_eval(node.args[0]))) + line[node.end_col_offset :]
        )
    return "\n".join(lines)


def _without_docstring(source: str) -> str:
    first = ast.parse(source).body[:1]
    if first and isinstance(first[0], ast.Expr) and isinstance(first[0].value, ast.Constant):
        return "\n".join(source.splitlines()[first[0].end_lineno :])
    return source


def _in_words(problem: Problem, program: Program, source: str) -> list[str]:
    """The idea if somebody put it into words, what the number means, and what it is made of."""
    lines = [*_wrapped(program.thought), ""] if program.thought and program.origin != "genetic" else []
    for hook in problem.hooks:
        read = _fields_read(ast.parse(source), hook.name, {other.name for other in problem.hooks})
        fields = [
            f"    {argument}.{q.name} ({q.unit}): {q.doc}"
            for argument, cls in hook.arguments.items()
            for q in quantities(cls)
            if q.name in read
        ]
        lines += [f"{hook.signature}: {hook.doc}", *(["It reads:", *fields] if fields else [])]
    return lines


def _fields_read(module: ast.Module, hook: str, hooks: set[str]) -> set[str]:
    """Fields that a hook reads, or that functions read which it may call."""
    functions = [f for f in module.body if isinstance(f, ast.FunctionDef) and (f.name == hook or f.name not in hooks)]
    return {node.attr for f in functions for node in ast.walk(f) if isinstance(node, ast.Attribute)}


def _provenance(store: Store, identifier: int) -> list[str]:
    program = store.program(identifier)
    settings = store.config.model_dump(
        mode="json", exclude_none=True, exclude={"out", "api_base", "train", "valid", "test"}
    )
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value not in ([], False))
    ancestors = store.ancestors(identifier)
    roots = sorted({p.operator for p in ancestors.values() if p.origin == "baseline"})
    return [
        f"Program {identifier} ({program.origin}, {program.operator}), exported {date.today().isoformat()}.",
        f"Descends from {len(ancestors) - 1} programs; baselines among them: {', '.join(roots) or 'none'}.",
        *_wrapped(f"Settings: {shown}."),
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 100)


def _figures(store: Store, problem: Problem, identifier: int, outcomes: dict[str, Ok]) -> list[str]:
    best = (store.meta("report") or {}).get("best_baseline")
    rival = next((p for p in store.programs() if p.origin == "baseline" and p.operator == best), None)
    lines = []
    for split, outcome in outcomes.items():
        theirs = store.outcomes_of(rival.id).get(split) if rival else None
        for objective in problem.objectives:
            value = f"{outcome.objectives[objective.name]:.4g}"
            beside = (
                f" (best baseline {best}: {theirs.objectives[objective.name]:.4g})" if isinstance(theirs, Ok) else ""
            )
            lines.append(f"{split}: {objective.title} {value} {objective.unit}{beside}")
    return lines
