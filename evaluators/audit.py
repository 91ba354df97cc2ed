"""The audit: whoever is about to enter the front decides once more, in fresh workers.

Its outcome has to come out again, value by value. Where a problem hides information, its probes are
solved again too, and then once more with what was still hidden at some time permuted: up to that
time nothing that a policy may know differs, so its decisions must not. The permuted instances are
made here, from the solutions that came back, and are all that the last worker is shown: it has a
zygote of its own, which never loads a split.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators import verdict
from evaluators.evaluator import Evaluator
from evaluators.outcome import Anticipative, Crashed, Failure, NonDeterministic, Ok, OutOfMemory, TimedOut
from evaluators.processes import wire
from evaluators.processes.executor import Ended
from problems import problem as contract
from problems.problem import Problem

if TYPE_CHECKING:
    from evaluators.processes.worker import Order, Prepared

# Permutations of the hidden information per probe: each cuts the run at a time of its own.
DRAWS = 4
_SEED = 20_111


class Resimulator(Evaluator):
    """Solves the probes of an online problem, as they are or with other data, and returns the solutions."""

    task = "evaluators.audit:resimulate"

    async def solutions(self, source: str, data: Sequence[Any] | None = None) -> list[Any] | Failure:
        """One solution per probe, unverified.

        Parameters
        ----------
        source : str
            An admitted program.
        data : sequence, optional
            What takes the place of each probe's data, once or several times over.
        """
        given = None if data is None else [_encode(d) for d in data]
        message = json.dumps({"source": source, "data": given})
        count = len(self.problem.probes()) if data is None else len(data)
        for _ in range(2):  # the zygote may die through no fault of this program
            zygote = await self._running()
            try:
                async with self._slots:
                    return self._read(await zygote.run(message, "", probe=False), count)
            except RuntimeError:
                continue
        return Crashed("audit", "the zygote died twice while this program ran")

    def _read(self, ended: Ended, count: int) -> list[Any] | Failure:
        if ended.fate == "timed out":
            return verdict.timed_out(self.limits)
        if ended.fate == "flooded" or ended.code != 0:
            return Crashed("audit", f"the worker ended with {ended.fate}, exit code {ended.code}")
        try:
            answer = wire.decode(ended.answer, self.problem.solution, self._layout, count)
        except wire.BadAnswer as bad:
            return Crashed("audit", f"the worker's answer is malformed: {bad}")
        return answer if isinstance(answer, Failure) else answer.solutions


class Auditor:
    """Audits the programs that one evaluator found Ok.

    Parameters
    ----------
    evaluator : Evaluator
        Evaluates once more. Problems that hide information get a zygote beside its own, once it is needed.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._resimulator: Resimulator | None = None

    async def close(self) -> None:
        """End what was started."""
        if self._resimulator is not None:
            await self._resimulator.close()

    async def audit(self, source: str, split: str, outcome: Ok) -> Ok | Failure:
        """The outcome itself if it stands, else what is wrong with it."""
        problem = self._evaluator.problem
        again, anticipates = await asyncio.gather(
            self._evaluator.evaluate(source, split), self._anticipates(source, problem, problem.hidden)
        )
        if differs := _difference(problem, outcome, again):
            return again if isinstance(again, TimedOut | OutOfMemory) else NonDeterministic("audit", differs)
        return outcome if anticipates is None else anticipates

    async def _anticipates(self, source: str, problem: Problem, hidden: contract.Hidden | None) -> Failure | None:
        """Whether decisions change with what was not revealed when they were taken."""
        if hidden is None:
            return None
        if self._resimulator is None:
            self._resimulator = self._evaluator.beside(Resimulator)
            await self._resimulator.start()
        solved = await self._resimulator.solutions(source)
        if isinstance(solved, Failure):
            return solved
        for probe, one in zip(problem.probes(), solved, strict=True):
            try:
                problem.verify(probe.data, one)  # before anything is computed from it
            except contract.Infeasible as broken:
                return NonDeterministic("audit", f"feasible at first, then on probe {probe.name}: {broken}")
        probes = list(zip(problem.probes(), solved, strict=True)) * DRAWS
        rngs = [np.random.default_rng((_SEED, k)) for k in range(len(probes))]
        futures = [hidden.permute(probe.data, one, rng) for (probe, one), rng in zip(probes, rngs, strict=True)]
        others = await self._resimulator.solutions(source, [future.data for future in futures])
        if isinstance(others, Failure):
            return others
        for (probe, first), future, second in zip(probes, futures, others, strict=True):
            if found := compare(problem, hidden, future, first, second):
                return type(found)("audit", f"probe {probe.name}: {found.reason}")
        return None


