"""How a worker gives up its rights: one function per layer, all irreversible.

No layer relies on another. Together they leave a process that can compute, allocate a bounded
amount of memory, read and write the descriptors it already holds, and exit. What can be made ready
before a fork is cached, and ``prepare`` makes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from evaluators.sandbox import seccomp

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PTRACE_TRACEME = 0
CAPABILITY_VERSION_3 = 0x20080522

# The same numbers on every architecture, since they were added together to all tables.
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_CREATE_RULESET_VERSION = 1


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> int:
    """Call into libc; a negative result becomes an OSError that names the function."""
    if not sys.platform.startswith("linux"):
        raise OSError(f"{function} exists on Linux only")
    result: int = getattr(_libc(), function)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")
    return result


def system_call(number: int, *arguments: object) -> int:
    """A system call by its number; a negative result becomes an OSError."""
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return call("syscall", ctypes.c_long(number), *words)


def prctl(option: int, value: object, address: object = None) -> int:
    """Call prctl; values are words or buffers."""
    word = ctypes.c_ulong
    first = word(value) if isinstance(value, int) else value
    return call("prctl", option, first, address or word(0), word(0), word(0))


def own_group() -> None:
    """Lead a process group, so that one signal reaches everything that was started here.

    Not a session as well: the zygote has its own, without a terminal, and setsid was measured at
    3 ms here, more than all layers together (the kernel makes a scheduling group per session).
    """
    os.setpgid(0, 0)


def die_with(parent: int) -> None:
    """Ask for SIGKILL when the parent process dies, even if it died a moment ago."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def close_descriptors(keep: int) -> None:
    """Keep one descriptor (3 or above), renumbered to 3; standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.dup2(keep, 3)
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(4, limit if limit > 0 else 2**20)


def limit_resources(memory_bytes: int, cpu_s: int) -> None:
    """Bound address space (on top of the present), CPU time, processes; no files, no core dumps."""
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 5,  # the four that are open, and Landlock's own for a moment
    }
    if present := address_space_bytes():
        limits[resource.RLIMIT_AS] = present + memory_bytes
    for name, value in limits.items():
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def address_space_bytes() -> int:
    """Address space that this process maps now; 0 outside Linux, which does not limit it either."""
    if not sys.platform.startswith("linux"):
        return 0
    # Not through a file object: that alone would cost a worker a tenth of a millisecond.
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(file, 256).split()[0]) * resource.getpagesize()
    finally:
        os.close(file)


def volunteer_for_oom_killer() -> None:
    """Have this process and its children go first when the machine runs out of memory: a courtesy, no wall."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def drop_privileges() -> None:
    """Drop all capabilities, and the way back: set-user-id programs no longer raise rights.

    The memory of the process becomes unreadable to others of the same user as well, which
    also keeps it out of core dumps that are piped to a program: no limit on files holds for those.
    """
    call("capset", *_no_capabilities())
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)


@cache
def _no_capabilities() -> tuple[Any, Any]:
    """What capset is told: its version and this process; two words each of effective, permitted, inheritable."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    return header, ctypes.create_string_buffer(24)


def gains_no_privileges() -> bool:
    """Whether this process has given up the way to more rights."""
    return prctl(PR_GET_NO_NEW_PRIVS, 0) == 1


def hides_memory() -> bool:
    """Whether no other process of the user may read this one's memory, and no core dump holds it."""
    return prctl(PR_GET_DUMPABLE, 0) == 0


def trace_me() -> None:
    """Ask to be traced by the parent: the one harmless use of ptrace, for the doctor."""
    zero = ctypes.c_long(0)
    call("ptrace", ctypes.c_long(PTRACE_TRACEME), zero, zero, zero)


@cache
def landlock_version() -> int:
    """ABI version of the kernel's Landlock, 0 if it has none."""
    try:
        version = ctypes.c_long(LANDLOCK_CREATE_RULESET_VERSION)
        return call("syscall", ctypes.c_long(LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), version)
    except OSError:
        return 0


