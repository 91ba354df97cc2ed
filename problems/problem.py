"""The problem contract: what each file ``problems/<family>/<problem>.py`` declares.

A problem is one decision problem: the hooks a candidate must define, the simulator that calls
them, instances by split, objectives, baselines and a verifier. Everything here is trusted code;
only hooks come from candidates, and they reach a simulator as compiled function arguments.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:  # listing problems imports neither
    import numpy as np

    from problems.claims import Claim

Direction = Literal["min", "max"]
Form = Literal["hooks", "solve", "task"]
ReferenceKind = Literal["optimum", "best known", "lower bound"]


class Infeasible(ValueError):
    """A solution breaks a rule of its problem; the message names the rule, value and place."""


class NonFiniteScore(ArithmeticError):
    """A hook returned NaN or an infinity; raised by simulators, also from compiled code."""


class BadInstance(ValueError):
    """A user's instance file breaks its format; the message names file, line and rule."""


class Quantity(NamedTuple):
    """One number that a hook may read."""

    name: str
    unit: str
    doc: str


def quantities(argument: type) -> list[Quantity]:
    """Fields of a hook's argument, a NamedTuple of ``Annotated[float, unit, doc]``.

    Raises
    ------
    TypeError
        If a field is not annotated in that form: units are part of the contract.
    """
    found = []
    for name, hint in typing.get_type_hints(argument, include_extras=True).items():
        notes = getattr(hint, "__metadata__", ())
        if typing.get_origin(hint) is not typing.Annotated or hint.__origin__ is not float or len(notes) != 2:
            raise TypeError(f"{argument.__name__}.{name} must be Annotated[float, unit, doc], got {hint!r}")
        found.append(Quantity(name, *notes))
    return found


@dataclass(frozen=True)
class Hook:
    """A function the candidate must define; it returns one float."""

    name: str
    arguments: Mapping[str, type]  # argument name -> NamedTuple of Annotated[float, unit, doc]
    doc: str  # what the returned number means, e.g. "The lowest is dispatched first."

    @property
    def signature(self) -> str:
        """``priority(op, shop) -> float``."""
        return f"{self.name}({', '.join(self.arguments)}) -> float"


class Field(NamedTuple):
    """One field of what a whole program sees of an instance."""

    name: str
    type: str  # "(n,) int64", "int"
    unit: str
    doc: str


@dataclass(frozen=True)
class Solver:
    """The one function of a problem whose candidates are whole programs: ``solve(instance) -> solution``.

    ``view`` maps an instance's data to what the function sees, the NamedTuple ``argument`` of numbers
    and arrays; ``arrays`` maps each field of the problem's solution to its dtype and dimensions.
    """

    argument: type  # NamedTuple of Annotated[type, "shape and dtype", unit, doc]
    view: Callable[[Any], Any]
    arrays: Mapping[str, tuple[str, int]]
    doc: str  # what is returned
    seconds: float = 1.0  # wall clock for one instance

    signature = "solve(instance) -> solution"

    @property
    def fields(self) -> list[Field]:
        """Fields of the argument.

        Raises
        ------
        TypeError
            If one is not annotated in that form: shapes and units are part of the contract.
        """
        found = []
        for name, hint in typing.get_type_hints(self.argument, include_extras=True).items():
            notes = getattr(hint, "__metadata__", ())
            if typing.get_origin(hint) is not typing.Annotated or len(notes) != 3:
                raise TypeError(
                    f"{self.argument.__name__}.{name} must be Annotated[type, form, unit, doc], got {hint!r}"
                )
            found.append(Field(name, *notes))
        return found


@dataclass(frozen=True)
class Task:
    """A user's own evaluator, and the program it starts from; see docs/tasks.md."""

    folder: Path
    program: Path
    evaluator: Path
    feasible: str = ""  # a metric that must be positive, e.g. "validity"; "": none
    timeout_s: float = 60.0  # wall clock of one evaluation
    memory_bytes: int = 4 * 2**30  # of each process of an evaluation
    isolate: bool | None = None  # the program in a process of its own; None: where the evaluator allows that
    read: tuple[Path, ...] = ()  # folders that may be read besides this one and installed packages


@dataclass(frozen=True)
class Objective:
    """One number that a program is judged by.

    ``kind`` says how it follows from the raw metric ``of`` of each instance:
    ``mean`` is the mean of raw values; ``gap`` the mean of 100 (raw / reference - 1) over the
    instances whose reference is positive; ``ratio_of_sums`` is 100 (sum raw / sum reference - 1);
    ``decision_time`` the simulation's CPU time per decision in ns (``of`` is ignored).
    """

    name: str
    title: str
    unit: str
    kind: Literal["mean", "gap", "ratio_of_sums", "decision_time"]
    of: str = ""
    direction: Direction = "min"
    # Differences below this do not count when programs are archived: absolute, in unit, or
    # a share of the value where relative is set.
    resolution: float = 0.0
    relative: bool = False

    def loss(self, value: float) -> float:
        """The value with its sign turned so that lower is better: the only place that does."""
        return value if self.direction == "min" else -value


class Reference(NamedTuple):
    """A value that a raw metric is compared with."""

    value: float
    kind: ReferenceKind


@dataclass(frozen=True)
class Instance:
    """One input of a problem. ``data`` is the problem's own NamedTuple of frozen arrays."""

    name: str
    group: str
    data: Any
    references: Mapping[str, Reference] = field(default_factory=dict)  # by raw metric


