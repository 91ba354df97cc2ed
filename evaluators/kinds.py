"""Which evaluator and which admission go with what a problem's candidates are."""

from __future__ import annotations

from evaluators.admission import policy, python_policy
from evaluators.evaluator import Evaluator
from problems.problem import Problem

__all__ = ["admit", "evaluator_of"]


def evaluator_of(problem: Problem) -> type[Evaluator]:
    """The class that evaluates a problem's programs."""
    # late: they import the compiler, which takes longer than most commands
    if problem.form == "solve":
        from evaluators.python_mode import PythonEvaluator

        return PythonEvaluator
    if problem.form == "task":
        from evaluators.tasks.external import ExternalEvaluator

        return ExternalEvaluator
    return Evaluator


def admit(source: str, problem: Problem) -> None:
    """Refuse a program that the problem's form does not admit.

    Raises
    ------
    Rejection
        With the first rule that is broken.
    """
    if problem.form == "solve":
        python_policy.admit_program(source, problem)
    elif problem.form == "task":
        from evaluators.tasks.external import admit_file

        admit_file(source, problem)
    else:
        policy.admit(source, problem)
