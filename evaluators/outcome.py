"""The typed result of one evaluation. A failure is a value of its own, never a bad score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Ok:
    """The program solved every instance; all numbers were computed outside its reach.

    ``objectives`` maps objective to its value over the split, ``groups`` instance group to the
    same, ``values`` objective to its per-instance values (NaN where it does not apply), ``raw`` raw metric to
    its per-instance values; lists follow the order of the split.
    """

    objectives: Mapping[str, float]
    groups: Mapping[str, Mapping[str, float]]
    values: Mapping[str, list[float]]
    raw: Mapping[str, list[float]]
    fingerprint: str = ""  # digest of the decisions on the problem's probe instances
    cost: Mapping[str, float] = field(default_factory=dict)  # seconds by step: compile_s, run_s, ...
    compiler: str = ""  # numba or lowered: which way the program was compiled; not stored
    kind: ClassVar[str] = "ok"


@dataclass(frozen=True)
class Failure:
    """No score: ``stage`` says where it ended, ``reason`` why, in one line for people and LLMs."""

    stage: str  # edit, admit, compile, run, race, verify, audit
    reason: str
    kind: ClassVar[str] = "failure"


@dataclass(frozen=True)
class Rejected(Failure):
    """Refused before anything ran: edit, policy, no-op or duplicate. Costs no evaluation."""

    kind: ClassVar[str] = "rejected"


@dataclass(frozen=True)
class CompileError(Failure):
    """A hook does not compile to its declared signature."""

    kind: ClassVar[str] = "compile_error"


@dataclass(frozen=True)
class Infeasible(Failure):
    """The verifier refused a solution."""

    kind: ClassVar[str] = "infeasible"


@dataclass(frozen=True)
class Crashed(Failure):
    """The program raised, or its worker died."""

    kind: ClassVar[str] = "crashed"


@dataclass(frozen=True)
class TimedOut(Failure):
    """The wall-clock limit passed; the whole process group was killed."""

    kind: ClassVar[str] = "timed_out"


@dataclass(frozen=True)
class OutOfMemory(Failure):
    """An allocation was refused at the memory limit."""

    kind: ClassVar[str] = "out_of_memory"


@dataclass(frozen=True)
class NonFinite(Failure):
    """A hook returned NaN or an infinity."""

    kind: ClassVar[str] = "non_finite"


@dataclass(frozen=True)
class NonDeterministic(Failure):
    """The same program decided otherwise on the same data."""

    kind: ClassVar[str] = "non_deterministic"


@dataclass(frozen=True)
class Anticipative(Failure):
    """Decisions depended on what had not been revealed when they were taken."""

    kind: ClassVar[str] = "anticipative"


@dataclass(frozen=True)
class Dropped(Failure):
    """Worse than its reference, at the declared error rate, before all instances were run.

    It has an estimate, which is no score: the program was not run on the whole split.
    """

    instances: int  # run
    estimate: float  # of the primary objective over the split
    values: list[float] = field(repr=False)  # the primary objective's per instance, NaN where not run
    kind: ClassVar[str] = "dropped"


Outcome = Ok | Failure
FAILURES: dict[str, type[Failure]] = {
    f.kind: f
    for f in (
        *(Rejected, CompileError, Infeasible, Crashed, TimedOut, OutOfMemory, NonFinite),
        *(NonDeterministic, Anticipative, Dropped),
    )
}
