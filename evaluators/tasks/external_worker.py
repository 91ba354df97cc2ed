"""What happens inside one evaluation of a task: the user's evaluator, and the program it scores.

Where the task allows it, the program runs in a process of its own: the evaluator then imports a
stand-in (program_proxy.py) that calls its functions there and gets plain values back, so that the
program can patch, exit or print what it likes without reaching the evaluator. Else the evaluator
loads the program into its own process, and nothing separates the two.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from evaluators.processes import frames
from evaluators.processes.worker import Order
from evaluators.sandbox import seal
from evaluators.sandbox.reserve import Reserve
from evaluators.tasks import program_proxy, stand_ins
from evaluators.tasks.task_seal import Access, seal_task

METRICS, FAILURE = b"A", b"F"
_ANSWER, _PROGRAM = 3, 4  # descriptors of the evaluator's process
_MAX_REASON = 500
_NOT_HERE = " (no processes, networks or other files here: docs/tasks.md)"
_STAGES = tuple(f"evaluate_stage{number}" for number in (1, 2, 3))


class Job(NamedTuple):
    """What one evaluation is asked for."""

    folder: str
    evaluator: str
    scratch: str  # holds the program, and is all that may be written
    program: str
    source: str
    isolate: bool
    read: Sequence[str]


def prepare(settings: object) -> None:
    """Import what is late to import once files are closed."""
    np.linalg.solve(np.eye(2), np.ones(2))
    traceback.format_exception_only(ValueError("a first one"))


def live(descriptor: int, zygote: int, order: Order, prepared: None, task: Any) -> NoReturn:
    """The whole life of an evaluation's processes, from fork to exit."""
    status = 1
    try:
        seal.own_group()
        frames.receive(descriptor)  # where other workers get their program; here it is in the job
        found = frames.receive(descriptor)
        if found is not None:
            job = Job(*frames.unpack(found)[1])
            task(job, descriptor, zygote, order)
        status = 0
    finally:
        os._exit(status)


def evaluate(job: Job, descriptor: int, zygote: int, order: Order) -> None:
    """Seal, run the evaluator on the program, send metrics or a failure."""
    os.environ.update(TMPDIR=job.scratch, HOME=job.scratch, NUMBA_CACHE_DIR=job.scratch, MPLCONFIGDIR=job.scratch)
    os.chdir(job.scratch)
    limits = (order.memory_bytes, order.timeout_s)
    read = [job.folder, *job.read]
    keep = [descriptor]
    if job.isolate:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            _be_program(job, theirs.fileno(), read, limits, order.weak)
        theirs.close()
        keep.append(ours.detach())
    try:
        seal_task(keep, zygote, Access(read, [job.scratch]), limits, order.weak)
    except OSError as error:
        _send(FAILURE, ["crashed", f"the evaluator could not be sealed: {error}"])
        return
    if job.isolate:
        program_proxy.connect(_PROGRAM)
    sys.path[:0] = [str(Path(job.evaluator).parent)]
    sys.argv = [job.evaluator]
    try:
        with Reserve():
            metrics = _metrics(_run(job))
        _send(METRICS, metrics)
    except MemoryError as error:
        _send(FAILURE, ["out_of_memory", f"{_place(error)}{str(error) or 'an allocation was refused'}"])
    except BaseException as error:
        hint = _NOT_HERE if isinstance(error, PermissionError) else ""
        _send(FAILURE, ["crashed", f"{_place(error)}{type(error).__name__}: {error}{hint}"])


def _be_program(job: Job, descriptor: int, read: Sequence[str], limits: tuple[int, float], weak: bool) -> NoReturn:
    """The other process: executes the program and answers the evaluator's calls."""
    status = 1
    try:
        seal_task([descriptor], os.getppid(), Access(read), limits, weak)
        program_proxy.serve(3, job.source, os.path.join(job.folder, os.path.basename(job.program)))
        status = 0
    finally:
        os._exit(status)


def _run(job: Job) -> Any:
    """Import the user's evaluator and call it."""
    stand_ins.install()
    spec = importlib.util.spec_from_file_location("evaluator", job.evaluator)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluator"] = module
    spec.loader.exec_module(module)
    if callable(evaluate := getattr(module, "evaluate", None)):
        return evaluate(job.program)
    if callable(main := getattr(module, "main", None)):
        results = os.path.join(job.scratch, "results")
        os.makedirs(results, exist_ok=True)
        main(job.program, results)
        return _written(results)
    if stages := [getattr(module, name) for name in _STAGES if callable(getattr(module, name, None))]:
        found: dict[str, Any] = {}
        for stage in stages:
            found |= _metrics(stage(job.program))
        return found
    raise AttributeError("the evaluator defines neither evaluate(program_path) nor main(program_path, results_dir)")


def _written(folder: str) -> dict[str, Any]:
    """Metrics that an evaluator wrote to a folder instead of returning them."""
    found: dict[str, Any] = json.loads(Path(folder, "metrics.json").read_text())
    verdict = Path(folder, "correct.json")
    if verdict.exists():
        said = json.loads(verdict.read_text())
        if not said.get("correct"):
            found["error"] = str(said.get("error") or "the evaluator calls the program incorrect")
    return found


def _metrics(result: Any) -> dict[str, Any]:
    """Numbers, and an error in words, of what an evaluator returned: a dictionary, or an object with metrics."""
    result = getattr(result, "metrics", result)
    if not isinstance(result, Mapping):
        raise TypeError(f"the evaluator returned a {type(result).__name__}, not a dictionary of metrics")
    found: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, bool | int | float | np.number | np.bool_):
            found[str(name)] = float(value)
        elif name == "error" and value:
            found["error"] = str(value)[:_MAX_REASON]
    return found


def _send(kind: bytes, value: Any) -> None:
    if kind == FAILURE:
        value = [value[0], value[1][:_MAX_REASON]]
    with contextlib.suppress(BrokenPipeError):
        frames.send(_ANSWER, frames.pack(kind, value))


def _place(error: BaseException) -> str:
    """``evaluator.py, line 12: ``: the innermost line outside of installed packages that an error passed through."""
    steps = [s for s in traceback.extract_tb(error.__traceback__) if "-packages" not in s.filename]
    ours = ("<frozen", sys.base_prefix, str(Path(__file__).parents[1]))
    steps = [s for s in steps if not s.filename.startswith(ours)]
    return f"{os.path.basename(steps[-1].filename)}, line {steps[-1].lineno}: " if steps else ""
