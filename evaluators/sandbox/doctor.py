"""What holds on this machine: each layer of the sandbox, tried by doing what it forbids."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypedDict

from evaluators.processes import launch
from evaluators.sandbox import attempts, namespaces, seal
from evaluators.tasks import task_seal

_CHILD_S = 5
_SPIN_S = 60  # a second of CPU time takes long on a busy machine
_REPORT = 3  # the one descriptor that seal.close_descriptors keeps
_PLANTED = "EVOLVE_DOCTOR_PLANTED_KEY"
_MEMORY_BYTES = 64 * 2**20


class Record(TypedDict):
    """One line of ``evolve doctor``."""

    layer: str
    protects: str
    required: bool
    works: bool
    detail: str


class _Test(NamedTuple):
    layer: str
    protects: str
    close: Callable[[], None]
    forbidden: attempts.Attempts
    detail: str = ""
    required: bool = True


def examine() -> list[Record]:
    """Try every layer in throw-away processes; the last record lists versions.

    Raises
    ------
    ValueError
        If the environment switches off a layer that there is not.
    """
    seal.disabled()
    environment = launch.environment()
    command = launch.command("evaluators.sandbox.doctor", "print_probe")
    os.environ[_PLANTED] = "sk-planted"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    finally:
        del os.environ[_PLANTED]
    records: list[Record] = json.loads(done.stdout)
    return [*records, Record(layer="versions", protects="", required=False, works=True, detail=_versions())]


def missing(records: Iterable[Record]) -> list[str]:
    """Names of the required layers that do not work."""
    return [record["layer"] for record in records if record["required"] and not record["works"]]


def print_probe() -> None:
    """What ``examine`` runs in a clean process."""
    clean = _PLANTED not in os.environ and not any("KEY" in name or "TOKEN" in name for name in os.environ)
    environment = Record(
        layer="environment",
        protects="keys and tokens: a worker inherits none",
        required=True,
        works=clean,
        detail=f"{len(os.environ)} variables pass: {', '.join(sorted(os.environ))}",
    )
    cpu = _checked("CPU limit", "the machine: endless computing ends", _spin_ends)
    with tempfile.TemporaryDirectory(prefix="evolve-doctor-") as scratch:
        task = _record(_task_test(Path(scratch)))
    print(json.dumps([environment, *probe(), cpu, task]))


def probe() -> list[Record]:
    """Try every layer that a process closes on itself; the caller must have one thread only."""
    with tempfile.TemporaryDirectory(prefix="evolve-doctor-") as scratch:
        records = [_record(test) for test in _tests(Path(scratch))]
    return [
        *records,
        _checked("group kill", "the time limit: a program that ignores signals dies with all it started", _group_dies),
        _checked("parent death", "no orphans: when the zygote dies, so do its workers", _orphan_dies),
    ]


def _tests(scratch: Path) -> list[_Test]:
    """Each layer alone against what it forbids, then all of them against everything."""
    chroot, privileges, landlock, filter_ = seal.LAYERS
    files, inherited, elsewhere = attempts.files(scratch), attempts.inherited(), attempts.elsewhere()
    processes, rights, limits = attempts.processes(), attempts.rights(), attempts.limits(scratch)
    return [
        _Test("descriptors", "what the trusted process holds open", lambda: seal.close_descriptors(_REPORT), inherited),
        _Test("limits", "memory, file size, number of files and processes, core dumps", _limit, limits),
        _Test("namespaces", "other processes, all networks: out of sight", _enter, elsewhere, required=False),
        _Test(chroot.name, chroot.protects, _leave_files, files, required=False),
        _Test(privileges.name, privileges.protects, privileges.close, rights),
        _Test(landlock.name, landlock.protects, _without_rights(landlock), files, f"ABI {seal.landlock_version()}"),
        _Test(filter_.name, filter_.protects, _without_rights(filter_), processes | files, platform.machine()),
        _Test("worker", "all of this at once, as workers have it", _seal, processes | files | rights | inherited),
    ]


def _task_test(scratch: Path) -> _Test:
    """The wider seal around a user's own evaluator, which may read its folder and write another one."""
    folder, own = scratch / "task", scratch / "own"
    forbidden = attempts.of_task(scratch, folder, own)

    def close() -> None:
        seal.own_group()
        access = task_seal.Access([str(folder)], [str(own)])
        task_seal.seal_task([_REPORT], os.getppid(), access, (_MEMORY_BYTES, _CHILD_S), weak=True)

    return _Test("task seal", "a task's evaluator: files elsewhere, networks, processes", close, forbidden)


