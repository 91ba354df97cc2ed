"""Heuristics in and out: find a program by name, load it as callables, export and verify it."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.outcome import Ok
from evolve.errors import UserError
from evolve.store import Store, dumps
from problems import registry
from problems.problem import Problem, quantities

_RECORD = "# evolve-record: "


@dataclass(frozen=True)
class Heuristic:
    """A program's hooks as callables; called itself, it is its only hook."""

    name: str
    source: str
    hooks: dict[str, Callable[..., float]]
    compiled: bool

    def __call__(self, *arguments: Any) -> float:
        """Call the only hook, e.g. ``rule(op, shop)`` with NamedTuples of floats."""
        if len(self.hooks) != 1:
            raise TypeError(f"{self.name} has hooks {', '.join(self.hooks)}: call one of them by name")
        return next(iter(self.hooks.values()))(*arguments)

    def __getattr__(self, name: str) -> Callable[..., float]:
        try:
            return self.hooks[name]
        except KeyError:
            raise AttributeError(f"{self.name} has no hook {name!r}; it has {', '.join(self.hooks)}") from None


def load_heuristic(path: str | Path, id: int | None = None, *, compiled: bool = True) -> Heuristic:
    """Load a discovered rule into your own code.

    Parameters
    ----------
    path : str or Path
        An exported file, or a run's folder.
    id : int, optional
        Which program of the run; default its champion.
    compiled : bool
        Compile with numba where it is installed (then each argument must be a NamedTuple of
        floats), else run as plain Python.

    Raises
    ------
    UserError
        If there is no such file, run or program, or the file is no admissible program.
    """
    from evaluators.policy import Rejection, admit

    path, problem = Path(path), None
    if path.is_dir():
        with Store(path) as store:
            program = store.program(store.meta("champion", 0) if id is None else id)
            source, problem = program.source, registry.load(store.config.problem)
        name = f"{path}:{program.id}"
    else:
        source, name = read_source(path), str(path)
        found = record_of(source)
        if found:
            problem = registry.load(found["problem"])
    if problem is not None:
        try:
            admit(source, problem)
        except Rejection as refusal:
            raise UserError(f"{name}: {refusal}") from None
    hooks = {hook.name for hook in problem.hooks} if problem else None
    return Heuristic(name, source, *_callables(source, hooks, compiled))


def _callables(source: str, hooks: set[str] | None, compiled: bool) -> tuple[dict[str, Callable[..., float]], bool]:
    namespace: dict[str, Any] = {"math": math, "np": np, "param": lambda value, low=None, high=None: value}
    exec(compile(source, "<heuristic>", "exec"), namespace)
    defined = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if compiled:
        try:
            import numba
        except ImportError:
            compiled = False
        else:
            # in the namespace itself, so that a hook's calls of its helpers find them compiled
            for name in defined:
                namespace[name] = numba.njit(error_model="numpy")(namespace[name])
    return {name: namespace[name] for name in defined if hooks is None or name in hooks}, compiled


@dataclass(frozen=True)
class Named:
    """A program that a user named on the command line; source is empty for a procedure."""

    name: str
    source: str


def find(problem: Problem, text: str) -> Named:
    """Resolve PROGRAM: a baseline's name, RUN:ID (or RUN for its champion), or a file.

    Raises
    ------
    UserError
        If it is none of these.
    """
    baseline = problem.baseline(text)
    if baseline is not None:
        return Named(text, baseline.source if baseline.is_rule else "")
    folder, _, number = text.rpartition(":") if ":" in text else (text, "", "")
    if folder and Path(folder).is_dir():
        with Store(Path(folder)) as store:
            if number and not number.isdecimal():
                raise UserError(f"{text}: {number!r} is no program id; write {folder}:0 or {folder} for its champion")
            if store.config.problem != problem.name:
                raise UserError(f"{folder}: a run of {store.config.problem}, not of {problem.name}")
            identifier = int(number) if number else store.meta("champion", 0)
            return Named(f"{folder}:{identifier}", store.program(identifier).source)
    if Path(text).is_file():
        return Named(text, read_source(Path(text)))
    names = ", ".join(b.name for b in problem.baselines)
    raise UserError(f"{text}: no file, no RUN:ID and no baseline of {problem.name} ({names})")


