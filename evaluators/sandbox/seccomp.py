"""The system-call filter of a worker, as a classic BPF program (see seccomp(2)).

An allow-list: what compiling and running a hook was seen to need, and nothing that opens a
descriptor, starts or signals a process, or changes a limit. Everything else returns EPERM, so
that a program learns that it was refused instead of vanishing.
"""

from __future__ import annotations

import errno
import struct

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE = 0, 4

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000  # x86-64 kernels also take 32-bit pointers, under numbers with this bit

# Audit architecture, then numbers from the kernel's tables of system calls.
_TABLES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "getpid": 39,
            "getcwd": 79,
            "exit": 60,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "exit_group": 231,
            "getrandom": 318,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "getcwd": 17,
            "close": 57,
            "read": 63,
            "write": 64,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "clock_gettime": 113,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "getpid": 172,
            "gettid": 178,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
        },
    ),
}


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def program(machine: str) -> bytes:
    """The filter for one architecture, in eight-byte instructions.

    Raises
    ------
    OSError
        If there is no table of system calls for that architecture.
    """
    if machine not in _TABLES:
        raise OSError(f"no table of system calls for {machine!r}; known: {', '.join(_TABLES)}")
    architecture, allowed = _TABLES[machine]
    numbers = sorted(allowed.values())
    return b"".join(
        [
            _instruction(_LOAD, _ARCHITECTURE),
            # Another architecture has other numbers: nothing below would mean what it says.
            _instruction(_JUMP_IF_EQUAL, architecture, if_true=1),
            _instruction(_RETURN, _KILL_PROCESS),
            _instruction(_LOAD, _NUMBER),
            _instruction(_JUMP_IF_AT_LEAST, _X32, if_true=len(numbers)),
            # Each match jumps over the remaining ones and the refusal, to the last instruction.
            *(_instruction(_JUMP_IF_EQUAL, n, if_true=len(numbers) - i) for i, n in enumerate(numbers)),
            _instruction(_RETURN, _ERRNO | errno.EPERM),
            _instruction(_RETURN, _ALLOW),
        ]
    )
