"""Evaluating a task's programs with the user's own evaluator, sealed; see docs/tasks.md.

Each evaluation is a fresh fork: the evaluator is imported anew, may read its folder and installed
packages, write to a scratch folder that is deleted afterwards, and reach nothing else.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import math
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from evaluators import verdict
from evaluators.admission import regions
from evaluators.admission.language import Rejection
from evaluators.evaluator import Evaluator
from evaluators.outcome import FAILURES, Crashed, Failure, Infeasible, NonFinite, Ok, Outcome
from evaluators.processes import frames
from evaluators.processes.channel import Channel
from evaluators.processes.executor import Ended
from evaluators.python_mode import receive
from evaluators.racing import Race
from evaluators.sandbox.limits import Limits
from evaluators.tasks import external_worker, program_proxy
from problems.problem import Problem

MAX_CHARACTERS = 200_000
_ANSWER_BYTES = 2**20
_MAX_METRICS = 100
_SAME = 1e-9  # relative difference of two scores that are one


def admit_file(source: str, problem: Problem) -> None:
    """Refuse a file that does not parse, is too long, or changes what the task protects.

    Raises
    ------
    Rejection
        With the first rule that is broken.
    """
    if len(source) > MAX_CHARACTERS:
        raise Rejection(f"the program has {len(source):,} characters, more than the {MAX_CHARACTERS:,} admitted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        raise Rejection(f"line {error.lineno}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Rejection(f"not Python: {error or 'nested too deeply'}") from None
    try:
        regions.keep(problem.baselines[0].source, _without_notes(source))
    except regions.BadRegions as error:
        raise Rejection(str(error)) from None


def _without_notes(source: str) -> str:
    """A program without the lines that its export added at the end."""
    lines = source.rstrip().split("\n")
    while lines and lines[-1].startswith(("# evolve: ", "# evolve-record: ")):
        lines.pop()
    return "\n".join(lines)


class ExternalEvaluator(Evaluator):
    """Scores programs of a task; see Evaluator.

    ``limits`` are those of the task. The splits are two names of one evaluation, which is made once
    for each program.
    """

    task = "evaluators.tasks.external_worker:evaluate"

    def __init__(self, problem: str | Problem, **settings: Any) -> None:
        super().__init__(problem, **settings)
        assert self.problem.task is not None, f"{self.problem.name} is no task"
        self._task = self.problem.task
        self.limits = dataclasses.replace(
            self.limits, timeout_s=self._task.timeout_s, memory_bytes=self._task.memory_bytes
        )
        self._isolate = self._task.isolate
        self._isolating = asyncio.Lock()
        self._outcomes: dict[str, asyncio.Task[Outcome]] = {}

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "prepared": [], "forks": True}

    @property
    def _worker_limits(self) -> Limits:
        return self.limits

    def _admit(self, source: str) -> None:
        admit_file(source, self.problem)

    async def evaluate(self, source: str, split: str, *, probe: bool = True, race: Race | None = None) -> Outcome:
        """Score a program; every split is the same evaluation."""
        if refusal := self.refusal(source):
            return refusal
        self.instances(split)
        await self.isolates()
        if source not in self._outcomes:
            self._outcomes[source] = asyncio.create_task(self.score(source))
        return await asyncio.shield(self._outcomes[source])

    async def isolates(self) -> bool:
        """Whether programs run in a process of their own; found out with the initial program unless the task says."""
        async with self._isolating:
            if self._isolate is None:
                source = self.problem.baselines[0].source
                apart, together = await asyncio.gather(self.score(source, True), self.score(source, False))
                self._isolate = self._agree(apart, together) or (
                    # a score that differs from run to run may differ between the two ways as well
                    isinstance(apart, Ok) and not self._agree(together, await self.score(source, False))
                )
                first = asyncio.get_running_loop().create_future()
                first.set_result(apart if self._isolate else together)
                self._outcomes[source] = asyncio.ensure_future(_result(first))
            return self._isolate

    def _agree(self, one: Outcome, other: Outcome) -> bool:
        if not isinstance(one, Ok) or not isinstance(other, Ok):
            return False
        return all(math.isclose(v, other.objectives[name], rel_tol=_SAME) for name, v in one.objectives.items())

    async def score(self, source: str, isolate: bool | None = None) -> Outcome:
        """Run the evaluator on a program that need not be admitted."""
        isolate = bool(self._isolate) if isolate is None else isolate
        async with self._slots:
            started_s = time.monotonic()
            scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="evolve-task-"))
            try:
                path = scratch / "program.py"
                path.write_text(program_proxy.STAND_IN if isolate else source, encoding="utf-8", errors="replace")
                talk = _Talk(
                    external_worker.Job(
                        str(self._task.folder), str(self._task.evaluator), str(scratch), str(path), source, isolate,
                        [str(folder) for folder in self._task.read],
                    )
                )  # fmt: skip
                ended = await self._run("", "train", False, talk=talk)
            finally:
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        if isinstance(ended, Failure):
            return ended
        outcome = self._judged(talk, ended)
        if not isinstance(outcome, Ok):
            return outcome
        return dataclasses.replace(outcome, cost={"run_s": time.monotonic() - started_s})

    def _judged(self, talk: _Talk, ended: Ended) -> Outcome:
        if talk.fault:
            return Crashed("run", talk.fault)
        if talk.answer is None:
            return verdict.of_death(ended, self.limits)
        try:
            kind, value = frames.unpack(talk.answer)
        except frames.BadFrame as error:
            return Crashed("run", f"the evaluator's answer is malformed: {error}")
        if kind == external_worker.FAILURE:
            return _failure(value)
        if kind != external_worker.METRICS or not isinstance(value, dict):
            return Crashed("run", "the evaluator's answer is malformed: it is of another kind")
        return self._outcome(value)

    def _outcome(self, metrics: dict[Any, Any]) -> Outcome:
        """From the evaluator's metrics to objectives, or why there are none."""
        if error := metrics.pop("error", ""):
            return Crashed("run", f"the evaluator reports: {_printable(str(error))}")
        found = {str(k): v for k, v in list(metrics.items())[:_MAX_METRICS] if isinstance(v, float)}
        feasible = self._task.feasible
        if feasible and not found.get(feasible, 0.0) > 0.0:
            return Infeasible("verify", f"{feasible} is {found.get(feasible, 'not among the metrics')}")
        for objective in self.problem.objectives:
            if objective.of not in found:
                names = ", ".join(map(_printable, found)) or "none"
                return Crashed(
                    "run",
                    f"the evaluator returned no metric {objective.of!r}, but: {names}; "
                    "name the objectives in task.toml, see docs/tasks.md",
                )
            if not math.isfinite(found[objective.of]):
                return NonFinite("run", f"{objective.of} is {found[objective.of]}")
        objectives = {o.name: found[o.of] for o in self.problem.objectives}
        raw = {_printable(name): [value] for name, value in found.items() if math.isfinite(value)}
        return Ok(objectives, {"all": objectives}, {name: [value] for name, value in objectives.items()}, raw)


