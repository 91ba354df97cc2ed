"""What the doctor attempts, to see it refused: each raises OSError or MemoryError if it is."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from evaluators.sandbox import seal

Attempts = dict[str, Callable[[], object]]  # what a process would have done -> doing it

FIRST_FREE = 4  # descriptors below are the standard streams and the one that a worker keeps


def files(scratch: Path) -> Attempts:
    """Reach files by their path; ``scratch`` is an existing folder."""
    return {
        "read a file": lambda: open(__file__),
        "listed a folder": lambda: os.listdir(scratch),
        "wrote a file": lambda: (scratch / "written").write_text("x"),
        "made a folder": lambda: (scratch / "made").mkdir(),
    }


def processes() -> Attempts:
    """Start or disturb processes, and talk to them."""
    return {
        "opened a socket": socket.socket,
        "started a process": _fork,
        "ran a program": lambda: os.execv("/bin/sh", ["sh", "-c", ":"]),
        "sent a signal": lambda: os.kill(os.getppid() or os.getpid(), 0),
        "asked to be traced": seal.trace_me,
    }


def rights() -> Attempts:
    """Use rights of root, or leave a way to them."""
    return {
        "changed the root folder": lambda: os.chroot("."),
        "kept the way to rights": lambda: _refused_if(seal.gains_no_privileges()),
        "left its memory to be dumped": lambda: _refused_if(seal.hides_memory()),
    }


def limits(scratch: Path) -> Attempts:
    """Go beyond limits of 64 MiB, no byte of files, and no process."""
    attempts: Attempts = {
        "allocated 1 GiB of an admitted 64 MiB": lambda: mmap.mmap(-1, 2**30),
        "wrote to a file": lambda: (scratch / "limited").write_text("x"),
        "left a core dump possible": lambda: _refused_if(resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)),
        "opened more files": lambda: [os.open(os.devnull, os.O_RDONLY) for _ in range(64)],
    }
    if os.geteuid() != 0:  # the kernel does not count processes of root
        attempts["started a process"] = _fork
    return attempts


def elsewhere() -> Attempts:
    """See processes and networks outside the namespaces of a process that this one forks.

    Servers are opened here, outside, and held as long as the attempts; none where there is no network.
    """
    outside = os.getpid()
    attempts: Attempts = {"saw a process outside": lambda: _in_fork(lambda: os.kill(outside, 0))}
    for what, family, where in (
        ("reached a network", socket.AF_INET, ("127.0.0.1", 0)),
        ("reached an abstract socket", socket.AF_UNIX, f"\0evolve-doctor-{outside}"),
    ):
        server = socket.socket(family)
        try:
            server.bind(where)
            server.listen()
        except OSError:
            server.close()
        else:
            attempts[what] = partial(_connect, server)
    return attempts


def _connect(server: socket.socket) -> None:
    with socket.socket(server.family) as client:
        client.settimeout(1)
        client.connect(server.getsockname())


def inherited() -> Attempts:
    """Use a descriptor that was open before."""

    def use() -> None:
        for descriptor in range(FIRST_FREE, 64):
            try:
                os.fstat(descriptor)
            except OSError:
                continue
            return
        raise OSError("none is open")

    return {"used an inherited descriptor": use}


def of_task(scratch: Path, folder: Path, own: Path) -> Attempts:
    """Leave what a task's evaluator may read, ``folder``, and write, ``own``; both are made here."""
    folder.mkdir()
    own.mkdir()
    secret, data = scratch / "elsewhere", folder / "data"
    secret.write_text("x")
    data.write_text("x")

    def use_what_is_allowed() -> None:
        """Succeeds, which is bad, if any of it is refused."""
        try:
            data.read_text()
            (own / "result").write_text("x")
        except OSError:
            return
        _refused_if(True)

    files: Attempts = {
        "read a file elsewhere": secret.read_text,
        "wrote into the task's folder": lambda: data.write_text("y"),
        "listed the machine's files": lambda: os.listdir("/"),
        "was kept from its own files": use_what_is_allowed,
    }
    return files | processes()


def spin() -> None:
    """Compute for ever: what a limit on CPU time ends, with a signal."""
    while True:
        pass


def _refused_if(refused: bool) -> None:
    if refused:
        raise OSError(errno.EPERM, "refused")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _in_fork(act: Callable[[], object]) -> None:
    """Do it in a forked process; an OSError there is one here."""
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(2)
            act()
        except OSError:
            os._exit(1)
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    _refused_if(status != 0)
