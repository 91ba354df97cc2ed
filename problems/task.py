"""A user's own task folder as a problem: one program to improve, and the user's evaluator that scores it.

The folder holds ``initial_program.py`` (or ``initial.py``) and ``evaluator.py`` (or ``evaluate.py``)
with ``evaluate(program_path) -> dict`` of metrics, or ``main(program_path, results_dir)`` that writes
``metrics.json`` there. A file ``task.toml`` may say more; see docs/tasks.md. Nothing in the folder is
executed here.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from problems.problem import Baseline, Instance, Objective, Problem, Task

PREFIX = "task:"
_PROGRAMS = ("initial_program.py", "initial.py")
_EVALUATORS = ("evaluator.py", "evaluate.py")
_SETTINGS = {
    "title": str, "statement": str, "objectives": list, "feasible": str, "timeout_s": (int, float),
    "memory_bytes": int, "isolate": bool, "read": list,
}  # fmt: skip
_OBJECTIVE = {"name": str, "direction": str, "unit": str, "title": str, "resolution": (int, float)}


class BadTask(LookupError):
    """A folder is no task; the message names file, rule and way out."""


def load(folder: Path) -> Problem:
    """Read a task folder.

    Raises
    ------
    BadTask
        If a file is missing, unreadable, or says what is not admitted.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise BadTask(f"{folder}: no such folder; a task is a folder with {_PROGRAMS[0]} and {_EVALUATORS[0]}")
    program, evaluator = _one_of(folder, _PROGRAMS), _one_of(folder, _EVALUATORS)
    settings = _settings(folder / "task.toml")
    objectives = tuple(_objective(row, folder) for row in settings.get("objectives", [{"name": "combined_score"}]))
    if not objectives or len({o.name for o in objectives}) < len(objectives):
        raise BadTask(f"{folder / 'task.toml'}: objectives must be named once each, and be one at least")
    task = Task(
        folder,
        program,
        evaluator,
        feasible=settings.get("feasible", ""),
        timeout_s=float(settings.get("timeout_s", 60.0)),
        memory_bytes=int(settings.get("memory_bytes", 4 * 2**30)),
        isolate=settings.get("isolate"),
        read=tuple((folder / path).resolve() for path in settings.get("read", [])),
    )
    text = _read(program)
    initial = Baseline("initial", "the initial program", "the task's own", text=text)
    return _problem(task, objectives, initial, settings)


def _problem(task: Task, objectives: tuple[Objective, ...], initial: Baseline, settings: Mapping[str, Any]) -> Problem:
    def no_reference(data: Any) -> Mapping[str, float]:
        return {}

    def not_here(*arguments: Any) -> NoReturn:
        raise AssertionError("a task is scored by its own evaluator")

    def no_files(path: Path) -> Sequence[Instance]:
        raise BadTask(f"{path}: a task has no instance files: its evaluator decides what a program is run on")

    return Problem(
        module="",
        title=settings.get("title") or task.folder.name,
        statement=settings.get("statement") or _statement(task, initial.text),
        hooks=(),
        objectives=objectives,
        # one evaluation is all there is: what selects is what guided
        splits=dict.fromkeys(("train", "valid"), lambda: (Instance("evaluator", "all", None),)),
        probes=lambda: (),
        simulators={"evaluator": not_here},
        solution=tuple,
        decisions=lambda data: 1,
        verify=not_here,
        measure=not_here,
        raw_units={o.name: o.unit for o in objectives},
        lower_bounds=no_reference,
        baselines=(initial,),
        read=no_files,
        format="none: the task's evaluator decides what a program is run on",
        task=task,
    )


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise BadTask(f"{folder}: has no {' or '.join(names)}; a task needs a program to start from and an evaluator")
    return found[0]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadTask(f"{path}: cannot be read: {error}") from None


def _settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise BadTask(f"{path}: not a TOML file: {error}") from None
    _check(found, _SETTINGS, path)
    for name in ("timeout_s", "memory_bytes"):
        if name in found and not 0 < found[name] < float("inf"):
            raise BadTask(f"{path}: {name} must be positive and finite, got {found[name]}")
    if not all(isinstance(entry, str) for entry in found.get("read", [])):
        raise BadTask(f"{path}: read must be a list of folders")
    return found


def _objective(row: Any, folder: Path) -> Objective:
    path = folder / "task.toml"
    if not isinstance(row, dict) or "name" not in row:
        raise BadTask(f"{path}: an objective is a table with a name, e.g. [[objectives]] name = 'combined_score'")
    _check(row, _OBJECTIVE, path)
    direction = row.get("direction", "max")
    if direction not in ("min", "max"):
        raise BadTask(f"{path}: direction must be min or max, got {direction!r}")
    name: str = row["name"]
    return Objective(
        name,
        row.get("title", name),
        row.get("unit", "points"),
        "mean",
        of=name,
        direction=direction,
        resolution=float(row.get("resolution", 1e-9)),
    )


def _check(found: Mapping[str, Any], known: Mapping[str, Any], path: Path) -> None:
    for name, value in found.items():
        if name not in known:
            raise BadTask(f"{path}: unknown setting {name!r}; known: {', '.join(known)}")
        if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
            raise BadTask(f"{path}: {name} is a {type(value).__name__}, which it cannot be")


def _statement(task: Task, program: str) -> str:
    """What the folder says of itself: a README, the prompt of a configuration file, or docstrings."""
    for name in ("README.md", "README.txt", "README"):
        if (task.folder / name).is_file():
            return _read(task.folder / name)
    for name in ("config.yaml", "config.yml"):
        if (task.folder / name).is_file() and (prompt := _system_message(_read(task.folder / name))):
            return prompt
    return "\n\n".join(filter(None, (_docstring(program), _docstring(_read(task.evaluator))))) or (
        f"Improve the program; {task.evaluator.name} scores it."
    )


def _system_message(text: str) -> str:
    """The block under ``system_message: |`` of a YAML file, found without a YAML reader."""
    key, block = r"^([ \t]*)(?:system_message|task_sys_msg):[ \t]*[|>][-+]?[ \t]*\n", r"((?:\1[ \t]+.*\n|[ \t]*\n)+)"
    match = re.search(key + block, text + "\n", re.MULTILINE)
    if match is None:
        return ""
    lines = match[2].split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines).strip()


def _docstring(source: str) -> str:
    try:
        return ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
