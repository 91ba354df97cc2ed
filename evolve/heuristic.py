"""Heuristics by name: find a program, read its file, load it as callables."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.admission.language import Rejection
from evaluators.kinds import admit
from evolve.errors import UserError
from evolve.store import Store
from problems import registry
from problems.problem import Problem

RECORD = "# evolve-record: "
NOTE = "# evolve: "


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


def load_heuristic(
    path: str | Path, id: int | None = None, *, problem: str | None = None, compiled: bool = True
) -> Heuristic:
    """Load a discovered rule into your own code.

    Parameters
    ----------
    path : str or Path
        A program's file, exported or your own, or a run's folder.
    id : int, optional
        Which program of the run; default its champion.
    problem : str, optional
        Whose hooks a file defines; default what an exported file says, else the first problem that
        admits it.
    compiled : bool
        Compile with numba where it is installed (then each argument must be a NamedTuple of
        floats), else run as plain Python.

    Raises
    ------
    UserError
        If there is no such file, run or program, or no problem admits it: nothing of a program is
        executed before it is admitted.
    """
    path = Path(path)
    if path.is_dir():
        with Store(path) as store:
            program = store.program(store.meta("champion", 0) if id is None else id)
            name, source, problem = f"{path}:{program.id}", program.source, store.config.problem
    else:
        name, source = str(path), read_source(path)
        problem = problem or (record_of(source) or {}).get("problem")
    admitted = _admitting(name, source, [problem] if problem else registry.names())
    # whole programs are ordinary Python, which the compiler does not know
    functions, is_compiled = _callables(source, compiled and admitted.form == "hooks")
    return Heuristic(name, source, {name: functions[name] for name in admitted.functions or functions}, is_compiled)


def _admitting(name: str, source: str, problems: list[str]) -> Problem:
    """The first of the problems that admits a program."""
    refusals = []
    for candidate in problems:
        try:
            problem = registry.load(candidate)
            admit(source, problem)
        except (Rejection, registry.UnknownProblem) as refusal:
            refusals.append(f"{candidate}: {refusal}")
        else:
            return problem
    raise UserError(f"{name}: no problem admits it ({'; '.join(refusals)})")


def _callables(source: str, compiled: bool) -> tuple[dict[str, Callable[..., float]], bool]:
    namespace: dict[str, Any] = {"param": lambda value, low, high, log=False: float(value)}
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
    return {name: namespace[name] for name in defined}, compiled


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
    lines = [line for line in source.splitlines() if line.startswith(RECORD)]
    if not lines:
        return None
    try:
        found = json.loads(lines[-1].removeprefix(RECORD))
    except json.JSONDecodeError as error:
        raise UserError(f"the line {RECORD!r} is damaged: {error}; export the program again") from None
    if not isinstance(found, dict) or not {"problem", "decoder", "objectives"} <= found.keys():
        raise UserError(f"the line {RECORD!r} lacks problem, decoder or objectives; export the program again")
    return found
