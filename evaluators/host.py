"""What an evaluator runs programs on: the process behind it, started when needed, restarted where it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from evaluators import splits
from evaluators.processes import wire
from evaluators.processes.executor import Executor, MakeExecutor
from evaluators.processes.zygote import LayersMissing, Zygote
from evaluators.sandbox import seal
from evaluators.sandbox.limits import Limits, available_cores
from problems import registry
from problems.problem import Instance, Problem

_log = logging.getLogger(__name__)


class SandboxUnavailable(RuntimeError):
    """A layer of the sandbox is missing on this machine; the message names it and the way out."""


class Host:
    """An executor of one problem's programs, with its slots and the splits that it has loaded.

    Parameters
    ----------
    problem : str or Problem
        A problem, or its name.
    decoder : str, optional
        Which of the problem's simulators; default its first.
    workers : int, optional
        How many programs run at once; default one per available core. Others wait.
    limits : Limits
        Of one evaluation.
    sets : mapping of str to Path
        Splits to read from the user's own file or folder, in the problem's format.
    share : float
        Of train and valid that is used, of each group of instances the same.
    allow_weak_sandbox : bool
        Run although the kernel lacks a layer.
    executor : callable
        Makes what runs programs, from settings and limits; default a zygote on this machine.
    """

    # What a worker does with a program. Tests of the sandbox replace it, and nothing else does.
    task = "evaluators.processes.worker:evaluate"
    # Programs of scalars are compiled the fast way; where this is off, all go through numba.
    lowered = True

    def __init__(  # every other is optional
        self,
        problem: str | Problem,
        *,
        decoder: str | None = None,
        workers: int | None = None,
        limits: Limits | None = None,
        sets: Mapping[str, Path] | None = None,
        share: float = 1.0,
        allow_weak_sandbox: bool = False,
        executor: MakeExecutor = Zygote,
    ) -> None:
        self.problem = registry.load(problem) if isinstance(problem, str) else problem
        self.decoder = decoder or self.problem.default_decoder
        self.limits = limits or Limits()
        self._sets = {split: Path(path).absolute() for split, path in (sets or {}).items()}
        self._share = share
        _check_known("decoder", self.decoder, self.problem.simulators)
        self._workers = available_cores() if workers is None else workers
        if self._workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._weak = allow_weak_sandbox
        self._slots = asyncio.Semaphore(self._workers)
        self._starting, self._loading, self._first = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._verified = False  # a solution, by this process
        self._loaded: list[str] = []
        self._instances: dict[str, Sequence[Instance]] = {}
        self._make_executor = executor
        self._zygote: Executor | None = None
        self._layout: list[wire.Layout] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the zygote: import, compile and warm up what all programs share.

        Raises
        ------
        SandboxUnavailable
            If a layer of the sandbox is missing and a weak one was not allowed.
        """
        zygote = self._make_executor(self._settings(), self._worker_limits)
        try:
            seal.disabled()
        except ValueError as error:
            raise SandboxUnavailable(str(error)) from None
        try:
            await asyncio.gather(zygote.start(self._loaded), self._warm_up())
        except LayersMissing as missing:
            layers = ", ".join(missing.args)
            raise SandboxUnavailable(
                f"this machine lacks a layer of the sandbox: {layers} (see: evolve doctor); "
                "to run programs without it, add --allow-weak-sandbox"
            ) from None
        if zygote.missing and self._zygote is None:
            layers = ", ".join(zygote.missing)
            _log.warning("evolve: WEAK SANDBOX: programs run without %s (see: evolve doctor)", layers)
        self._zygote, self._layout = zygote, zygote.layout

    @property
    def _worker_limits(self) -> Limits:
        """Limits that the zygote keeps workers to."""
        return self.limits

    def _settings(self) -> dict[str, Any]:
        """What the zygote is told first."""
        return {
            "module": self.problem.module,
            "decoder": self.decoder,
            "task": self.task,
            "sets": {split: str(path) for split, path in self._sets.items()},
            "share": self._share,
            "timeout_s": self.limits.timeout_s,
            "memory_bytes": self.limits.memory_bytes,
            "weak": self._weak,
        }

    async def close(self) -> None:
        """End the zygote and every worker; evaluations under way are abandoned."""
        self._closed = True
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await zygote.close()

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote, parent of all workers; None before start and after close."""
        return None if self._zygote is None else self._zygote.pid

    def instances(self, split: str) -> Sequence[Instance]:
        """The instances of a split, in the order of every list in an outcome.

        Raises
        ------
        BadInstance
            If the user's file breaks its format.
        ValueError
            If there is no such split.
        """
        if split not in self._instances:
            _check_known("split", split, self.problem.splits.keys() | self._sets.keys())
            self._instances[split] = splits.load(self.problem, split, self._sets, self._share)
        return self._instances[split]

    async def _load(self, split: str) -> None:
        """Have the zygote load a split, while nothing runs."""
        async with self._loading:
            if split in self._loaded:
                return
            async with contextlib.AsyncExitStack() as slots:
                for _ in range(self._workers):
                    await slots.enter_async_context(self._slots)
                await (await self._running()).load(split)
                self._loaded.append(split)

    async def _warm_up(self) -> None:
        """What is worth doing here while the executor gets ready."""

    async def _running(self) -> Executor:
        """The zygote; a new one if it was lost."""
        async with self._starting:
            if self._zygote is None:
                raise RuntimeError("the evaluator is closed" if self._closed else "the evaluator was not started")
            if self._zygote.lost:
                await self._zygote.close()
                await self.start()
            return self._zygote


def _check_known(what: str, name: str, known: Sequence[str] | Mapping[str, object] | set[str]) -> None:
    if name not in known:
        raise ValueError(registry.unknown(what, name, known))
