"""From solutions to objectives, in the trusted process: verify, measure, aggregate."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.outcome import Infeasible, Ok
from problems import problem as contract
from problems.problem import Baseline, Instance, Objective, Problem

# Rounding of a sum of floats, relative; a bound must not be beaten by more.
_ROUNDING = 1e-9


class BoundBeaten(AssertionError):
    """A verified solution is better than a proved bound: verifier, measure or bound is wrong."""


def score(
    problem: Problem, instances: Sequence[Instance], solutions: Sequence[Any], nanoseconds: Sequence[float]
) -> Ok | Infeasible:
    """Judge one solution per instance.

    Parameters
    ----------
    problem : Problem
        Whose verifier and measures are used.
    instances, solutions, nanoseconds
        In the same order; nanoseconds is the CPU time of each simulation.

    Raises
    ------
    BoundBeaten
        If a verified solution beats a reference that is an optimum or a lower bound.
    """
    raw = examine(problem, instances, solutions)
    return raw if isinstance(raw, Infeasible) else summarise(problem, instances, raw, nanoseconds)


def examine(
    problem: Problem, instances: Sequence[Instance], solutions: Sequence[Any]
) -> dict[str, list[float]] | Infeasible:
    """Verify and measure one solution per instance: raw metrics in the order of the instances.

    Raises
    ------
    BoundBeaten
        If a verified solution beats a reference that is an optimum or a lower bound.
    """
    raw: dict[str, list[float]] = {}
    for instance, solution in zip(instances, solutions, strict=True):
        try:
            problem.verify(instance.data, solution)
        except contract.Infeasible as broken:
            return Infeasible("verify", f"instance {instance.name}: {broken}")
        for metric, value in problem.measure(instance.data, solution).items():
            if not math.isfinite(value):
                return Infeasible("verify", f"instance {instance.name}: {metric} is {value}")
            _check_bound(problem, instance, metric, value)
            raw.setdefault(metric, []).append(float(value))
    return raw


def summarise(
    problem: Problem, instances: Sequence[Instance], raw: dict[str, list[float]], nanoseconds: Sequence[float]
) -> Ok:
    """Objectives from the raw metrics of a whole split."""
    decisions = [problem.decisions(instance.data) for instance in instances]
    names = {o.name: list(nanoseconds) if o.kind == "decision_time" else raw[o.of] for o in problem.objectives}
    objectives, values = {}, {}
    for objective in problem.objectives:
        found = aggregate(objective, instances, names[objective.name], decisions)
        objectives[objective.name], values[objective.name] = found
    return Ok(objectives, _by_group(problem, instances, names, decisions), values, raw)


def solve_procedure(problem: Problem, baseline: Baseline, instances: Sequence[Instance]) -> Ok:
    """Run a trusted procedure on instances and score it like a program.

    Raises
    ------
    AssertionError
        If a solution is infeasible: procedures are ours.
    """
    assert baseline.solve is not None, f"{baseline.name} is a rule, not a procedure"
    solutions, nanoseconds = [], []
    for instance in instances:
        start = time.thread_time_ns()
        solutions.append(baseline.solve(instance.data))
        nanoseconds.append(time.thread_time_ns() - start)
    outcome = score(problem, instances, solutions, nanoseconds)
    assert isinstance(outcome, Ok), f"{baseline.name}: {outcome.reason}"
    return outcome


def aggregate(
    objective: Objective,
    instances: Sequence[Instance],
    raw_values: Sequence[float],
    decisions: Sequence[int],
) -> tuple[float, list[float]]:
    """One objective's value over instances, and its value on each.

    The first is always the mean of the second, NaN left out, so that two programs can be compared
    instance by instance; hence for ``ratio_of_sums`` an instance's value is its difference to the
    reference as a share of the mean reference.

    Parameters
    ----------
    objective : Objective
        Says how.
    instances : sequence of Instance
        With references for the raw metric ``objective.of``.
    raw_values : sequence of float
        That metric per instance, or nanoseconds if the objective is a decision time.
    decisions : sequence of int
        Decisions in one simulation of each instance.
    """
    raw = np.asarray(raw_values, dtype=np.float64)
    values = by_instance(objective, raw, references(objective, instances), decisions)
    known = values[~np.isnan(values)]
    return (float(known.mean()) if known.size else math.nan), values.tolist()


def references(objective: Objective, instances: Sequence[Instance]) -> np.ndarray:
    """(n,) reference values of the metric that an objective is made of, NaN where there is none."""
    return np.array([i.references[objective.of].value if objective.of in i.references else math.nan for i in instances])


def by_instance(objective: Objective, raw: np.ndarray, reference: np.ndarray, decisions: Sequence[int]) -> np.ndarray:
    """An objective's value on each instance, from (n,) raw values, references and decisions; see aggregate."""
    if objective.kind == "mean":
        return raw
    if objective.kind == "decision_time":
        return raw / np.maximum(decisions, 1)
    if objective.kind == "gap":
        return 100.0 * (raw / np.where(reference > 0, reference, math.nan) - 1.0)
    mean = np.nanmean(reference) if np.isfinite(reference).any() else math.nan
    return 100.0 * (raw - reference) / (mean if mean > 0 else math.nan)


def _by_group(
    problem: Problem, instances: Sequence[Instance], names: Mapping[str, Sequence[float]], decisions: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Each objective over the instances of each group, in order of appearance."""
    members: dict[str, list[int]] = {}
    for i, instance in enumerate(instances):
        members.setdefault(instance.group, []).append(i)
    groups: dict[str, dict[str, float]] = {}
    for group, chosen in members.items():
        inside = [instances[i] for i in chosen]
        counts = [decisions[i] for i in chosen]
        groups[group] = {
            o.name: aggregate(o, inside, [names[o.name][i] for i in chosen], counts)[0] for o in problem.objectives
        }
    return groups


def _check_bound(problem: Problem, instance: Instance, metric: str, value: float) -> None:
    """A reference that was proved cannot be beaten; one that is best known can."""
    reference = instance.references.get(metric)
    if reference is None or reference.kind == "best known":
        return
    slack = _ROUNDING * max(1.0, abs(reference.value))
    # Bounds hold from the good side of whichever objective uses the metric.
    direction = next((o.direction for o in problem.objectives if o.of == metric), "min")
    beaten = reference.value - value if direction == "min" else value - reference.value
    if beaten > slack:
        raise BoundBeaten(
            f"{problem.name}, instance {instance.name}: {metric} {value!r} beats the {reference.kind} "
            f"{reference.value!r}; the verifier, the measure or the reference is wrong"
        )
