"""Which evaluator and which admission go with what a problem's candidates are."""

from __future__ import annotations

from evaluators import policy, python_policy
from evaluators.evaluator import Evaluator
from problems.problem import Problem

__all__ = ["admit", "evaluator_of"]


def evaluator_of(problem: Problem) -> type[Evaluator]:
    """The class that evaluates a problem's programs."""
    if problem.form == "hooks":
        return Evaluator
    from evaluators.python_mode import PythonEvaluator

    return PythonEvaluator


def admit(source: str, problem: Problem) -> None:
    """Refuse a program that the problem's form does not admit.

    Raises
    ------
    Rejection
        With the first rule that is broken.
    """
    if problem.form == "hooks":
        policy.admit(source, problem)
    else:
        python_policy.admit_program(source, problem)