def restrict_files() -> None:
    """Landlock: no path may be read, written, listed or run; no TCP; no signals to others.

    A ruleset denies what it handles and no rule allows, and this one has no rules. What each
    ABI version can handle is in linux/landlock.h.
    """
    version = landlock_version()
    if version == 0:
        raise OSError("Landlock is not in this kernel, or was not enabled at boot (lsm=landlock,...)")
    ruleset = call("syscall", ctypes.c_long(LANDLOCK_CREATE_RULESET), *_no_rules(version))
    try:
        call("syscall", ctypes.c_long(LANDLOCK_RESTRICT_SELF), ctypes.c_long(ruleset), ctypes.c_long(0))
    finally:
        os.close(ruleset)


@cache
def _no_rules(version: int) -> tuple[Any, ...]:
    """Arguments that make a ruleset: what it handles, the size of that, no flags."""
    file_rights = 13 + (version >= 2) + (version >= 3) + (version >= 5)  # + refer, truncate, ioctl
    rules = struct.pack(
        "=QQQ",
        (1 << file_rights) - 1,
        0b11 if version >= 4 else 0,  # bind and connect
        0b11 if version >= 6 else 0,  # abstract sockets, signals
    )
    size = 8 if version < 4 else 16 if version < 6 else 24
    return ctypes.create_string_buffer(rules), ctypes.c_size_t(size), ctypes.c_long(0)


def filter_system_calls(program: bytes = b"") -> None:
    """Seccomp: only what computing needs, or what another filter allows; the rest fails with EPERM."""
    prctl(seccomp.PR_SET_SECCOMP, seccomp.SECCOMP_MODE_FILTER, _filter(program)[0])


@cache
def _filter(program: bytes = b"") -> tuple[Any, Any]:
    """The filter as the kernel reads it, and the instructions that it points to."""
    program = program or seccomp.program(platform.machine())
    code = ctypes.create_string_buffer(program)
    # struct sock_fprog: number of eight-byte instructions, padding, pointer to them.
    return ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code))), code


def leave_files() -> None:
    """Make the working folder the root of all paths; the zygote sees to it that it is an empty one."""
    os.chroot(".")


class Layer(NamedTuple):
    """One wall of the sandbox, in the words of ``evolve doctor``."""

    name: str
    protects: str
    close: Callable[[], None]
    required: bool = True


# Order matters: the first needs a right that the second drops, and the last one forbids the system
# calls that the others need.
LAYERS = (
    Layer("chroot", "files: the root folder is an empty one", leave_files, required=False),
    Layer("privileges", "no way to gain rights, also for root; no core dumps", drop_privileges),
    Layer("landlock", "files: no reading, writing, listing or running; TCP", restrict_files),
    Layer("seccomp", "no sockets, processes, programs, signals, tracing", filter_system_calls),
)
# What the environment may switch off, to see what the rest is worth: layers, the limits, and namespaces.
SWITCH = "EVOLVE_DISABLE_LAYERS"
SWITCHES = ("limits", "namespaces", *(layer.name for layer in LAYERS))


def disabled() -> frozenset[str]:
    """Layers that the environment switches off.

    Raises
    ------
    ValueError
        If it names something else.
    """
    if SWITCH not in os.environ:
        return frozenset()
    names = frozenset(os.environ[SWITCH].replace(",", " ").split())
    if unknown := sorted(names.difference(SWITCHES)):
        raise ValueError(f"{SWITCH} names no layer {unknown[0]!r}; there are {', '.join(SWITCHES)}")
    return names


_switched_off = cache(disabled)


def prepare() -> None:
    """Make ready, before a fork, what every worker would otherwise make anew."""
    _switched_off()
    _no_rules(landlock_version())
    _no_capabilities()
    with contextlib.suppress(OSError):  # no table for this machine: the doctor has said so
        _filter()


def seal(descriptor: int, parent: int, memory_bytes: int, timeout_s: float, weak: bool) -> None:
    """Give up everything but computing and one descriptor, which becomes number 3.

    Raises
    ------
    OSError
        If a required layer is missing and ``weak`` does not allow that.
    """
    off = _switched_off()
    own_group()
    close_descriptors(descriptor)
    steps = [
        Layer("parent death", "", lambda: die_with(parent)),
        Layer("limits", "", lambda: limit_resources(memory_bytes, int(timeout_s) + 2)),
        *LAYERS,
    ]
    for step in steps:
        try:
            if step.name in off:
                raise OSError(f"{step.name} is switched off by {SWITCH}")
            step.close()
        except OSError:
            if step.required and not weak:
                raise