def _without_rights(layer: seal.Layer) -> Callable[[], None]:
    """Close a layer that the kernel grants only to who can no longer gain rights, or to root."""

    def close() -> None:
        seal.drop_privileges()
        layer.close()

    return close


def _limit() -> None:
    seal.limit_resources(_MEMORY_BYTES, _CHILD_S)


def _enter() -> None:
    if "namespaces" in seal.disabled():
        raise OSError(f"switched off by {seal.SWITCH}")
    namespaces.enter()


def _leave_files() -> None:
    with contextlib.suppress(OSError):  # root can do without; others get the right there
        _enter()
    os.fchdir(namespaces.empty_root())
    seal.leave_files()


def _seal() -> None:
    with contextlib.suppress(OSError):
        _enter()
        os.fchdir(namespaces.empty_root())
    # Weak: which layer is missing is another line; this one says whether the others make up for it.
    seal.seal(_REPORT, os.getppid(), _MEMORY_BYTES, _CHILD_S, weak=True)


def _record(test: _Test) -> Record:
    trouble = _in_child(lambda: _misbehave(test))
    return Record(
        layer=test.layer,
        protects=test.protects,
        required=test.required,
        works=not trouble,
        detail=trouble or test.detail,
    )


def _checked(layer: str, protects: str, check: Callable[[], str]) -> Record:
    trouble = check()
    return Record(layer=layer, protects=protects, required=True, works=not trouble, detail=trouble)


def _in_child(act: Callable[[], str]) -> str:
    """What an act returns when a child process performs it; how the child ended if it did not."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(_CHILD_S)  # an act that hangs counts as possible
            os.dup2(writer, _REPORT)
            os.write(_REPORT, b"!" + act().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        report = file.read()
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    return report[1:].decode() if report else f"the trial process ended with {code}"


def _misbehave(test: _Test) -> str:
    """Close a layer, then do what it forbids; what succeeded."""
    if test.layer in seal.disabled():
        return f"switched off by {seal.SWITCH}"
    try:
        test.close()
    except OSError as error:
        return str(error)
    for name, act in test.forbidden.items():
        try:
            act()
        except (OSError, MemoryError):
            continue
        return f"a trial process {name}"
    return ""


def _spin_ends() -> str:
    """A child with one second of CPU time that computes for ever is killed."""
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(_SPIN_S)
            seal.limit_resources(_MEMORY_BYTES, 1)
            attempts.spin()
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    ended = os.waitstatus_to_exitcode(status)
    return "" if ended in (-signal.SIGXCPU, -signal.SIGKILL) else f"the trial process ended with {ended}"


def _group_dies() -> str:
    """A child that ignores SIGTERM leads a group; one SIGKILL to the group ends its own child too."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(_CHILD_S)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            seal.own_group()
            if os.fork() > 0:
                os.write(writer, b".")
            time.sleep(_CHILD_S)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as file:
        file.read(1)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        # The grandchild holds the other end too: without a kill, this waits until it ends by itself.
        started = time.monotonic()
        file.read(1)
    survived = time.monotonic() - started > _CHILD_S / 2
    return "a child of the trial process survived its group" if survived else ""


def _orphan_dies() -> str:
    """A grandchild that asked to die with its parent does, within a second of it."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _leave_orphan(writer)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    with open(reader, "rb", buffering=0) as file:
        trouble = file.read(1000).decode()
    return trouble


def _leave_orphan(writer: int) -> None:
    parent, (go, ready) = os.getpid(), os.pipe()
    if os.fork() == 0:
        try:
            seal.die_with(parent)
        except OSError as error:
            os.write(writer, str(error).encode())
            os._exit(0)
        os.write(ready, b".")
        time.sleep(1)
        os.write(writer, b"a worker outlived the zygote")
        os._exit(0)
    os.close(ready)
    os.read(go, 1)


def _versions() -> str:
    packages = " ".join(f"{name} {metadata.version(name)}" for name in ("numba", "llvmlite", "numpy"))
    return f"python {platform.python_version()} {packages} {platform.system()} {platform.release()}"