async def _result(future: asyncio.Future[Outcome]) -> Outcome:
    return await future


class _Talk:
    """One evaluation's conversation: a job, and one answer."""

    def __init__(self, job: external_worker.Job) -> None:
        self._job = job
        self.answer: bytes | None = None
        self.fault = ""

    async def __call__(self, channel: Channel) -> None:
        self.answer = None
        # a process that died: its exit says how
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await channel.send(frames.pack(b"J", list(self._job)))
            size = frames.length(await receive(channel.end, 4))
            if size > _ANSWER_BYTES:
                self.fault = f"the evaluator answered {size:,} bytes, more than the {_ANSWER_BYTES:,} admitted"
            else:
                self.answer = await receive(channel.end, size)
            channel.fate = "killed"  # whatever it left running has no more to say


def _failure(value: Any) -> Failure:
    """What the evaluator's process says of itself: a kind it may name, and printable text."""
    kinds = (Crashed.kind, "out_of_memory")
    if not (isinstance(value, list) and len(value) == 2 and value[0] in kinds and isinstance(value[1], str)):
        return Crashed("run", "the evaluator's answer is malformed: it is a failure of no known kind")
    return FAILURES[value[0]]("run", _printable(value[1]))


def _printable(text: str) -> str:
    """Text whose control characters, which could redraw a terminal, are blanks."""
    return "".join(c if c.isprintable() else " " for c in text[:1000])
