"""Private namespaces and an empty root folder: walls that are made once for all workers of a zygote.

They are optional: a kernel may forbid them, above all inside containers. A process cannot move itself into a
new PID namespace, only what it forks. So the zygote stays outside, and its first child is the
namespace's init, which does nothing but adopt and reap; when it dies, the kernel kills everything inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from evaluators.sandbox import seal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
# The same numbers on every architecture.
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
FSCONFIG_CMD_CREATE = 6
MOUNT_ATTRIBUTES = 0b1111  # read-only, no set-user-id, no devices, no programs
INIT_NAME = b"evolve-init"

_PRIVATE = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS


class Hideout(NamedTuple):
    """What workers are to inherit; None where the kernel has no such thing for this user."""

    init: int | None  # process that holds their PID namespace
    root: int | None  # descriptor of the empty folder that becomes their root


def hide(layers: Collection[str]) -> Hideout:
    """Put what this process forks from now on out of sight, by those of the optional layers that work here."""
    if "namespaces" in layers:
        enter()
        init = start_init()
    else:
        init = None
        _adopt_orphans()
    return Hideout(init, empty_root() if "chroot" in layers else None)


def enter() -> list[str]:
    """Put this process into new mount, network, IPC and UTS namespaces; what it forks from now on, into a PID one.

    A user namespace, in which any user may make the others, is added where this user may not; not otherwise,
    because root would lose its access to files of other users. The caller must have one thread only.

    Returns
    -------
    Names of the namespaces entered.

    Raises
    ------
    OSError
        If the kernel forbids them.
    """
    names = ["mount", "pid", "net", "ipc", "uts"]
    try:
        _unshare(_PRIVATE)
    except OSError:
        user, group = os.geteuid(), os.getegid()
        _unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _unshare(_PRIVATE)
        names.insert(0, "user")
    return names


def _unshare(flags: int) -> None:
    seal.call("unshare", ctypes.c_int(flags))


def start_init() -> int:
    """Fork the first process of the new PID namespace; it lives as long as this process.

    Returns
    -------
    Its process id, as seen from here.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _adopt_and_reap(writer)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as file:
        ready = file.read(1)
    if not ready:
        os.waitpid(process, 0)
        raise OSError("the first process of the namespace died")
    return process


def _adopt_and_reap(writer: int) -> None:
    seal.prctl(PR_SET_NAME, ctypes.create_string_buffer(INIT_NAME))
    # The parent is outside: 0 while it lives, and the kernel kills this process with it.
    seal.die_with(0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    os.write(writer, b".")
    seal.close_descriptors(writer)
    seal.drop_privileges()
    while True:
        signal.pause()


def _adopt_orphans() -> None:
    """Become the parent of what workers leave behind, where there is no PID namespace to hold it."""
    if sys.platform.startswith("linux"):
        seal.prctl(PR_SET_CHILD_SUBREAPER, 1)


def children(process: int) -> set[int]:
    """Children of a process now; empty outside Linux, where there is no way to ask."""
    with contextlib.suppress(OSError):
        return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    return set()


def empty_root() -> int:
    """Mount an empty, read-only folder that has no path.

    Not a deleted folder, where getcwd fails and numba with it, nor one that somebody has to delete.

    Returns
    -------
    A descriptor of the folder.

    Raises
    ------
    OSError
        If the kernel forbids it.
    """
    zero = ctypes.c_long(0)
    system = _new_call(FSOPEN, ctypes.c_char_p(b"tmpfs"), zero)
    try:
        _new_call(FSCONFIG, ctypes.c_long(system), ctypes.c_long(FSCONFIG_CMD_CREATE), None, None, zero)
        return _new_call(FSMOUNT, ctypes.c_long(system), zero, ctypes.c_long(MOUNT_ATTRIBUTES))
    finally:
        os.close(system)


def _new_call(number: int, *arguments: object) -> int:
    return seal.call("syscall", ctypes.c_long(number), *arguments)
