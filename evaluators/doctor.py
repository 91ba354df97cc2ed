"""What holds on this machine: each layer of the sandbox, tried by doing what it forbids."""

from __future__ import annotations

import json
import mmap
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import NamedTuple, TypedDict

from evaluators import launch, seal

_CHILD_S = 5
_REPORT = 3  # the one descriptor that seal.close_descriptors keeps
_PLANTED = "EVOLVE_DOCTOR_PLANTED_KEY"


class Record(TypedDict):
    """One line of ``evolve doctor``."""

    layer: str
    protects: str
    works: bool
    detail: str


class _Test(NamedTuple):
    layer: str
    protects: str
    close: Callable[[], None]
    forbidden: Mapping[str, Callable[[], object]]  # what it would do -> doing it
    detail: str = ""


def examine() -> list[Record]:
    """Try every layer in throw-away processes; the last record lists versions."""
    environment = launch.environment()
    command = launch.command("evaluators.doctor", "print_probe")
    os.environ[_PLANTED] = "sk-planted"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    finally:
        del os.environ[_PLANTED]
    records: list[Record] = json.loads(done.stdout)
    return [*records, Record(layer="versions", protects="", works=True, detail=_versions())]


def print_probe() -> None:
    """What ``examine`` runs in a clean process."""
    clean = _PLANTED not in os.environ and not any("KEY" in name or "TOKEN" in name for name in os.environ)
    environment = Record(
        layer="environment",
        protects="keys and tokens: a worker inherits none",
        works=clean,
        detail=f"{len(os.environ)} variables pass: {', '.join(sorted(os.environ))}",
    )
    print(json.dumps([environment, *probe()]))


def probe() -> list[Record]:
    """Try every layer that a process closes on itself; the caller must have one thread only."""
    records = [_record(test) for test in _tests()]
    for layer, protects, check in (
        ("group kill", "the time limit: a program that ignores signals dies with all it started", _group_dies),
        ("parent death", "no orphans: when the zygote dies, so do its workers", _orphan_dies),
    ):
        trouble = check()
        records.append(Record(layer=layer, protects=protects, works=not trouble, detail=trouble))
    return records


def _tests() -> list[_Test]:
    privileges, landlock, filter_ = seal.LAYERS
    return [
        _Test(
            "descriptors",
            "files and sockets that the trusted process holds",
            lambda: seal.close_descriptors(_REPORT),
            {"used an inherited descriptor": _use_inherited},
        ),
        _Test(
            "limits",
            "memory, CPU time, file size, number of processes",
            lambda: seal.limit_resources(64 * 2**20, _CHILD_S),
            {"allocated 1 GiB of an admitted 64 MiB": lambda: mmap.mmap(-1, 2**30)},
        ),
        _Test(*privileges, {"changed the root directory": lambda: os.chroot("/"), "kept the way to rights": _may_gain}),
        _Test(
            *landlock,
            {
                "read a file": lambda: open(__file__),
                "listed a folder": lambda: os.listdir("/"),
                "wrote a file": tempfile.TemporaryFile,
            },
            f"ABI {seal.landlock_version()}",
        ),
        _Test(
            *filter_,
            {
                "opened a socket": socket.socket,
                "started a process": _fork,
                "ran a program": lambda: os.execv("/bin/sh", ["sh", "-c", ":"]),
                "sent a signal": lambda: os.kill(os.getppid(), 0),
                "asked to be traced": seal.trace_me,
            },
            platform.machine(),
        ),
    ]


def _record(test: _Test) -> Record:
    trouble = _in_child(lambda: _misbehave(test))
    return Record(layer=test.layer, protects=test.protects, works=not trouble, detail=trouble or test.detail)


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


def _use_inherited() -> None:
    for descriptor in range(_REPORT + 1, 64):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        return
    raise OSError("none is open")


def _may_gain() -> None:
    if seal.gains_no_privileges():
        raise OSError("the kernel grants none")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


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