@dataclass(frozen=True)
class Baseline:
    """A published method, with its citation.

    A *rule* is a program of the same kind as candidates (``hooks`` maps each hook to the Python
    function that fills it, or ``text`` is the whole program). A *procedure* is trusted code with
    its own budget (``solve`` maps instance data to a solution): it is an opponent, never a seed.
    """

    name: str
    title: str
    citation: str
    hooks: Mapping[str, Callable[..., float]] = field(default_factory=dict)
    solve: Callable[[Any], Any] | None = None
    text: str = ""
    costly: bool = False  # left out of the report that ends each run, for its time

    @property
    def is_rule(self) -> bool:
        """Whether it is a program of the same kind as candidates."""
        return self.solve is None

    @cached_property
    def source(self) -> str:
        """The rule as a candidate's module: each function under its hook's name.

        The functions may use ``math`` and nothing else of the module they stand in.
        """
        if self.text:
            return self.text
        parts = []
        for hook, function in self.hooks.items():
            text = textwrap.dedent(inspect.getsource(function))
            text = re.sub(rf"\bdef {function.__name__}\b", f"def {hook}", text, count=1)
            # Annotations serve the type checker where the rule is written; a candidate has none.
            parts.append(re.sub(r"\A(def \w+)\((.*?)\).*?:\n", _bare_signature, text, count=1, flags=re.DOTALL))
        header = "import math\n\n\n" if any("math." in part for part in parts) else ""
        return header + "\n\n".join(parts)


class Future(NamedTuple):
    """An instance that cannot be told from another one up to a time."""

    data: Any
    until: float


@dataclass(frozen=True)
class Hidden:
    """What a policy of an online problem must not know yet, and how it is proved that it does not.

    A policy may not anticipate: what it decides up to a time may depend on nothing that its run
    reveals later. The audit solves an instance, permutes what that solution had not revealed by
    some time, solves the result, and demands equal decisions up to that time.
    """

    what: str  # e.g. "sizes of jobs that have not completed, and all future arrivals"
    # (data, solution, rng) -> the same instance to whoever has only seen what the solution reveals
    # up to a time; what it reveals later is permuted. Every future must be reachable: values stay
    # consistent with what was seen (a job that has been served for 5 is longer than 5).
    permute: Callable[[Any, Any, np.random.Generator], Future]
    # (solution, until) -> arrays that hold all decisions taken up to a time, that time included
    decided: Callable[[Any, float], Sequence[np.ndarray]]


def _bare_signature(match: re.Match[str]) -> str:
    names = [part.split(":")[0].strip() for part in match[2].split(",") if part.strip()]
    return f"{match[1]}({', '.join(names)}):\n"


@dataclass(frozen=True)
class Problem:
    """Everything the framework knows of one problem. See docs/adding-a-problem.md."""

    module: str  # __name__ of the declaring module; the problem's name is its path
    title: str
    statement: str  # Markdown, for people and prompts: rules, what a hook sees, what it may not know
    hooks: tuple[Hook, ...]
    objectives: tuple[Objective, ...]  # the first is the one that champions are chosen by
    splits: Mapping[str, Callable[[], Sequence[Instance]]]  # train, valid, test, shift-*
    probes: Callable[[], Sequence[Instance]]  # tiny instances: equal solutions there, equal behaviour
    # Decoder name -> kernel(data, *hooks, theta) -> solution; the first is the default. Every
    # table names the decoder: it can matter more than the rule.
    simulators: Mapping[str, Callable[..., Any]]
    solution: type  # NamedTuple of arrays that a simulator returns
    decisions: Callable[[Any], int]  # data -> number of decisions in one simulation
    verify: Callable[[Any, Any], None]  # (data, solution): raises Infeasible
    measure: Callable[[Any, Any], Mapping[str, float]]  # (data, solution) -> raw metrics
    raw_units: Mapping[str, str]  # raw metric -> unit
    lower_bounds: Callable[[Any], Mapping[str, float]]  # data -> a proved bound per raw metric
    baselines: tuple[Baseline, ...]
    read: Callable[[Path], Sequence[Instance]]  # the problem's public text format; raises BadInstance
    format: str  # that format in one line
    # Candidates are whole programs in Python mode; then there are no hooks, and the one simulator is
    # called as (data, solve, theta).
    solver: Solver | None = None
    task: Task | None = None  # candidates are whole files, and a user's own evaluator scores them
    hidden: Hidden | None = None  # of an online problem: what hooks must not know, and the test that they do not
    claims: tuple[Claim, ...] = ()  # what papers say of the baselines, see claims.py
    # For prompts and people, where a problem has more to say of a solution than its objectives:
    explain: Callable[[Any, Any], str] | None = None  # (data, solution) -> what went on and what went wrong
    # (data, solution) -> decisions in the order in which they were taken, a few words each
    narrate: Callable[[Any, Any], Sequence[str]] | None = None

    @property
    def name(self) -> str:
        """``shop/job_shop`` for the module ``problems.shop.job_shop``; ``task:FOLDER`` for a task."""
        if self.task is not None:
            return f"task:{self.task.folder}"
        return "/".join(self.module.split(".")[1:])

    @property
    def form(self) -> Form:
        """What a candidate is: a simulator's hooks, a program that solves instances, or a task's whole file."""
        return "task" if self.task else "solve" if self.solver else "hooks"

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions that a candidate must define."""
        return ("solve",) if self.solver else tuple(hook.name for hook in self.hooks)

    @property
    def primary(self) -> Objective:
        """The objective that champions are chosen by."""
        return self.objectives[0]

    @property
    def default_decoder(self) -> str:
        """The decoder used where none is named."""
        return next(iter(self.simulators))

    @property
    def rules(self) -> tuple[Baseline, ...]:
        """The baselines that are programs."""
        return tuple(b for b in self.baselines if b.is_rule)

    def baseline(self, name: str) -> Baseline | None:
        """The baseline of that name, or None."""
        return next((b for b in self.baselines if b.name == name), None)