def read_source(path: Path) -> str:
    """Text of a program file; unreadable and undecodable files are UserErrors."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None


def record_of(source: str) -> dict[str, Any] | None:
    """The machine-readable last line of an exported heuristic, if there is one."""
    lines = [line for line in source.splitlines() if line.startswith(_RECORD)]
    if not lines:
        return None
    try:
        found = json.loads(lines[-1].removeprefix(_RECORD))
    except json.JSONDecodeError as error:
        raise UserError(f"the line {_RECORD!r} is damaged: {error}; export the program again") from None
    if not isinstance(found, dict) or not {"problem", "decoder", "objectives"} <= found.keys():
        raise UserError(f"the line {_RECORD!r} lacks problem, decoder or objectives; export the program again")
    return found


def export(store: Store, identifier: int | None, licence: str) -> str:
    """One readable module: the rule, its words, provenance, figures and a record to verify."""
    identifier = store.meta("champion", 0) if identifier is None else identifier
    program, problem = store.program(identifier), registry.load(store.config.problem)
    outcomes = {
        split: outcome
        for split, outcome in store.outcomes_of(identifier).items()
        if isinstance(outcome, Ok) and split not in store.config.own_instances
    }
    body = _without_docstring(_settled_parameters(program.source)).strip()
    if not body or not outcomes:
        raise UserError(f"{store.folder}: program {identifier} has no valid outcome; choose one from: evolve front")
    exact = {
        split: {o.name: outcome.objectives[o.name] for o in problem.objectives if o.kind != "decision_time"}
        for split, outcome in outcomes.items()
    }
    record = {"problem": problem.name, "decoder": store.config.decoder, "objectives": exact}
    lines = [
        f"A rule for {problem.title}, discovered with evolve.",
        "",
        *_in_words(problem, program.thought, body),
        "",
        "Where it comes from",
        "-------------------",
        *_provenance(store, identifier),
        "",
        f"Measured ({problem.name}, decoder {store.config.decoder})",
        "--------",
        *_figures(store, problem, identifier, outcomes),
        "",
        f"Licence: {licence}",
    ]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""\n\n{body}\n\n\n{_RECORD}{dumps(record)}\n'


def _settled_parameters(source: str) -> str:
    """Replace each ``param(value, ...)`` by its value: the file stands on its own."""
    lines = source.splitlines()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "param"
    ]
    for node in sorted(calls, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        assert node.end_lineno == node.lineno, "admission keeps a param() on one line"
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + ast.unparse(node.args[0]) + line[node.end_col_offset :]
    return "\n".join(lines)


def _without_docstring(source: str) -> str:
    first = ast.parse(source).body[:1]
    if first and isinstance(first[0], ast.Expr) and isinstance(first[0].value, ast.Constant):
        return "\n".join(source.splitlines()[first[0].end_lineno :])
    return source


def _in_words(problem: Problem, thought: str, source: str) -> list[str]:
    lines = [thought.strip()] if thought.strip() else []
    read = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    for hook in problem.hooks:
        lines += [f"{hook.signature}: {hook.doc}", "It reads:"]
        for argument, cls in hook.arguments.items():
            lines += [f"    {argument}.{q.name} ({q.unit}): {q.doc}" for q in quantities(cls) if q.name in read]
    return lines


def _provenance(store: Store, identifier: int) -> list[str]:
    program = store.program(identifier)
    settings = store.config.model_dump(
        mode="json", exclude_none=True, exclude={"out", "api_base", "train", "valid", "test"}
    )
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value not in ([], False))
    ancestors = lineage(store, identifier)
    roots = sorted({p.operator for p in ancestors.values() if p.origin == "baseline"})
    return [
        f"Program {identifier} ({program.origin}, {program.operator}), exported {date.today().isoformat()}.",
        f"Descends from {len(ancestors) - 1} programs; baselines among them: {', '.join(roots) or 'none'}.",
        f"Settings: {shown}.",
    ]


def lineage(store: Store, identifier: int) -> dict[int, Any]:
    """A program and all its ancestors by id."""
    programs, todo = {}, [identifier]
    while todo:
        number = todo.pop()
        if number not in programs:
            programs[number] = store.program(number)
            todo.extend(programs[number].parents)
    return programs


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