def compare(
    problem: Problem, hidden: contract.Hidden, future: contract.Future, first: Any, second: Any
) -> Failure | None:
    """Whether two solutions of indistinguishable instances decide alike for as long as they are.

    Parameters
    ----------
    problem, hidden
        Whose instances they are.
    future : Future
        The permuted instance, and the time up to which it cannot be told from the original.
    first, second
        Solutions of the original and of the permuted instance.
    """
    try:
        problem.verify(future.data, second)
    except contract.Infeasible as broken:
        return NonDeterministic("audit", f"with hidden values permuted the solution is infeasible: {broken}")
    pairs = zip(hidden.decided(first, future.until), hidden.decided(second, future.until), strict=True)
    if all(np.array_equal(a, b) for a, b in pairs):
        return None
    return Anticipative(
        "audit", f"decisions up to time {future.until:g} change with what only later reveals: {hidden.what}"
    )


def _difference(problem: Problem, first: Ok, again: Ok | Failure) -> str:
    """What came out otherwise the second time; decision times may."""
    if isinstance(again, Failure):
        return f"ok at first, then {again.kind}: {again.reason}"
    for objective in problem.objectives:
        if objective.kind == "decision_time":
            continue
        pairs = zip(first.values[objective.name], again.values[objective.name], strict=True)
        for k, (a, b) in enumerate(pairs):
            if a != b and not (np.isnan(a) and np.isnan(b)):
                return f"{objective.name} of instance {k} is {a!r}, then {b!r}"
    if first.fingerprint != again.fingerprint:
        return "the decisions on the probes differ between two runs"
    return ""


# the worker's side


def resimulate(message: str, order: Order, prepared: Prepared) -> bytes:
    """Solve the probes, or what came in their place."""
    from evaluators.compiler.compile import compile_hooks

    asked = json.loads(message)
    sealed_at_s = time.monotonic()
    program = compile_hooks(asked["source"], prepared.problem)
    cases = prepared.probes
    if asked["data"] is not None:
        given = zip(itertools.cycle(cases), asked["data"], strict=False)
        cases = [case._replace(data=_decode(case.data, iter(leaves))) for case, leaves in given]
    try:
        solved = [case.simulate(case.data, *program.hooks, program.theta) for case in cases]
    except contract.NonFiniteScore as error:
        return wire.encode_failure("non_finite", "run", f"{error} in the audit")
    return wire.encode_answer(wire.Answer(solved, [0] * len(solved), "", sealed_at_s, 0.0, 0.0), bytes(32))


def _encode(data: Any) -> list[Any]:
    """Instance data as the list of its numbers and arrays, for JSON."""
    found: list[Any] = []
    for leaf in _leaves(data):
        if isinstance(leaf, np.ndarray):
            content = base64.b64encode(np.ascontiguousarray(leaf).tobytes()).decode()
            found.append([leaf.dtype.str, list(leaf.shape), content])
        else:
            found.append(leaf)
    return found


def _leaves(data: Any) -> Iterator[Any]:
    if isinstance(data, tuple):
        for part in data:
            yield from _leaves(part)
    else:
        yield data


def _decode(template: Any, leaves: Iterator[Any]) -> Any:
    """What ``_encode`` was given, in the types of a template."""
    if isinstance(template, tuple):
        parts = [_decode(part, leaves) for part in template]
        return type(template)(*parts) if hasattr(template, "_fields") else tuple(parts)
    leaf = next(leaves)
    if not isinstance(template, np.ndarray):
        return type(template)(leaf)
    dtype, shape, content = leaf
    array = np.frombuffer(base64.b64decode(content), dtype).reshape(shape).copy()
    array.setflags(write=False)  # as the simulator was compiled for
    return array
