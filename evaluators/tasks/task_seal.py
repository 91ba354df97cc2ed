"""How the processes of a task's evaluation give up their rights.

A user's evaluator needs more than computing: its folder, installed packages, scratch space, threads.
So files are opened by a list instead of not at all, and system calls are closed by a list
(task_seccomp.py) instead of opened by one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluators.sandbox import seal
from evaluators.tasks import task_seccomp

_ADD_RULE, _PATH_BENEATH = 445, 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE, _REFER, _TRUNCATE = 0b11 << 4, 0b1010110 << 6, 1 << 13, 1 << 14  # no sockets, no devices
_ON_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
# What the interpreter and numerical libraries read of the machine, keys and other processes left out.
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime",
           "/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo",
           "/proc/stat")  # fmt: skip
_FILE_BYTES = 256 * 2**20
_DESCRIPTORS = 256


class Access(NamedTuple):
    """Paths below which a process may read, and below which it may read and write."""

    read: Sequence[str]
    write: Sequence[str] = ()


def packages() -> list[str]:
    """Folders of the interpreter and of installed packages."""
    known = sysconfig.get_paths()
    found = {known[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages", "lib-dynload")}
    found |= {os.path.realpath(path) for path in found}
    found |= {str(Path(sys.base_prefix) / "lib"), sysconfig.get_config_var("LIBDIR") or "/usr/lib"}
    return sorted(path for path in found if os.path.isdir(path) and path != "/")


def restrict_files(access: Access) -> None:
    """Landlock: only what ``access`` names, packages, and little of the system; no TCP.

    Raises
    ------
    OSError
        If the kernel has no Landlock.
    """
    version = seal.landlock_version()
    if version == 0:
        raise OSError("Landlock is not in this kernel, or was not enabled at boot (lsm=landlock,...)")
    rights = (1 << 13 + (version >= 2) + (version >= 3) + (version >= 5)) - 1
    rules = struct.pack("=QQQ", rights, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = seal.system_call(seal.LANDLOCK_CREATE_RULESET, ctypes.create_string_buffer(rules), size, 0)
    reading = _READ_FILE | _READ_DIR
    writing = reading | _WRITE_FILE | _REMOVE | _MAKE | _REFER | _TRUNCATE
    try:
        for path in (*_SYSTEM, *packages(), *access.read):
            _allow(ruleset, path, reading & rights)
        for path in access.write:
            _allow(ruleset, path, writing & rights)
        _allow(ruleset, os.devnull, (_READ_FILE | _WRITE_FILE) & rights)
        seal.system_call(seal.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Add a rule for a path, if it exists."""
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = rights if os.path.isdir(path) else rights & _ON_FILES
            rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
            seal.system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(handle)


def limit_resources(memory_bytes: int, cpu_s: int) -> None:
    """Bound memory on top of the present, CPU time, sizes and number of files; no core dumps."""
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
    }
    if present := seal.address_space_bytes():
        limits[resource.RLIMIT_AS] = present + memory_bytes
    for name, value in limits.items():
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def keep_descriptors(keep: Sequence[int]) -> None:
    """Keep some descriptors, renumbered from 3 on; standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    # out of the way first, so that none is overwritten before it is copied
    high = [os.dup2(descriptor, 200 + i) for i, descriptor in enumerate(keep)]
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for i, descriptor in enumerate(high):
        os.dup2(descriptor, 3 + i)
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(3 + len(keep), limit if limit > 0 else 2**20)


def seal_task(descriptors: Sequence[int], parent: int, access: Access, limits: tuple[int, float], weak: bool) -> None:
    """Give up everything but ``access``, computing, and ``descriptors``, which become 3 and up.

    The process must lead, or be in, the process group that is killed in the end.

    Parameters
    ----------
    descriptors : sequence of int
        To be kept.
    parent : int
        Process with which this one dies.
    access : Access
        Files.
    limits : tuple of int and float
        Memory in bytes and wall-clock time in seconds.
    weak : bool
        Go on if a layer is missing.

    Raises
    ------
    OSError
        If a layer is missing and ``weak`` does not allow that.
    """
    off = seal.disabled()
    keep_descriptors(descriptors)
    memory_bytes, timeout_s = limits
    filter_ = task_seccomp.program(platform.machine())
    steps: Mapping[str, Callable[[], None]] = {
        "parent death": lambda: seal.die_with(parent),
        "limits": lambda: limit_resources(memory_bytes, int(timeout_s) + 2),
        "privileges": seal.drop_privileges,
        "landlock": lambda: restrict_files(access),
        "seccomp": lambda: seal.filter_system_calls(filter_),
    }
    for name, step in steps.items():
        try:
            if name in off:
                raise OSError(f"{name} is switched off by {seal.SWITCH}")
            step()
        except OSError:
            if not weak:
                raise
