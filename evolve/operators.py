"""The operators: what a proposer may be asked to do with parents, by name.

A strategy asks for a kind of edit and takes whichever operator of that kind the proposer knows, so
that the same strategy drives a language model and the offline genetic proposer. ``e1`` to ``m3``
are the operators of EoH [1]_.

References
----------
.. [1] Liu et al. (2024), "Evolution of heuristics: towards efficient automatic algorithm design
   using large language models", ICML 2024, arXiv:2401.02051.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

from evolve.program import Program

T = TypeVar("T")
Kind = Literal["explore", "combine", "refine", "tune", "simplify", "repair"]
OFFERED = ("rewrite", "diff")  # what models are asked for where neither user nor strategy says
REPAIR = "repair"  # asked for by a run itself, and offered to no strategy


class Operator(NamedTuple):
    """One operator. ``parents`` is how many it needs; the first is the one that is edited."""

    kind: Kind
    parents: int
    doc: str
    tuned: bool = False  # its child's constants are searched for by simulations before it is evaluated


OPERATORS: dict[str, Operator] = {
    "rewrite": Operator("explore", 1, "write the whole program anew"),
    "e1": Operator("explore", 2, "a design as different as possible from all parents"),
    "redesign": Operator("explore", 1, "start over, from the ledger of what was tried"),
    "e2": Operator("combine", 2, "a new design around the idea the parents share"),
    "crossover": Operator("combine", 2, "parts of the second parent in the first"),
    "mutate": Operator("refine", 1, "a few random changes of the syntax tree"),
    "diff": Operator("refine", 1, "one idea as SEARCH/REPLACE blocks"),
    "m1": Operator("refine", 1, "another form of the same program"),
    "reflect": Operator("refine", 1, "read the trace of the worst instances, mend what it shows"),
    "m2": Operator("tune", 1, "other constants"),
    "tune": Operator("tune", 1, "other constants, found by simulations", tuned=True),
    "expand": Operator("refine", 1, "a few more factors, their exponents found by simulations", tuned=True),
    "simplify": Operator("simplify", 1, "the same decisions in fewer terms"),
    REPAIR: Operator("repair", 1, "keep the idea, change what kept the program from being admitted or compiled"),
    "m3": Operator("simplify", 1, "drop what serves the training instances only"),
}


def of_kinds(operators: Sequence[str], *kinds: str, parents: int = 1) -> list[str]:
    """Those of some kinds that make do with so many parents; of the first kind that has any.

    Falls back to every operator that makes do with one parent, in their given order.
    """
    for kind in kinds:
        found = [name for name in operators if OPERATORS[name].kind == kind and OPERATORS[name].parents <= parents]
        if found:
            return found
    return [name for name in operators if OPERATORS[name].parents == 1]


def is_tuned(program: Program) -> bool:
    """Whether simulations went into a program's constants before it was evaluated."""
    return bool(program.parents) and program.operator in OPERATORS and OPERATORS[program.operator].tuned


def needed(operator: str, parents: Sequence[T]) -> tuple[T, ...]:
    """As many of the parents as the operator takes."""
    return tuple(parents[: OPERATORS[operator].parents])
